"""A simulated engine, and the ledger that a router keeps of it: requests go in by turn, as soon as they fit."""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from benchmarks.simulator.engine import Engine
from benchmarks.simulator.named import NAMED
from benchmarks.simulator.sequence import Request
from benchmarks.simulator.steps import Attention, Coefficients, Steps
from router.spilling.load import EngineLoad
from router.spilling.stay import Stay

# Tokens of room beside a prompt, and prompts that may wait in the engine.
HEAD_TOKENS, MOST_WAITING = 400, 2


def coefficients(name: str = "rtx4090-llama3.1-8b", slower: float = 1.0) -> Coefficients:
    """Of an engine that ships, all of it so many times slower."""
    known = NAMED[name].coefficients

    def attention(each: Attention) -> Attention:
        return Attention(each.step_ms * slower, each.sequence_us * slower, each.kv_ns * slower)

    return replace(
        known,
        dense_ms=tuple((count, ms * slower) for count, ms in known.dense_ms),
        head_ms=tuple((count, ms * slower) for count, ms in known.head_ms),
        alone=attention(known.alone),
        beside=attention(known.beside),
        chunk_us=known.chunk_us * slower,
        pair_ns=known.pair_ns * slower,
    )


def chat(count: int, per_s: float, seed: int = 1, since_s: float = 0.0) -> list[Request]:
    """Arrivals at random, lengths like those of a chat: prompts of 900 tokens and answers of 150 in the median."""
    chance, at_s, requests = random.Random(seed), since_s, []
    for number in range(count):
        at_s += chance.expovariate(per_s)
        prompt = min(6000, max(8, round(chance.lognormvariate(math.log(900), 0.9))))
        output = min(1500, max(1, round(chance.lognormvariate(math.log(150), 0.8))))
        requests.append(Request(number, at_s, prompt, output))
    return requests


class WatchedEngine:
    """`look` is called with the moment after every event; every `count_each_s` the tokens of one stream are counted."""

    def __init__(self, steps: Steps, load: EngineLoad, *, kv_tokens: int = 41_408, chunk_tokens: int = 2048) -> None:
        self.engine = Engine(steps, kv_tokens, max_batched_tokens=chunk_tokens)
        self.load = load
        self.count_each_s = math.inf
        self.look: Callable[[float], None] = lambda now_s: None
        self.predicted_s: dict[Request, float] = {}
        self._held: deque[Request] = deque()
        self._stays: dict[Request, Stay] = {}

    def run(self, requests: Iterable[Request]) -> None:
        """All of them to their ends."""
        for request in requests:
            self.run_until(request.arrival_s)
            self.take(request)
        self.run_until(math.inf)

    def take(self, request: Request) -> None:
        """One that arrives now."""
        self._held.append(request)
        self._send(self.engine.now_s)
        self.look(self.engine.now_s)

    def run_until(self, until_s: float) -> None:
        """To that moment; where it is infinite, until nobody is left."""
        now_s = self.engine.now_s
        while now_s < until_s and not (until_s == math.inf and self.engine.is_idle and not self._held):
            events = self.engine.advance(min(until_s, now_s + self.count_each_s))
            now_s = self.engine.now_s
            for at_s, kind, request in events:
                self._happened(at_s, kind, request)
            if self.count_each_s < math.inf:
                self._count(now_s)
            self._send(now_s)
            self.look(now_s)

    def decoding(self) -> Sequence[Request]:
        """As the engine itself has it."""
        return [each for each in self.engine.running if each.first_s is not None]

    def _happened(self, at_s: float, kind: str, request: Request) -> None:
        if kind == "first":
            self.load.began(self._stays[request], at_s)
        else:
            self.load.ended(self._stays.pop(request), request.output_tokens, at_s)

    def _count(self, now_s: float) -> None:
        request = next(iter(self.decoding()), None)
        if request is not None:
            self.load.counted(self._stays[request], self.engine.generated(request), now_s)

    def _send(self, now_s: float) -> None:
        while self._held:
            standing, request = self.load.standing(now_s), self._held[0]
            if not standing.fits(request.prompt_tokens + HEAD_TOKENS) or standing.waiting >= MOST_WAITING:
                return
            self._held.popleft()
            predicted_s = standing.ttft_s(request.prompt_tokens)
            stay = self.load.sent(request.prompt_tokens, now_s, predicted_ttft_s=predicted_s)
            self._stays[request] = stay
            request.sent_s = now_s
            self.engine.add(request, now_s)
