"""Another try after a failed start: what is changed, in which order, and when it ends."""

import errno
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as any_of

from engines.memory.shape import Shape
from engines.plan import EnginePlan
from engines.starting.failure import Failure, cannot_start, not_fetched
from engines.starting.ladder import MOST_CRASHES, SAME_TRIES, GiveUp, changes, crash_loop, next_try
from engines.starting.symptoms.symptom import Kind, Trouble
from tests.supervised import engine_plan

SHAPE = Shape(tensor_parallel=1, context_tokens=16384, max_num_seqs=64, max_num_batched_tokens=8192)
ON_GPU = replace(engine_plan("one", gpu_uuids=("GPU-a",)), shape=SHAPE, gpu_memory_utilization=0.9)
ON_CPU = replace(engine_plan("one"), shape=replace(SHAPE, max_num_batched_tokens=16384))


def failed(trouble: Trouble, kind: Kind = Kind.RETRY_CHANGED, longest: int | None = None, free: float = 0.0) -> Failure:
    return Failure(trouble, kind, "so it is", "Do this.", "exit code 1", longest, free or None, 71.2, 79.1)


def tries(planned: EnginePlan, *failures: Failure) -> list[str]:
    """The changes after each failure; the last words are those of giving up, if it does."""
    current, said = planned, list[str]()
    for number, each in enumerate(failures, 1):
        following = next_try(planned, current, each, number)
        if isinstance(following, GiveUp):
            return [*said, following.why]
        current = following
        said.append(changes(planned, current))
    return said


def test_the_context_becomes_what_fits() -> None:
    assert tries(ON_GPU, failed(Trouble.KV_TOO_SMALL, longest=9000)) == ["context 8992 instead of 16384"]


def test_a_context_that_is_of_no_use_is_not_taken_and_memory_is_looked_for_elsewhere() -> None:
    assert tries(ON_GPU, failed(Trouble.KV_TOO_SMALL, longest=1000)) == ["batches of 4096 tokens instead of 8192"]


def test_no_memory_for_the_cache_takes_batches_then_sequences_then_graphs_and_then_gives_up() -> None:
    said = tries(ON_GPU, *[failed(Trouble.NO_KV_MEMORY)] * 6)
    assert said[0] == "batches of 4096 tokens instead of 8192"
    assert said[1] == "batches of 2048 tokens instead of 8192"
    assert said[2] == "32 sequences at once instead of 64, batches of 2048 tokens instead of 8192"
    assert said[4].endswith("no CUDA graphs")
    assert said[5].startswith("so it is (exit code 1). Do this. It was tried with 16 sequences at once instead of 64")
    assert said[5].endswith("It is not tried again: mend it, then `spillway up`.")


def test_a_processor_takes_prompts_whole_so_its_batches_stay() -> None:
    assert tries(ON_CPU, failed(Trouble.KV_TOO_SMALL))[0] == "32 sequences at once instead of 64"


def test_memory_that_runs_out_beside_the_cache_takes_of_the_share_and_then_the_graphs() -> None:
    said = tries(ON_GPU, *[failed(Trouble.OUT_OF_MEMORY_SERVING)] * 4)
    shares = ["0.88 of the GPU instead of 0.9", "0.86 of the GPU instead of 0.9"]
    assert said[:3] == [*shares, f"{shares[1]}, no CUDA graphs"]
    assert "It was tried with" in said[3]


def test_a_share_that_is_nearly_free_is_lowered_to_what_is() -> None:
    assert tries(ON_GPU, failed(Trouble.SHARE_NOT_FREE, free=70.9)) == ["0.896 of the GPU instead of 0.9"]


def test_a_share_that_somebody_else_holds_is_waited_for_without_end() -> None:
    missing = failed(Trouble.SHARE_NOT_FREE, free=20.0)
    assert next_try(ON_GPU, ON_GPU, missing, 1000) == ON_GPU


def test_what_is_permanent_is_said_at_once() -> None:
    assert tries(ON_GPU, failed(Trouble.CARD, Kind.PERMANENT))[0].startswith(
        "so it is (exit code 1). Do this. It is not"
    )


@pytest.mark.parametrize("trouble", [Trouble.HANG, Trouble.UNKNOWN, Trouble.PORT, Trouble.MEMORY_MOVED])
def test_the_same_is_tried_again_but_not_for_ever(trouble: Trouble) -> None:
    said = tries(ON_GPU, *[failed(trouble, Kind.RETRY_SAME)] * 10)
    assert set(said[:-1]) == {""}
    assert len(said) == (SAME_TRIES.get(trouble) or 5)
    assert f"It failed {len(said)} times in a row." in said[-1]


@pytest.mark.parametrize(
    "passing",
    [cannot_start(OSError(errno.ENOSPC, "No space left on device")), not_fetched("the hub does not answer")],
    ids=["no process", "no files"],
)
def test_what_lies_outside_and_passes_is_tried_for_ever(passing: Failure) -> None:
    assert next_try(ON_GPU, ON_GPU, passing, 1000) == ON_GPU
    assert passing.words().endswith("(not started). It is tried again and again.")


def test_an_engine_that_ends_soon_again_and_again_is_given_up() -> None:
    assert crash_loop(failed(Trouble.KILLED), MOST_CRASHES) is None
    assert crash_loop(failed(Trouble.KILLED), MOST_CRASHES + 1) is not None


def test_an_unchanged_engine_has_no_changes() -> None:
    assert changes(ON_GPU, ON_GPU) == ""


ENDING = sorted(trouble for trouble in Trouble if SAME_TRIES.get(trouble, 0) is not None)
FAILURES = any_of.builds(
    failed, any_of.sampled_from(ENDING), longest=any_of.none() | any_of.integers(1, 20_000), free=any_of.floats(0, 79)
)


@given(any_of.lists(FAILURES, min_size=150, max_size=150), any_of.sampled_from([ON_GPU, ON_CPU]))
def test_every_ladder_ends_and_takes_only_less(failures: list[Failure], planned: EnginePlan) -> None:
    current, same = planned, 0
    for each in failures:
        following = next_try(planned, current, each, same + 1)
        if isinstance(following, GiveUp):
            return
        same = same + 1 if following == current else 0
        was, now = current.shape, following.shape
        assert now.context_tokens <= was.context_tokens
        assert now.max_num_seqs <= was.max_num_seqs
        assert now.max_num_batched_tokens <= was.max_num_batched_tokens
        assert now.max_num_batched_tokens >= now.max_num_seqs
        assert (following.gpu_memory_utilization or 0) <= (current.gpu_memory_utilization or 0)
        assert now.context_tokens * 4 >= planned.shape.context_tokens
        current = following
    raise AssertionError("it never gave up")
