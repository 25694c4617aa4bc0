"""What the sluice costs for each request: `arrive` and `decide` before 16 engines of about 40 sequences each.

Requests come at random and leave again, first tokens pass, lines are looked at in between, and only `arrive` with the
`decide` that follows it is counted. In one case there is room, in the other the KV caches are full and others wait.
"""

from __future__ import annotations

import gc
import math
import random
import time
from collections.abc import Iterator
from heapq import heappop, heappush

from benchmarks.decisions import COLLECT_EACH
from benchmarks.price import Price
from benchmarks.quantiles import quantile
from benchmarks.simulator.policies.sluice import Asked
from router.spilling.lengths import Kind, Lengths
from router.spilling.load import EngineLoad
from router.spilling.misses import Misses
from router.spilling.sluice import Sluice
from router.spilling.speeds import Speeds, Tempo
from router.spilling.twin import Twin
from router.spilling.want import Placed, Want

ENGINES, SEQUENCES = 16, 40
# KV tokens of an engine that is never full, and of one that is with 40 sequences: an RTX 4090 with an 8B model.
ROOMY, FULL = 400_000, 41_408
# As that engine is: a step, each sequence, each KV token, steps before a prompt is looked at, a token, a pair.
TEMPO = Tempo(0.0165, 6e-6, 1.5e-7, 1.5, 8e-5, 2e-9)
PRICE, TWIN = Asked(Price(0.15, 0.60)), Twin()
# Between two arrivals; a step; and what a prompt takes, with each of its tokens.
EACH_S, STEP_S, READ_S, READ_EACH_S = 0.016, 0.025, 0.04, 9e-5
# Prompts: the median and the spread of their logarithms.
PROMPT, SPREAD, MOST_TOKENS = 520, 0.9, 6000
# Not counted: until engines are full and the interpreter has seen the code often enough.
WARM_UP = 2 * ENGINES * SEQUENCES


def placings(count: int) -> Iterator[tuple[str, str, float]]:
    """(part, case, microseconds), two lines for each case."""
    before = gc.get_threshold()
    gc.set_threshold(*COLLECT_EACH)
    try:
        for case, kv_tokens, waiting in ("room for all", ROOMY, 0), ("full, others wait", FULL, 2 * ENGINES):
            taken_us = list(_Traffic(kv_tokens, waiting).each(count))
            for name, share in ("p50", 0.5), ("p99", 0.99):
                yield f"place among {ENGINES}, {name}", case, quantile(taken_us, share)
    finally:
        gc.set_threshold(*before)


class _Traffic:
    """As many requests end as come: where those of SEQUENCES fill an engine, `waiting` more wait."""

    def __init__(self, kv_tokens: int, waiting: int) -> None:
        misses = Misses()
        self._sluice = Sluice(lambda tier: misses)
        self._sluice.stand({number: EngineLoad(Speeds(TEMPO), kv_tokens) for number in range(ENGINES)})
        self._present = ENGINES * SEQUENCES + waiting
        self._chance, self._lengths = random.Random(1), Lengths()
        # (when its first token comes, key), a heap; and (since when, key) in any order.
        self._sent: list[tuple[float, int]] = []
        self._decoding: list[tuple[float, int]] = []
        self._now_s = 0.0

    def each(self, count: int) -> Iterator[float]:
        """Microseconds of each."""
        for number in range(WARM_UP + count):
            self._pass(self._now_s + self._chance.expovariate(1 / EACH_S))
            want = self._want(number)
            began_ns = time.thread_time_ns()
            self._sluice.arrive(want, self._now_s)
            placed = self._sluice.decide(self._now_s)
            taken_ns = time.thread_time_ns() - began_ns
            self._send(placed)
            if number >= WARM_UP:
                yield taken_ns / 1e3

    def _want(self, number: int) -> Want:
        prompt_tokens = min(MOST_TOKENS, round(self._chance.lognormvariate(math.log(PROMPT), SPREAD)) + 1)
        lengths = self._lengths.sample(Kind(prompt_tokens=prompt_tokens))
        worth = self._sluice.worth(prompt_tokens, lengths, PRICE)
        return Want(number, self._now_s, prompt_tokens, 2.0, 0.1, lengths, worth, PRICE, twin=TWIN)

    def _pass(self, until_s: float) -> None:
        """First tokens and ends until then, and looks at those who wait."""
        while self._sent and self._sent[0][0] <= until_s:
            first_s, key = heappop(self._sent)
            self._now_s = max(self._now_s, first_s)
            self._sluice.began(key, self._now_s)
            self._decoding.append((self._now_s, key))
            self._look()
        look_s = self._sluice.next_look_s(self._now_s)
        if look_s < until_s:
            self._now_s = look_s
            self._look()
        self._now_s = until_s
        while self._decoding and len(self._decoding) + len(self._sent) + self._sluice.waiting > self._present:
            first_s, key = self._decoding.pop(self._chance.randrange(len(self._decoding)))
            tokens = 1 + round((self._now_s - first_s) / STEP_S)
            self._sluice.ended(key, tokens, self._now_s)
            self._lengths.learn(Kind(), tokens)
            self._look()

    def _look(self) -> None:
        self._send(self._sluice.decide(self._now_s))

    def _send(self, placed: list[Placed]) -> None:
        for each in placed:
            if each.engine is not None:
                assert isinstance(each.want.key, int)
                read_s = READ_S + READ_EACH_S * each.want.prompt_tokens
                heappush(self._sent, (self._now_s + read_s, each.want.key))
