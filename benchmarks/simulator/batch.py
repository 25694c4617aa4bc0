"""Who sits in an engine's batch, who waits, who yields: its scheduler, counted in steps. Knows no seconds.

As vLLM's scheduler decides (V1, its defaults): each step first serves who runs, one token for each that decodes and the
next chunk of a prompt begun; then, where no one had to yield in this step, admits from the queue in the order of
arrival while the step's budget, seats and blocks are left, a prompt only if all of it fits. Where blocks run out the
last admitted yields: it gives its blocks back, goes to the head of the queue and computes again what the prefix cache
has lost of it meanwhile.

Asynchronous scheduling (vLLM, release notes of 0.14.0: on by default, but not on CPUs) decides on a step while the one
before it runs. So whoever arrives in a step, and whoever waits for room that is given back in it, comes in with the
step after the next.
"""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush
from typing import Literal

from benchmarks.simulator.blocks import BLOCK_TOKENS, Blocks
from benchmarks.simulator.prefix import grow, release, settle
from benchmarks.simulator.sequence import Request, Sequence

PHASE = BLOCK_TOKENS - 1
Happening = tuple[Literal["first", "end"], Request]


class Batch:
    """One writer: its engine, which calls `plan` and `commit` in turn, and changes nothing else between."""

    def __init__(
        self, blocks: int, max_batched_tokens: int, max_sequences: int, *, prefix_cache: bool, asynchronous: bool
    ) -> None:
        self.blocks = Blocks(blocks, caching=prefix_cache)
        self.waiting: deque[Sequence] = deque()
        self.running: dict[Request, Sequence] = {}
        self.steps = 0
        self.preemptions = 0
        self.hit_tokens = 0
        # Tokens yet to be computed, and those of them whose sequences wait.
        self.unprefilled = 0
        self.queued_tokens = 0
        # Sequences that decode, and the tokens of KV they have.
        self.decoding = 0
        self.kv = 0
        # The chunks of prompts in the step that is planned.
        self.chunks: list[tuple[Sequence, int]] = []
        self._caching = prefix_cache
        self._max_batched_tokens = max_batched_tokens
        self._max_sequences = max_sequences
        self._partial: Sequence | None = None
        self._ends: list[tuple[int, int, Sequence]] = []
        self._joined = 0
        # How many of those who decode need a new block at each step of sixteen.
        self._phases = [0] * BLOCK_TOKENS
        self._leavers: list[Sequence] = []
        self._asynchronous = asynchronous
        # Who ended in the step before the one to be planned: still in their seats where steps are planned ahead.
        self._ended: list[Sequence] = []

    def plan(self) -> int:
        """Schedules the step that begins now. How many steps like it follow one another, itself included; 0: none."""
        self.chunks = []
        if not self._asynchronous or not self.running:
            self._clear()
        if not self.running and not self.waiting:
            return 0
        yielded = self._make_room()
        if self.waiting and not yielded:
            self._admit()
        late = self._clear()
        if self.chunks:
            return 1
        if not self.decoding:
            # Only the one who just yielded is left; the step after this one admits it.
            return self.plan()
        count = self._ends[0][0] - self.steps
        if self.waiting:
            # Who yielded, or comes late, may be let in after this step; who waits for room, when somebody leaves.
            ready = self.steps + 1 if yielded or late else self.waiting[0].ready
            count = min(count, ready - self.steps) if ready > self.steps else count
        return self._within_blocks(count)

    def commit(self, count: int) -> list[Happening]:
        """`count` of the planned steps are over: what they computed stands, who ended leaves."""
        if count > 1:
            self.blocks.take(self.growth(1, count))
        self.steps = steps = self.steps + count
        self.kv += self.decoding * count
        happened: list[Happening] = []
        ends = self._ends
        while ends and ends[0][0] <= steps:
            sequence = heappop(ends)[2]
            if sequence.finish == steps:
                self._stand_up(sequence)
                self._ended.append(sequence)
                del self.running[sequence.request]
                if not sequence.gone:
                    happened.append(("end", sequence.request))
        for sequence, tokens in self.chunks:
            sequence.computed += tokens
            self.unprefilled -= tokens
            if sequence.computed == sequence.target:
                self._answer(sequence, happened)
        if self._leavers:
            self._dismiss()
        return happened

    def arrive(self, request: Request, step: int) -> int:
        """Queues it within step `step` of those planned. With which step it can come in, unless it waits for room."""
        self.unprefilled += request.prompt_tokens
        self.queued_tokens += request.prompt_tokens
        if self.running:
            step += 2 if self._asynchronous else 1
        self.waiting.append(Sequence(request, self.steps + step))
        return step

    def growth(self, start: int, end: int) -> int:
        """Blocks that those who decode need in the planned steps from `start` to before `end`."""
        rounds, rest = divmod(end - start, BLOCK_TOKENS)
        first = (self.steps + start) & PHASE
        over = first + rest - BLOCK_TOKENS
        need = rounds * self.decoding + sum(self._phases[first : first + rest])
        return need + sum(self._phases[:over]) if over > 0 else need

    def queued(self, request: Request) -> Sequence | None:
        """Its sequence where it waits."""
        return next((each for each in self.waiting if each.request is request), None)

    def drop(self, request: Request) -> bool:
        """Takes it out, at the end of the planned step where it runs; whether it was here."""
        sequence = self.running.get(request)
        if sequence is not None:
            if not sequence.gone:
                sequence.gone = True
                self._leavers.append(sequence)
            return True
        sequence = self.queued(request)
        if sequence is None:
            return False
        self.waiting.remove(sequence)
        self.unprefilled -= sequence.target
        self.queued_tokens -= sequence.target
        return True

    # Scheduling.

    def _make_room(self) -> bool:
        """Blocks for the next token of all who decode and the chunk of the prompt begun; whether somebody yielded."""
        blocks, yielded = self.blocks, False
        need = self._phases[self.steps & PHASE]
        partial = self._partial
        if partial is not None:
            tokens = min(partial.target - partial.computed, self._max_batched_tokens - self.decoding)
            more = -(-(partial.computed + tokens) // BLOCK_TOKENS) - partial.blocks
            if need + more > blocks.free:
                self._yield()
                yielded = True
            else:
                self.chunks.append((partial, tokens))
                grow(blocks, partial, more)
        while need > blocks.free:
            self._yield()
            yielded = True
            need = self._phases[self.steps & PHASE]
        if need:
            blocks.take(need)
        return yielded

    def _admit(self) -> None:
        waiting, running, blocks = self.waiting, self.running, self.blocks
        seats = self._max_sequences - len(self._ended)
        budget = self._max_batched_tokens - self.decoding - sum(tokens for _, tokens in self.chunks)
        while waiting and budget:
            sequence = waiting[0]
            if sequence.ready > self.steps and running:
                return
            target = sequence.target
            if len(running) >= seats or not (
                settle(blocks, sequence) if self._caching else -(-target // BLOCK_TOKENS) <= blocks.free
            ):
                return
            self.unprefilled -= sequence.computed
            self.hit_tokens += sequence.computed
            self.queued_tokens -= target
            waiting.popleft()
            running[sequence.request] = sequence
            tokens = min(target - sequence.computed, budget)
            budget -= tokens
            if sequence.computed + tokens < target:
                self._partial = sequence
            more = -(-(sequence.computed + tokens) // BLOCK_TOKENS) - sequence.blocks
            if self._caching:
                grow(blocks, sequence, more)
            else:
                blocks.take(more)
                sequence.blocks = more
            self.chunks.append((sequence, tokens))

    def _within_blocks(self, count: int) -> int:
        """At most so many steps that no one has to yield within them. The blocks of the first are taken."""
        free, decoding = self.blocks.free, self.decoding
        if (count + PHASE) // BLOCK_TOKENS * decoding <= free or self.growth(1, count) <= free:
            return count
        count = free // decoding * BLOCK_TOKENS
        while self.growth(1, count + 2) <= free:
            count += 1
        return count + 1

    # Sequences that change their state.

    def _answer(self, sequence: Sequence, happened: list[Happening]) -> None:
        """Its prompt is computed, and with it the next token."""
        request = sequence.request
        if sequence is self._partial:
            self._partial = None
        if not sequence.made and not sequence.gone:
            happened.append(("first", request))
        sequence.made += 1
        left = request.output_tokens - sequence.made
        if left <= 0:
            del self.running[request]
            self._ended.append(sequence)
            if not sequence.gone:
                happened.append(("end", request))
            return
        steps = self.steps
        sequence.lead = sequence.made - steps
        sequence.base = sequence.computed - steps
        sequence.phase = (steps - sequence.computed) & PHASE
        sequence.finish = steps + left
        self._joined += 1
        heappush(self._ends, (sequence.finish, self._joined, sequence))
        self.decoding += 1
        self.kv += sequence.computed
        self._phases[sequence.phase] += 1

    def _stand_up(self, sequence: Sequence) -> None:
        """It decodes no longer: what it has so far is written down."""
        sequence.finish = None
        sequence.made = sequence.lead + self.steps
        sequence.computed = sequence.base + self.steps
        self.decoding -= 1
        self.kv -= sequence.computed
        self._phases[sequence.phase] -= 1
        sequence.blocks = -(-sequence.computed // BLOCK_TOKENS)

    def _give(self, sequence: Sequence) -> None:
        if self._caching:
            release(self.blocks, sequence)
        else:
            self.blocks.give(sequence.blocks)
            sequence.blocks = 0

    def _yield(self) -> None:
        """The last admitted goes back to the head of the queue."""
        _, sequence = self.running.popitem()
        self.preemptions += 1
        self._lay_down(sequence)
        self._give(sequence)
        sequence.target = sequence.request.prompt_tokens + sequence.made
        self.unprefilled += sequence.target
        self.queued_tokens += sequence.target
        sequence.computed = 0
        sequence.ready = self.steps
        self.waiting.appendleft(sequence)

    def _lay_down(self, sequence: Sequence) -> None:
        if sequence.finish is not None:
            self._stand_up(sequence)
            return
        if sequence is self._partial:
            self._partial = None
        self.unprefilled -= sequence.target - sequence.computed

    def _dismiss(self) -> None:
        for sequence in self._leavers:
            if self.running.pop(sequence.request, None) is not None:
                self._lay_down(sequence)
                self._ended.append(sequence)
        self._leavers = []

    def _clear(self) -> bool:
        """Takes the blocks and seats of who ended; whether there was somebody."""
        ended, self._ended = self._ended, []
        for sequence in ended:
            self._give(sequence)
        return bool(ended)
