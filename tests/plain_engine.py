"""An engine that takes every step and keeps every block, as vLLM's scheduler does: slow and plain, to compare with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.simulator.sequence import Request
from benchmarks.simulator.steps import Steps

BLOCK = 16
PREFIX_BLOCKS = 32


@dataclass(eq=False)
class Row:
    """A request in the engine."""

    request: Request
    ready: int
    computed: int = 0
    made: int = 0
    decodes: bool = False
    blocks: list[int] = field(default_factory=list)

    @property
    def tokens(self) -> int:
        return self.request.prompt_tokens + self.made

    def key(self, index: int) -> tuple[object, ...]:
        """By what a block is found again: the prefix ids up to it, or the request."""
        ids = self.request.prefix[: self.request.prompt_tokens // (PREFIX_BLOCKS * BLOCK)]
        piece, place = divmod(index, PREFIX_BLOCKS)
        return (*ids[: piece + 1], place) if piece < len(ids) else ("own", self.request.number, index)


@dataclass
class PlainEngine:
    """`run` once. It writes the requests' times."""

    steps: Steps
    kv_tokens: int
    budget: int
    seats: int
    cache: bool
    ahead: bool
    preemptions: int = 0

    def run(self, requests: Sequence[Request]) -> None:
        """All of them to their ends."""
        self.free = list(range(self.kv_tokens // BLOCK - 1))
        self.key_of: dict[int, tuple[object, ...]] = {}
        self.block_of: dict[tuple[object, ...], int] = {}
        self.holders: dict[int, int] = {}
        self.running: list[Row] = []
        self.waiting: list[Row] = []
        self.ended: list[Row] = []
        coming = list(requests)
        step, now_s = 0, 0.0
        while coming or self.waiting or self.running:
            if not self.running and not self.waiting:
                now_s = max(now_s, coming[0].arrival_s)
                self.waiting.append(Row(coming.pop(0), step))
            chunks = self.schedule(step)
            if not chunks:
                chunks = self.schedule(step)
            now_s += self.takes_s(chunks)
            while coming and coming[0].arrival_s < now_s:
                self.waiting.append(Row(coming.pop(0), step + (2 if self.ahead else 1)))
            step += 1
            self.finish(chunks, now_s)

    def schedule(self, step: int) -> list[tuple[Row, int]]:
        """Who computes how many tokens in this step."""
        if not self.ahead or not self.running:
            self.clear()
        chunks: list[tuple[Row, int]] = []
        if self.serve(chunks) and self.waiting:
            self.admit(chunks, step)
        self.clear()
        return chunks

    def serve(self, chunks: list[tuple[Row, int]]) -> bool:
        """Those who run; False where somebody had to yield."""
        before = self.preemptions
        for row in list(self.running):
            if row not in self.running:
                continue
            tokens = min(row.tokens - row.computed, self.left(chunks))
            while not self.grow(row, tokens):
                if self.give_way() is row:
                    break
            else:
                chunks.append((row, tokens))
        return self.preemptions == before

    def admit(self, chunks: list[tuple[Row, int]], step: int) -> None:
        """Those who wait, in their order."""
        while self.waiting and self.left(chunks) and len(self.running) + len(self.ended) < self.seats:
            row = self.waiting[0]
            if (row.ready > step and self.running) or not self.let_in(row):
                return
            tokens = min(row.tokens - row.computed, self.left(chunks))
            assert self.grow(row, tokens)
            chunks.append((row, tokens))

    def left(self, chunks: Sequence[tuple[Row, int]]) -> int:
        """Of the step's tokens."""
        return self.budget - sum(tokens for _, tokens in chunks)

    def let_in(self, row: Row) -> bool:
        """From the queue to a seat with the blocks that are there already, where all of it fits."""
        found: list[int] = []
        while self.cache and len(found) < (row.tokens - 1) // BLOCK and row.key(len(found)) in self.block_of:
            found.append(self.block_of[row.key(len(found))])
        idle = sum(not self.holders.get(block) for block in found)
        if -(-row.tokens // BLOCK) - len(found) + idle > len(self.free):
            return False
        for block in found:
            if not self.holders.get(block):
                self.free.remove(block)
            self.holders[block] = self.holders.get(block, 0) + 1
        row.blocks, row.computed = found, len(found) * BLOCK
        self.running.append(self.waiting.pop(0))
        return True

    def grow(self, row: Row, tokens: int) -> bool:
        """Blocks for so many tokens more; False where there are not enough."""
        more = -(-(row.computed + tokens) // BLOCK) - len(row.blocks)
        if more > len(self.free):
            return False
        for _ in range(more):
            block = self.free.pop(0)
            key = self.key_of.pop(block, None)
            if key is not None and self.block_of.get(key) == block:
                del self.block_of[key]
            self.holders[block] = 1
            row.blocks.append(block)
        for index in range((row.computed + tokens) // BLOCK):
            block = row.blocks[index]
            if row.key(index) not in self.block_of:
                self.block_of[row.key(index)] = block
                self.key_of[block] = row.key(index)
        return True

    def give_way(self) -> Row:
        """The last admitted yields."""
        row = self.running.pop()
        self.preemptions += 1
        self.release(row)
        row.computed, row.decodes = 0, False
        self.waiting.insert(0, row)
        return row

    def release(self, row: Row) -> None:
        for block in reversed(row.blocks):
            self.holders[block] -= 1
            if not self.holders[block]:
                self.free.append(block)
        row.blocks = []

    def clear(self) -> None:
        for row in self.ended:
            self.release(row)
        self.ended = []

    def takes_s(self, chunks: Sequence[tuple[Row, int]]) -> float:
        decoding = [row for row, _ in chunks if row.decodes]
        prompts = [(tokens, row.computed) for row, tokens in chunks if not row.decodes]
        kv = sum(row.tokens for row in decoding)
        return self.steps.mixed_s(len(decoding), kv, prompts) if prompts else self.steps.decode_s(len(decoding), kv)

    def finish(self, chunks: Sequence[tuple[Row, int]], now_s: float) -> None:
        for row, tokens in chunks:
            row.computed += tokens
            if row.computed < row.tokens:
                continue
            row.made, row.decodes = row.made + 1, True
            if row.made == 1:
                row.request.first_s = now_s
            if row.made == row.request.output_tokens:
                row.request.end_s = now_s
                self.running.remove(row)
                self.ended.append(row)
