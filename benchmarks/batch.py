"""Continuous batching in miniature: which sequences run, which wait, and who gets a token in the next step.

Pure: a Batch and its Limits in, the next Batch and what the step did out. It must not know the clock, text or HTTP.
Like vLLM it admits first come, first served, holds KV tokens while a sequence runs, and under KV pressure throws the
youngest sequence back to the head of the queue, where its prompt and its tokens must be computed again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Limits:
    """What the engine has. `prefill_tokens_per_s` and `step_s` make up the length of a step; a prefix cache of 0 tokens
    is none."""

    context_tokens: int = 4096
    kv_tokens: int = 8192
    max_num_seqs: int = 64
    prefill_tokens_per_s: float = 20_000.0
    step_s: float = 0.02
    prefix_cache_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Sequence:
    """One request in the engine: `made` of `wanted` answer tokens exist; `reason` is how it will have ended. Of its
    prompt `cached_tokens` need not be computed."""

    id: str
    prompt_tokens: int
    wanted: int
    reason: str = "stop"
    made: int = 0
    cached_tokens: int = 0

    @property
    def kv_tokens(self) -> int:
        """KV held while it runs."""
        return self.prompt_tokens + self.made


@dataclass(frozen=True, slots=True)
class Batch:
    """All sequences of an engine, oldest first."""

    running: tuple[Sequence, ...] = ()
    waiting: tuple[Sequence, ...] = ()

    @property
    def kv_tokens(self) -> int:
        """KV held by everything that runs."""
        return sum(each.kv_tokens for each in self.running)

    @property
    def is_empty(self) -> bool:
        """Nothing to do."""
        return not self.running and not self.waiting


@dataclass(frozen=True, slots=True)
class Step:
    """What one step did: every id in `served` got one token; those in `finished` got their last."""

    served: tuple[str, ...]
    finished: tuple[str, ...]
    prefilled_tokens: int
    preempted: tuple[str, ...]

    def duration_s(self, limits: Limits) -> float:
        """How long the step takes."""
        return limits.step_s + self.prefilled_tokens / limits.prefill_tokens_per_s


def add(batch: Batch, sequence: Sequence) -> Batch:
    """A new request joins the end of the queue."""
    return replace(batch, waiting=(*batch.waiting, sequence))


def remove(batch: Batch, sequence_id: str) -> Batch:
    """A request whose client has gone leaves at once, with its KV."""
    return Batch(
        tuple(each for each in batch.running if each.id != sequence_id),
        tuple(each for each in batch.waiting if each.id != sequence_id),
    )


def step(batch: Batch, limits: Limits) -> tuple[Batch, Step]:
    """Make room, admit, and give every running sequence one token."""
    room, preempted = _fitted(batch, limits)
    # Nothing is admitted in a step that had to preempt, or the same sequence would come and go.
    admitted = 0 if preempted else _admissible(room, limits)
    arrived, waiting = room.waiting[:admitted], room.waiting[admitted:]
    grown = [replace(each, made=each.made + 1) for each in (*room.running, *arrived)]
    done = Step(
        served=tuple(each.id for each in grown),
        finished=tuple(each.id for each in grown if each.made >= each.wanted),
        prefilled_tokens=sum(each.kv_tokens - each.cached_tokens for each in arrived),
        preempted=tuple(each.id for each in preempted),
    )
    return Batch(tuple(each for each in grown if each.made < each.wanted), waiting), done


def _fitted(batch: Batch, limits: Limits) -> tuple[Batch, tuple[Sequence, ...]]:
    """The batch after throwing back as many of the youngest as the next token of the others needs."""
    running = list(batch.running)
    preempted: list[Sequence] = []
    while len(running) > 1 and sum(each.kv_tokens + 1 for each in running) > limits.kv_tokens:
        preempted.insert(0, running.pop())
    return Batch(tuple(running), (*preempted, *batch.waiting)), tuple(preempted)


def _admissible(batch: Batch, limits: Limits) -> int:
    """How many of the queue's head fit now. The queue is never overtaken: a large head blocks it, as in vLLM."""
    free = limits.kv_tokens - sum(each.kv_tokens + 1 for each in batch.running)
    seats = limits.max_num_seqs - len(batch.running)
    for count, each in enumerate(batch.waiting):
        free -= each.kv_tokens + 1
        if free < 0 or count >= seats:
            return count
    return len(batch.waiting)
