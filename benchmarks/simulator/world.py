"""Reckoned time: arrivals, engines, a cloud and the policy that sends one to the other. Deterministic by seed.

Nothing is approximated between engines: each runs ahead only to the moment at which something could happen on it, and
an engine on which something is placed, or at which a policy looks, is brought up to that moment first.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable
from functools import cached_property
from heapq import heappop, heappush
from typing import Literal, Protocol

from benchmarks.simulator.arrival import Arrival
from benchmarks.simulator.engine import Engine, Event
from benchmarks.simulator.outcome import CLOUD, Records
from benchmarks.simulator.sequence import Request
from benchmarks.simulator.setting import Setting

Kind = Literal["first", "end"]
# Of what comes at a time: a moment that a policy asked for, or the tokens of a cloud.
TIMER, FIRST, END = 0, 1, 2


class Policy(Protocol):
    """Decides where each request goes. It sees what a router sees; `request.output_tokens` is not for it to read."""

    def attach(self, world: World) -> None:
        """Once, before anything comes."""

    def arrived(self, request: Request, now_s: float) -> None:
        """A request is there."""

    def happened(self, kind: Kind, request: Request, engine: int, now_s: float) -> None:
        """Its first token or its last came. `engine` is CLOUD for the cloud."""

    def act(self, now_s: float) -> None:
        """After all that came at one moment, and at the moments asked for by `world.timer`."""


class World:
    """One run: `run` once, then read `records`."""

    def __init__(self, setting: Setting, policy: Policy) -> None:
        self.setting, self.promise = setting, setting.promise
        # Speeds as they were measured, for policies that are told them.
        self.steps = setting.engine.steps
        self.now_s = 0.0
        # The router's own ledger: how many it has sent to each engine and not seen the end of.
        self.in_flight = [0] * setting.engines
        self.records = Records(len(setting.arrivals))
        # Misses so far, of those that ended.
        self.missed = 0
        self._engines = [setting.engine.made() for _ in range(setting.engines)]
        self._policy = policy
        self._due_s = [math.inf] * setting.engines
        # What came on an engine while it was brought up to a moment at which others are looked at.
        self._undelivered: list[Iterable[Event]] = [()] * setting.engines
        self._cloud_ttfts_s: array[float] = setting.cloud.ttfts_s(len(setting.arrivals), setting.seed)
        self._moments: list[tuple[float, int, int, Request | None]] = []
        self._sequence = 0
        policy.attach(self)

    @property
    def engine_count(self) -> int:
        """Engines are numbered from 0."""
        return len(self._engines)

    @cached_property
    def _again_ttfts_s(self) -> array[float]:
        """Of second calls, which most policies never make."""
        return self.setting.cloud.ttfts_s(len(self.setting.arrivals), self.setting.seed, call=1)

    def fits(self, request: Request, engine: int) -> bool:
        """Whether the engine could ever hold it. A client says the most tokens it wants; here it gets all of them."""
        return self._engines[engine].fits(request)

    def engine(self, engine: int) -> Engine:
        """As it is now, to be read: what its telemetry would show this moment."""
        found = self._engines[engine]
        if found.now_s < self.now_s:
            # Nothing was due before now, so what comes of this comes now: it is delivered next.
            events = found.advance(self.now_s)
            if events:
                self._undelivered[engine] = events
                self._due_s[engine] = self.now_s
        return found

    def local(self, request: Request, engine: int) -> None:
        """Send it there now. One that can never fit is refused, as a real engine refuses it: it is never served."""
        now_s = self.now_s
        request.sent_s, request.place = now_s, f"local/{engine}"
        self.records.sent_s[request.number] = now_s
        self.records.places[request.number] = engine
        if not self.fits(request, engine):
            self.missed += 1
            return
        self.in_flight[engine] += 1
        found = self.engine(engine)
        found.add(request, now_s)
        if not self._undelivered[engine]:
            self._due_s[engine] = found.due_s

    def cloud(self, request: Request, again_s: float = math.inf) -> None:
        """Send it to the cloud now, and a second time where that is silent for so long: whoever answers first is heard,
        and the prompt of the other is paid for."""
        now_s, number = self.now_s, request.number
        request.sent_s, request.place = now_s, "cloud"
        self.records.sent_s[number] = now_s
        self.records.places[number] = CLOUD
        ttft_s = self._cloud_ttfts_s[number]
        if ttft_s > again_s:
            second_s = again_s + self._again_ttfts_s[number]
            request.again_s, request.came_again = now_s + again_s, second_s < ttft_s
            self.records.again_usd[number] = self.setting.cloud.usd(request.prompt_tokens, 0)
            ttft_s = min(ttft_s, second_s)
        self._sequence += 1
        heappush(self._moments, (now_s + ttft_s, self._sequence, FIRST, request))

    def timer(self, at_s: float) -> None:
        """Have the policy act at that moment, or now where it has passed."""
        self._sequence += 1
        heappush(self._moments, (at_s, self._sequence, TIMER, None))

    def run(self, missed_most: float = math.inf) -> bool:
        """To the end of the last answer. False: it was left since more than `missed_most` requests had missed."""
        arrivals, dues, moments = self.setting.arrivals, self._due_s, self._moments
        count, number = len(arrivals), 0
        while self.missed <= missed_most:
            next_s = arrivals[number].at_s if number < count else math.inf
            if moments and moments[0][0] < next_s:
                next_s = moments[0][0]
            soonest_s = min(dues)
            if soonest_s <= next_s:
                if soonest_s == math.inf:
                    return True
                if not self._stepped(dues.index(soonest_s), soonest_s):
                    continue
            else:
                self.now_s = max(next_s, self.now_s)
                while number < count and arrivals[number].at_s <= next_s:
                    self._policy.arrived(_request(number, arrivals[number]), self.now_s)
                    number += 1
                self._pop()
            self._policy.act(self.now_s)
        return False

    def _stepped(self, engine: int, due_s: float) -> bool:
        """Whether something was delivered; else the engine only came further."""
        found = self._engines[engine]
        events = self._undelivered[engine] or found.advance(due_s)
        self._undelivered[engine] = ()
        self._due_s[engine] = found.due_s
        if not events:
            return False
        self.now_s = due_s
        for _, kind, request in events:
            self._came(kind, request, engine)
        return True

    def _pop(self) -> None:
        """Deliver the moments that are due."""
        moments = self._moments
        while moments and moments[0][0] <= self.now_s:
            at_s, sequence, kind, request = heappop(moments)
            if request is None:
                continue
            if kind == FIRST:
                request.first_s = at_s
                self._came("first", request, CLOUD)
                end_s = at_s + (request.output_tokens - 1) * self.setting.cloud.tpot_s
                heappush(moments, (end_s, sequence, END, request))
            else:
                request.end_s = at_s
                self._came("end", request, CLOUD)

    def _came(self, kind: Kind, request: Request, engine: int) -> None:
        if kind == "end":
            self._record(request)
            if engine != CLOUD:
                self.in_flight[engine] -= 1
        self._policy.happened(kind, request, engine, self.now_s)

    def _record(self, request: Request) -> None:
        first_s, end_s = request.first_s, request.end_s
        if first_s is None or end_s is None:
            raise RuntimeError(f"request {request.number} ended without its tokens")
        ttft_s = first_s - request.arrival_s
        tpot_s = (end_s - first_s) / (request.output_tokens - 1) if request.output_tokens > 1 else 0.0
        self.records.ttft_s[request.number] = ttft_s
        self.records.tpot_s[request.number] = tpot_s
        if not self.promise.met(ttft_s, tpot_s):
            self.missed += 1


def _request(number: int, arrival: Arrival) -> Request:
    return Request(
        number=number,
        arrival_s=arrival.at_s,
        prompt_tokens=arrival.prompt_tokens,
        output_tokens=arrival.output_tokens,
        tenant=arrival.tenant,
        prefix=arrival.prefix,
    )
