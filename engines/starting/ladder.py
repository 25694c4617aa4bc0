"""What to change for another try after a failed start, one rung at a time, and when to give up.

Pure and bounded: every rung takes less than the one before and has a floor, so that the ladder ends. The planned
engine is the top; what the floors leave is still worth serving.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from engines.plan import EnginePlan
from engines.starting.failure import Failure
from engines.starting.symptoms.symptom import Kind, Trouble

# Below a quarter of what was planned an engine is not what the user asked for.
LEAST_SHARE = 0.25
CONTEXT_STEP = 16
LEAST_BATCHED_TOKENS = 512
UTILIZATION_STEP = 0.02
MOST_UTILIZATION_STEPS = 2
# A free share that vLLM prints is rounded to hundredths of a GiB; the next try keeps clear of that.
ROUNDING_GIB = 0.02
# Starts in a row that may fail alike. None: the trouble lies outside and may pass at any time, so it is tried for ever.
SAME_TRIES: Mapping[Trouble, int | None] = {
    Trouble.SHARE_NOT_FREE: None,
    Trouble.DISK: None,
    Trouble.FETCH: None,
    Trouble.LAUNCH: None,
    Trouble.UNKNOWN: 3,
    Trouble.HANG: 3,
    Trouble.FABRIC: 3,
    Trouble.GPU_FAULT: 3,
    Trouble.HOST_MEMORY: 3,
    Trouble.OUT_OF_MEMORY_LOADING: 3,
}
USUAL_TRIES = 5
# With the waits in between these are some five minutes.
MOST_CRASHES = 8
AGAIN = "It is not tried again: mend it, then `spillway up`."

Rung = Callable[[EnginePlan, EnginePlan, Failure], EnginePlan | None]


@dataclass(frozen=True, slots=True)
class GiveUp:
    """No further try makes sense. `why` is a whole text for the user."""

    why: str


def next_try(planned: EnginePlan, current: EnginePlan, failure: Failure, tries: int) -> EnginePlan | GiveUp:
    """The engine to start next, or why none. `planned` is the plan's, `current` the one whose start failed now, for the
    `tries`th time in a row."""
    if failure.kind is Kind.PERMANENT:
        return _given_up(failure, "")
    rungs = RUNGS.get(failure.trouble, ()) if failure.kind is Kind.RETRY_CHANGED else ()
    for rung in rungs:
        if (lower := rung(planned, current, failure)) is not None:
            return lower
    if failure.trouble is Trouble.SHARE_NOT_FREE or not rungs:
        most = SAME_TRIES.get(failure.trouble, USUAL_TRIES)
        often = f"It failed {tries} times in a row." if tries > 1 else ""
        return current if most is None or tries < most else _given_up(failure, often)
    tried = changes(planned, current)
    return _given_up(failure, f"It was tried with {tried} too." if tried else "")


def crash_loop(failure: Failure, crashes: int) -> GiveUp | None:
    """Whether an engine that ended so many times in a row soon after it was ready should be tried once more."""
    if crashes <= MOST_CRASHES:
        return None
    return _given_up(failure, f"It ended {crashes} times in a row soon after it was ready.")


def _given_up(failure: Failure, tried: str) -> GiveUp:
    said = failure.words()
    return GiveUp(" ".join(filter(None, [said if said.endswith(".") else f"{said}.", tried, AGAIN])))


def changes(planned: EnginePlan, current: EnginePlan) -> str:
    """In what an engine differs from the plan, in words; "" if it does not."""
    was, now = planned.shape, current.shape
    pairs = [
        (f"context {now.context_tokens} instead of {was.context_tokens}", now.context_tokens != was.context_tokens),
        (f"{now.max_num_seqs} sequences at once instead of {was.max_num_seqs}", now.max_num_seqs != was.max_num_seqs),
        (
            f"batches of {now.max_num_batched_tokens} tokens instead of {was.max_num_batched_tokens}",
            now.max_num_batched_tokens != was.max_num_batched_tokens,
        ),
        (
            f"{current.gpu_memory_utilization} of the GPU instead of {planned.gpu_memory_utilization}",
            current.gpu_memory_utilization != planned.gpu_memory_utilization,
        ),
        ("no CUDA graphs", now.enforce_eager != was.enforce_eager),
    ]
    return ", ".join(words for words, differs in pairs if differs)


def _shorter(planned: EnginePlan, current: EnginePlan, failure: Failure) -> EnginePlan | None:
    """To what vLLM says would fit."""
    longest = failure.longest_context_tokens
    if longest is None:
        return None
    length = longest // CONTEXT_STEP * CONTEXT_STEP
    floor = max(CONTEXT_STEP, math.ceil(planned.shape.context_tokens * LEAST_SHARE))
    if not floor <= length < current.shape.context_tokens:
        return None
    return replace(current, shape=replace(current.shape, context_tokens=length))


def _fewer_tokens(planned: EnginePlan, current: EnginePlan, _: Failure) -> EnginePlan | None:
    """Half the batch. A processor takes prompts whole, so its batch stays as long as the context."""
    shape = current.shape
    half = shape.max_num_batched_tokens // 2
    floor = max(math.ceil(planned.shape.max_num_batched_tokens * LEAST_SHARE), shape.max_num_seqs)
    floor = max(floor, LEAST_BATCHED_TOKENS if current.gpu_uuids else shape.context_tokens)
    return replace(current, shape=replace(shape, max_num_batched_tokens=half)) if half >= floor else None


def _fewer_sequences(planned: EnginePlan, current: EnginePlan, _: Failure) -> EnginePlan | None:
    half = current.shape.max_num_seqs // 2
    floor = max(1, math.ceil(planned.shape.max_num_seqs * LEAST_SHARE))
    return replace(current, shape=replace(current.shape, max_num_seqs=half)) if half >= floor else None


def _smaller_share(planned: EnginePlan, current: EnginePlan, _: Failure) -> EnginePlan | None:
    if current.gpu_memory_utilization is None:
        return None
    return _with_share(planned, current, current.gpu_memory_utilization - UTILIZATION_STEP)


def _free_share(planned: EnginePlan, current: EnginePlan, failure: Failure) -> EnginePlan | None:
    """What is free, where next to nothing is missing: the CUDA context took more than was thought. Where much is
    missing another program holds it, and less for us would hide that."""
    if not failure.free_gib or not failure.total_gib or current.gpu_memory_utilization is None:
        return None
    free = math.floor((failure.free_gib - ROUNDING_GIB) / failure.total_gib * 10_000) / 10_000
    return _with_share(planned, current, free) if free < current.gpu_memory_utilization else None


def _with_share(planned: EnginePlan, current: EnginePlan, share: float) -> EnginePlan | None:
    least = (planned.gpu_memory_utilization or 0.0) - MOST_UTILIZATION_STEPS * UTILIZATION_STEP
    share = round(share, 4)
    return replace(current, gpu_memory_utilization=share) if share >= round(max(least, 0.01), 4) else None


def _without_graphs(_: EnginePlan, current: EnginePlan, __: Failure) -> EnginePlan | None:
    if current.shape.enforce_eager or not current.gpu_uuids:
        return None
    return replace(current, shape=replace(current.shape, enforce_eager=True))


# What costs the user least comes first; each start loads the model anew, so the first rung should be the likely cure.
RUNGS: Mapping[Trouble, tuple[Rung, ...]] = {
    Trouble.SHARE_NOT_FREE: (_free_share,),
    Trouble.KV_TOO_SMALL: (_shorter, _fewer_tokens, _fewer_sequences, _without_graphs),
    Trouble.NO_KV_MEMORY: (_fewer_tokens, _fewer_sequences, _without_graphs),
    Trouble.OUT_OF_MEMORY_PROFILING: (_fewer_tokens, _fewer_sequences),
    Trouble.OUT_OF_MEMORY_SAMPLING: (_fewer_sequences, _smaller_share),
    Trouble.OUT_OF_MEMORY_SERVING: (_smaller_share, _without_graphs),
}
