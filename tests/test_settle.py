"""May an engine start on its GPUs now: readings of memory over time, and the verdict."""

from dataclasses import replace
from typing import Any

import pytest

from engines.gpus.gpu import Gpu, GpuProcess, Gpus
from engines.gpus.watch import Reading
from engines.starting.settle import GIB, GIVE_BACK_S, Settled, Verdict, Waiting, need_bytes, settled
from tests.supervised import engine_plan

CARD = Gpu("GPU-a", "Card", 80 * GIB, 0, 80 * GIB, processes=())
PLAN = engine_plan("one", gpu_uuids=("GPU-a",))
PAIR = engine_plan("two", gpu_uuids=("GPU-a", "GPU-b"))


def used(gib: float, *processes: GpuProcess, uuid: str = "GPU-a") -> Gpu:
    count = int(gib * GIB)
    return replace(CARD, uuid=uuid, used_bytes=count, free_bytes=CARD.total_bytes - count, processes=processes)


def at(seconds: float, *cards: Gpu) -> Reading:
    return Reading(Gpus(cards, None), seconds)


def after(*gib: float) -> list[Reading]:
    """A reading every second with so much in use."""
    return [at(float(number), used(each)) for number, each in enumerate(gib)]


def verdict(found: list[Reading], **waiting: object) -> Settled:
    return settled(PLAN, found, Waiting(**waiting))  # type: ignore[arg-type]  # names of Waiting


def test_an_empty_card_takes_the_engine_once_it_was_seen_to_stand_still() -> None:
    assert verdict(after(0.0)).verdict is Verdict.WAIT
    assert verdict(after(0.0, 0.0), waited_s=1.0).verdict is Verdict.GO


def test_memory_that_moves_is_waited_for() -> None:
    assert verdict(after(20.0, 10.0), waited_s=1.0) == Settled(Verdict.WAIT, "waiting for GPU memory to settle")
    assert verdict(after(20.0, 10.0, 10.0), waited_s=2.0).verdict is Verdict.GO


def test_memory_that_moves_for_ever_does_not_keep_an_engine_down() -> None:
    assert verdict(after(20.0, 10.0, 20.0, 10.0), waited_s=3.5).verdict is Verdict.GO


def test_what_must_be_free_is_what_vllm_checks() -> None:
    assert need_bytes(PLAN, replace(CARD, reserved_bytes=GIB)) == 79 * GIB // 2


def test_a_foreign_process_that_holds_too_much_is_named_with_its_bytes() -> None:
    stranger, ours = GpuProcess(77, 45 * GIB), GpuProcess(5, 10 * GIB)
    found = [at(0.0, used(55, stranger, ours)), at(4.0, used(55, stranger, ours))]
    refused = verdict(found, waited_s=4.0, ours={5}, names={77: "trainer"})
    assert refused.verdict is Verdict.REFUSE
    assert refused.why == (
        "Card GPU-a has 25.0 GiB free and this engine needs 40.0 GiB, 0.5000 of the card. It is held by process 77 "
        "(trainer) with 45.0 GiB: end that, or leave it room with [gpus] reserve_gib in stack.toml"
    )


def test_memory_that_nobody_is_named_for_is_said_so() -> None:
    assert "names nobody who holds the rest" in verdict(after(55.0, 55.0, 55.0, 55.0, 55.0), waited_s=4.0).why


def test_memory_of_an_engine_that_has_just_ended_is_waited_for_longer() -> None:
    waiting = verdict(after(55.0, 55.0, 55.0, 55.0, 55.0), waited_s=4.0, ended_s=5.0)
    assert waiting == Settled(Verdict.WAIT, "waiting for 15.0 GiB of GPU memory to be given back")
    assert verdict(after(55.0, 55.0), waited_s=GIVE_BACK_S + 1, ended_s=GIVE_BACK_S + 2).verdict is Verdict.REFUSE


def test_memory_of_the_dead_is_waited_for_even_where_enough_is_free() -> None:
    """Given back while the engine measures, it would end its start."""
    assert verdict(after(20.0, 20.0), waited_s=1.0, ended_s=2.0).verdict is Verdict.WAIT
    assert verdict(after(20.0, 20.0), waited_s=1.0, ended_s=2.0, usual_bytes={"GPU-a": 20 * GIB}).verdict is Verdict.GO
    held = [at(each, used(20, GpuProcess(7, 20 * GIB))) for each in (0.0, 1.0)]
    assert verdict(held, waited_s=1.0, ended_s=2.0).verdict is Verdict.GO


@pytest.mark.parametrize(("waited_s", "expected"), [(1.0, Verdict.WAIT), (4.0, Verdict.REFUSE)])
def test_a_lost_gpu_is_refused_with_the_drivers_words(waited_s: float, expected: Verdict) -> None:
    lost = Reading(Gpus((used(0),), None, faults=("GPU 1 (Card, GPU-b): fallen off the bus",)), 0.0)
    found = settled(PAIR, [lost], Waiting(waited_s))
    assert found == Settled(expected, "GPU-b cannot be used: GPU 1 (Card, GPU-b): fallen off the bus")


def test_every_gpu_of_a_group_must_have_room() -> None:
    full = [at(each, used(0), used(50, uuid="GPU-b")) for each in (0.0, 4.0)]
    refused = settled(PAIR, full, Waiting(4.0))
    assert refused.verdict is Verdict.REFUSE
    assert "GPU-b has 30.0 GiB free" in refused.why
    assert "GPU-a" not in refused.why


@pytest.mark.parametrize(("waited_s", "expected"), [(1.0, Verdict.WAIT), (5.0, Verdict.GO)])
def test_a_driver_that_does_not_answer_keeps_no_engine_down(waited_s: float, expected: Verdict) -> None:
    assert verdict([], waited_s=waited_s).verdict is expected


def test_memory_that_is_never_given_back_is_told_of_the_card() -> None:
    late = Waiting(waited_s=GIVE_BACK_S, ended_s=GIVE_BACK_S + 5.0, usual_bytes={"GPU-a": GIB})
    found = settled(PLAN, after(61.0, 61.0), late)
    assert found.verdict is Verdict.REFUSE
    assert found.unreturned == {"GPU-a": "has not given back 60.0 GiB, 35 s after an engine there ended"}


@pytest.mark.parametrize(
    ("waiting", "holder"),
    [
        ({"ended_s": None}, ()),
        ({"ended_s": 40.0}, (GpuProcess(7, 60 * GIB),)),
        ({"ended_s": 40.0}, (GpuProcess(7, None),)),
    ],
    ids=["nothing of ours ended", "a stranger holds it", "the driver does not say who holds it"],
)
def test_memory_that_others_may_hold_is_not_lost(waiting: dict[str, Any], holder: tuple[GpuProcess, ...]) -> None:
    found = verdict([at(0.0, used(61.0, *holder)), at(1.0, used(61.0, *holder))], waited_s=GIVE_BACK_S, **waiting)
    assert (found.verdict, found.unreturned) == (Verdict.REFUSE, {})


def test_an_engine_that_wakes_up_has_a_part_of_its_memory_already() -> None:
    assert verdict(after(41.0, 41.0), waited_s=3.0).verdict is Verdict.REFUSE
    assert verdict(after(41.0, 41.0), waited_s=3.0, held_bytes={"GPU-a": GIB}).verdict is Verdict.GO
