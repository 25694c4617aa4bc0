"""One vLLM-like engine in reckoned time: its batch step by step, and steps that are alike in one jump. Pure.

The engine plans the stride to the next step that differs from the one before; whoever arrives or leaves within it cuts
it short. Nothing is written in between: what can be seen there is reckoned from the stride. A request that arrives
within a step is first looked at after it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from math import inf, sqrt
from typing import Literal

from benchmarks.simulator.batch import Batch
from benchmarks.simulator.blocks import BLOCK_TOKENS
from benchmarks.simulator.sequence import Request
from benchmarks.simulator.sequence import Sequence as Waiting
from benchmarks.simulator.steps import Steps

__all__ = ["Engine", "Event", "Request"]

Event = tuple[float, Literal["first", "end"], Request]


class Queue(Collection[Request]):
    """A view of who waits: its length costs nothing, however long it is."""

    def __init__(self, sequences: Collection[Waiting]) -> None:
        self._sequences = sequences

    def __len__(self) -> int:
        return len(self._sequences)

    def __iter__(self) -> Iterator[Request]:
        return (each.request for each in self._sequences)

    def __contains__(self, request: object) -> bool:
        return any(each.request is request for each in self._sequences)


class Engine:
    """One writer: the world. Times never go back; `advance` to the moment before `add`, `abort` and before reading."""

    def __init__(
        self,
        steps: Steps,
        kv_tokens: int,
        *,
        max_batched_tokens: int = 2048,
        max_sequences: int = 256,
        prefix_cache: bool = False,
        async_scheduling: bool = True,
    ) -> None:
        """Raises ValueError on sizes that vLLM would refuse too."""
        if max_batched_tokens < max_sequences:
            raise ValueError(
                f"max_batched_tokens {max_batched_tokens} is below max_sequences {max_sequences}; raise the one or "
                "lower the other"
            )
        # vLLM keeps one block for itself.
        blocks = kv_tokens // BLOCK_TOKENS - 1
        if blocks < 1:
            raise ValueError(f"kv_tokens is {kv_tokens}; an engine needs two blocks of {BLOCK_TOKENS} at least")
        self.now_s = 0.0
        self.kv_tokens = blocks * BLOCK_TOKENS
        self.max_batched_tokens = max_batched_tokens
        self.max_sequences = max_sequences
        self._speed = steps
        self._batch = Batch(
            blocks, max_batched_tokens, max_sequences, prefix_cache=prefix_cache, asynchronous=async_scheduling
        )
        # The stride under way: when it began and ends, its steps, seconds of the first and of each one more.
        self._clock_s = 0.0
        self._end_s = inf
        self._stride = 0
        self._first_step_s = 0.0
        self._growth_s = 0.0
        self._busy_s = 0.0

    # What telemetry would show, at now_s.

    @property
    def is_idle(self) -> bool:
        """Nobody runs and nobody waits."""
        return self._end_s == inf

    @property
    def due_s(self) -> float:
        """Nothing happens before this moment unless somebody is added or aborted; infinite while idle."""
        return self._end_s

    @property
    def busy_s(self) -> float:
        """Seconds spent in steps so far."""
        return self._busy_s + (self.now_s - self._clock_s if self._end_s < inf else 0.0)

    @property
    def preemptions(self) -> int:
        """How often somebody had to yield."""
        return self._batch.preemptions

    @property
    def hit_tokens(self) -> int:
        """Tokens that the prefix cache saved computing, of prompts that came and of those that came back."""
        return self._batch.hit_tokens

    @property
    def running(self) -> Collection[Request]:
        """Who has a seat, in the order of admission; prompts begun are among them."""
        return self._batch.running.keys()

    @property
    def waiting(self) -> Collection[Request]:
        """Who is queued, in the order in which they will be admitted."""
        return Queue(self._batch.waiting)

    @property
    def queued_tokens(self) -> int:
        """Tokens of those who are queued."""
        return self._batch.queued_tokens

    @property
    def unprefilled_tokens(self) -> int:
        """Tokens yet to be computed before everybody decodes; those of the queue are among them."""
        return self._batch.unprefilled

    @property
    def kv_used_tokens(self) -> int:
        """In blocks that somebody holds, each counted whole."""
        blocks = self._batch.blocks
        held = blocks.count - blocks.free
        if self._stride > 1:
            held += self._batch.growth(1, self._done() + 1)
        return held * BLOCK_TOKENS

    def generated(self, request: Request) -> int:
        """Tokens it has answered so far. Raises KeyError where it is not here."""
        sequence = self._batch.running.get(request) or self._batch.queued(request)
        if sequence is None:
            raise KeyError(f"request {request.number} is not in this engine")
        return sequence.made if sequence.finish is None else sequence.lead + self._batch.steps + self._done()

    def fits(self, request: Request) -> bool:
        """Whether this engine could ever end it: all its tokens in its KV at once."""
        return request.prompt_tokens + request.output_tokens <= self.kv_tokens

    # What the world does to it.

    def add(self, request: Request, now_s: float) -> None:
        """Queues it. Raises ValueError where it can never fit, or where `advance` to this moment was forgotten."""
        if not self.fits(request):
            raise ValueError(
                f"request {request.number} needs {request.prompt_tokens} + {request.output_tokens} tokens and the "
                f"engine has {self.kv_tokens}; ask fits() first"
            )
        if now_s < self.now_s or now_s > self._end_s:
            raise ValueError(f"the engine is at {self.now_s:.6f} s; advance it to {now_s:.6f} s before adding")
        self.now_s = now_s
        batch = self._batch
        if self._end_s == inf:
            batch.arrive(request, 0)
            self._clock_s = now_s
            self._plan()
            return
        step = batch.arrive(request, self._done())
        # Behind one that waits already, nobody is looked at.
        if len(batch.waiting) == 1:
            self._cut(step)

    def abort(self, request: Request) -> None:
        """Takes it out, after the step under way where it runs; no event of it comes any more. Not here: nothing."""
        if self._batch.drop(request) and self._end_s < inf:
            self._cut(self._done() + 1)

    def advance(self, until_s: float) -> Sequence[Event]:
        """Lets time pass to the first moment at which something is to be seen, `until_s` at the latest.

        What happened at that moment; nothing where `until_s` was reached first, so call it again until it is so.
        """
        while self._end_s <= until_s and self._end_s < inf:
            now_s = self.now_s = self._end_s
            self._busy_s += now_s - self._clock_s
            self._clock_s = now_s
            happened = self._batch.commit(self._stride)
            self._plan()
            if happened:
                return [self._noted(kind, request) for kind, request in happened]
        if self.now_s < until_s < inf:
            self.now_s = until_s
        return ()

    def _noted(self, kind: Literal["first", "end"], request: Request) -> Event:
        if kind == "first":
            request.first_s = self.now_s
        else:
            request.end_s = self.now_s
        return self.now_s, kind, request

    # The stride under way.

    def _plan(self) -> None:
        batch, speed = self._batch, self._speed
        self._stride = batch.plan()
        if not self._stride:
            self._end_s = inf
            return
        decoding, kv = batch.decoding, batch.kv + batch.decoding
        if batch.chunks:
            chunks = [(tokens, sequence.computed) for sequence, tokens in batch.chunks]
            self._first_step_s = speed.mixed_s(decoding, kv, chunks)
        else:
            self._first_step_s = speed.decode_s(decoding, kv)
        self._growth_s = decoding * speed.kv_s
        self._end_s = self._clock_s + self._elapsed(self._stride)

    def _elapsed(self, count: int) -> float:
        return count * self._first_step_s + self._growth_s * (count * (count - 1) / 2)

    def _done(self) -> int:
        """Whole steps of the stride that are over at now_s, less than all of them."""
        passed = self.now_s - self._clock_s
        if self._stride <= 1 or passed < self._first_step_s:
            return 0
        half = self._growth_s / 2
        slope = self._first_step_s - half
        count = int((sqrt(slope * slope + 4 * half * passed) - slope) / (2 * half)) if half else int(passed / slope)
        # The root is near enough to be one off where a step ends just now.
        while self._elapsed(count) > passed:
            count -= 1
        while self._elapsed(count + 1) <= passed:
            count += 1
        return min(count, self._stride - 1)

    def _cut(self, count: int) -> None:
        if count < self._stride:
            self._stride = count
            self._end_s = self._clock_s + self._elapsed(count)
