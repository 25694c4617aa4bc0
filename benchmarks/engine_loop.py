"""The fake engine's loop: performs the steps that `batch` works out, in time, and hands tokens to who waits for them.

The one writer of the batch and the counters. It must not know HTTP.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass

from benchmarks.batch import Batch, Limits, Sequence, Step, add, remove, step
from benchmarks.exposition import Gauges, Totals

FINISHED_REASONS = ("stop", "length", "abort", "error", "repetition")


@dataclass(slots=True)
class Fate:
    """The process ends with `exit_code` once `tokens_left` more tokens are made."""

    tokens_left: int
    exit_code: int


class EngineLoop:
    """Runs while there is work and no hang. Every submitted sequence has a queue that gets one item a token."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.batch = Batch()
        self.gauges = Gauges()
        self._queues: dict[str, asyncio.Queue[None]] = {}
        self._prompts: dict[str, int] = {}
        self._reasons: dict[str, str] = {}
        self._awake = asyncio.Event()
        self._hanging = False
        self._fate: Fate | None = None
        self._prompt_tokens = self._generation_tokens = self._preemptions = self._steps = self._step_tokens = 0
        self._finished = dict.fromkeys(FINISHED_REASONS, 0)

    def submit(self, sequence: Sequence) -> asyncio.Queue[None]:
        """Queue a sequence; its tokens arrive in the returned queue."""
        self.batch = add(self.batch, sequence)
        queue: asyncio.Queue[None] = asyncio.Queue()
        self._queues[sequence.id] = queue
        self._reasons[sequence.id] = sequence.reason
        self._prompts[sequence.id] = sequence.prompt_tokens
        self._wake()
        return queue

    def withdraw(self, sequence_id: str) -> None:
        """The client has left, or has everything. Only what was not finished counts as aborted."""
        if self._queues.pop(sequence_id, None) is not None:
            self._prompts.pop(sequence_id, None)
            self._reasons.pop(sequence_id)
            self.batch = remove(self.batch, sequence_id)
            self.count_finished("abort")
            if not self._hanging:
                self._publish()

    def count_finished(self, reason: str) -> None:
        """One more request ended for this reason."""
        self._finished[reason] += 1

    def set_hanging(self, hanging: bool) -> None:
        """A hanging engine makes no step; health and HTTP go on."""
        self._hanging = hanging
        self._wake()

    def die_after(self, tokens: int, exit_code: int) -> None:
        """End the process after so many more tokens, as a crash does: no clean-up, connections cut."""
        self._fate = Fate(tokens, exit_code)

    def totals(self) -> Totals:
        """The counters."""
        return Totals(
            self._prompt_tokens,
            self._generation_tokens,
            self._preemptions,
            self._steps,
            self._step_tokens,
            dict(self._finished),
        )

    async def run(self) -> None:
        """Step for ever. A step's tokens become visible when its time is over, and so do the gauges."""
        while True:
            await self._awake.wait()
            after, done = step(self.batch, self._limits)
            await asyncio.sleep(done.duration_s(self._limits))
            self._settle(after, done)
            self._wake()

    def _settle(self, after: Batch, done: Step) -> None:
        # While the step ran, clients came and went: the newcomers are at the queue's end, the others are gone.
        known = {each.id for each in (*after.running, *after.waiting)} | set(done.finished)
        newcomers = [each for each in self.batch.waiting if each.id not in known]
        for each in newcomers:
            after = add(after, each)
        for each in (*after.running, *after.waiting):
            if each.id not in self._queues:
                after = remove(after, each.id)
        self.batch = after
        self._deliver(done)
        self._publish()

    def _deliver(self, done: Step) -> None:
        served = [each for each in done.served if each in self._queues]
        for each in served:
            self._prompt_tokens += self._prompts.pop(each, 0)
            self._queues[each].put_nowait(None)
            self._generation_tokens += 1
            self._die_in_time()
        for each in done.finished:
            if self._queues.pop(each, None) is not None:
                self.count_finished(self._reasons.pop(each))
        self._preemptions += len(done.preempted)
        self._steps += bool(served)
        self._step_tokens += len(served) + done.prefilled_tokens

    def _die_in_time(self) -> None:
        if self._fate is None:
            return
        self._fate.tokens_left -= 1
        if self._fate.tokens_left <= 0:
            os._exit(self._fate.exit_code)

    def _publish(self) -> None:
        used = self.batch.kv_tokens / self._limits.kv_tokens
        self.gauges = Gauges(len(self.batch.running), len(self.batch.waiting), used)

    def _wake(self) -> None:
        if self.batch.is_empty or self._hanging:
            self._awake.clear()
        else:
            self._awake.set()
