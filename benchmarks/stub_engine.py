"""The state of the stub engine: how fast it speaks, what it has done, and whose turn it is.

The one writer of all counts. It must not know HTTP: a connection asks for the moments at which to make its writes.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks.batch import Limits
from benchmarks.exposition import Gauges, Totals, exposition
from benchmarks.numbered import MAX_TOKENS, PROMPT_TOKENS
from benchmarks.pace import Pace
from benchmarks.stub_answer import Script, Wanted, script
from benchmarks.tamper import Tamper
from benchmarks.wire import Kind

# Of a stream that is not paced, so many events go out in one write: a write costs an interpreter about as much as all
# else a token needs, and the stub shares its core with the load generator.
EVENTS_PER_WRITE = 2
# Room for far more than is ever asked at once: a router must not hold requests back for the engine's sake.
LIMITS = Limits(context_tokens=MAX_TOKENS, kv_tokens=MAX_TOKENS * 8192, max_num_seqs=8192)


@dataclass(slots=True)
class Speed:
    """Seconds before the first token and between tokens; both 0 is as fast as the sockets take it."""

    first_s: float = 0.0
    delay_s: float = 0.0

    @property
    def is_paced(self) -> bool:
        """Whether time decides when a token comes."""
        return self.first_s > 0 or self.delay_s > 0


@dataclass(slots=True)
class Counts:
    """Requests since the start. `running` counts those whose answer is under way."""

    requests: int = 0
    streams: int = 0
    done: int = 0
    aborted: int = 0
    running: int = 0
    tokens: int = 0


@dataclass(slots=True)
class Fault:
    """What is done wrong, and to every how many-th answer."""

    tamper: Tamper = Tamper.NONE
    every: int = 1
    answers: int = field(default=0)

    def next(self) -> Tamper:
        """For the next answer."""
        self.answers += 1
        return self.tamper if self.answers % self.every == 0 else Tamper.NONE


class StubEngine:
    """One engine. Turns of the flood and of the pace are given here, so that every stream gets its share."""

    def __init__(self, model: str, fault: Fault) -> None:
        self.model = model
        self.speed = Speed()
        self.counts = Counts()
        self._fault = fault
        self._loop = asyncio.get_running_loop()
        self.pace = Pace(self._loop)
        self._flood: list[Callable[[], bool]] = []

    def answer(self, kind: Kind, tokens: int, *, stream: bool, include_usage: bool) -> Script:
        """The bytes of the next answer; it counts as running until `ended`."""
        self.counts.requests += 1
        self.counts.streams += stream
        self.counts.running += 1
        tamper = self._fault.next()
        per_write = 1 if self.speed.is_paced else EVENTS_PER_WRITE
        return script(Wanted(kind, self.model, tokens, stream, include_usage, tamper, per_write))

    def ended(self, tokens: int, *, complete: bool) -> None:
        """An answer is written, or its client has gone."""
        self.counts.running -= 1
        self.counts.done += complete
        self.counts.aborted += not complete
        self.counts.tokens += tokens

    def flood(self, step: Callable[[], bool]) -> None:
        """Call `step` once a turn of the event loop for as long as it returns true."""
        self._flood.append(step)
        if len(self._flood) == 1:
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._flood = [step for step in self._flood if step()]
        if self._flood:
            self._loop.call_soon(self._turn)

    def metrics(self) -> str:
        """vLLM's page."""
        counts = self.counts
        gauges = Gauges(running=counts.running, kv_used_fraction=counts.running / LIMITS.max_num_seqs)
        finished = Counter(length=counts.done, abort=counts.aborted)
        prompt_tokens = counts.requests * PROMPT_TOKENS
        totals = Totals(prompt_tokens, counts.tokens, 0, counts.tokens, prompt_tokens + counts.tokens, finished)
        return exposition(self.model, LIMITS, gauges, totals)


def now_s() -> float:
    """The clock of the pace."""
    return time.monotonic()
