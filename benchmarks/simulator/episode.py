"""What happens while a trace is busiest: a stretch of a run, watched. It changes nothing of what it watches."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.simulator.arrival import rate_of, span_s
from benchmarks.simulator.outcome import Outcome, Promise, Tally
from benchmarks.simulator.policies.named import Named
from benchmarks.simulator.sequence import Request
from benchmarks.simulator.setting import Setting
from benchmarks.simulator.trial import counted, uncollected
from benchmarks.simulator.world import Kind, Policy, World

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
# How many moments of a stretch are looked at.
SAMPLES = 360
# The busiest part is so much of the stretch and in its middle, so that its beginning and its end are seen too.
BUSY_SHARE = 0.4
# So many requests are as many dots as can be told apart; and it is this long at least and at most.
REQUESTS, LEAST_S, MOST_S = 400, 60.0, 600.0


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a trace, in seconds of it."""

    from_s: float
    lasts_s: float

    @property
    def to_s(self) -> float:
        """Its end."""
        return self.from_s + self.lasts_s

    def holds(self, at_s: float) -> bool:
        """Whether this moment is in it."""
        return self.from_s <= at_s < self.to_s


@dataclass(frozen=True, slots=True)
class Episode:
    """What was seen. Arrays: one value for each moment looked at, then one for each request that came meanwhile.

    `waiting` are those who are served nowhere yet, in the router and in the engines; `kv_share` is what is used of the
    KV room of all engines. Times to the first token are from a request's arrival; NaN where it never came, or where
    nothing was expected of it (`expected_ttft_s`: what the policy expected when it was placed).
    """

    stretch: Stretch
    promise: Promise
    looked_s: Floats
    waiting: Floats
    kv_share: Floats
    came_s: Floats
    sent_s: Floats
    ttft_s: Floats
    expected_ttft_s: Floats
    kept: Flags
    spilled: Flags
    cloud_usd: Floats
    paid_usd: Floats

    @property
    def kept_share(self) -> float:
        """Of the requests; there is one at least."""
        return float(self.kept.mean())

    def rates(self, step_s: float) -> tuple[Floats, Floats, Floats]:
        """The beginnings of steps of so many seconds, and how many a second came in each that are served here, and
        that are spilled."""
        count = math.ceil(self.stretch.lasts_s / step_s - 1e-9)
        edges: Floats = self.stretch.from_s + step_s * np.arange(count + 1, dtype=np.float64)
        here, spilled = (np.histogram(self.came_s[who], edges)[0] / step_s for who in (~self.spilled, self.spilled))
        return edges[:-1], here, spilled

    def paid(self) -> tuple[Floats, Floats, Floats]:
        """Moments in order, and what was paid by then since the beginning: by the policy, and with all in the cloud."""
        sent_s = np.where(self.spilled, self.sent_s, self.came_s)
        order = np.argsort(sent_s, kind="stable")
        return sent_s[order], np.cumsum(self.paid_usd[order]), np.cumsum(self.cloud_usd[order])


class Watched:
    """A policy, watched: it decides, and what comes of it is written down. One writer: the world."""

    world: World

    def __init__(self, policy: Policy, stretch: Stretch) -> None:
        self._policy, self._stretch = policy, stretch
        self._waiting: list[Request] = []
        self._step_s = stretch.lasts_s / SAMPLES
        self._look_s = stretch.from_s
        self.looks: list[tuple[float, float, float]] = []
        self.expected_ttft_s: dict[int, float] = {}

    def attach(self, world: World) -> None:
        """Once, before anything comes."""
        self.world = world
        self._policy.attach(world)

    def arrived(self, request: Request, now_s: float) -> None:
        """A request is there."""
        self._waiting.append(request)
        self._policy.arrived(request, now_s)

    def happened(self, kind: Kind, request: Request, engine: int, now_s: float) -> None:
        """Its first token or its last has passed."""
        self._policy.happened(kind, request, engine, now_s)

    def act(self, now_s: float) -> None:
        """At moments of the policy's own only: one more would be one more decision."""
        self._policy.act(now_s)
        if self._waiting:
            self._place(now_s)
        if self._look_s <= now_s <= self._stretch.to_s:
            self._look(now_s)

    def _place(self, now_s: float) -> None:
        for request in self._waiting:
            expected_s = request.expected_ttft_s
            if expected_s is not None and request.place is not None and self._stretch.holds(request.arrival_s):
                self.expected_ttft_s[request.number] = now_s - request.arrival_s + expected_s
        self._waiting = [each for each in self._waiting if each.place is None]

    def _look(self, now_s: float) -> None:
        engines = [self.world.engine(engine) for engine in range(self.world.engine_count)]
        waiting = len(self._waiting) + sum(len(each.waiting) for each in engines)
        used = sum(each.kv_used_tokens for each in engines) / sum(each.kv_tokens for each in engines)
        self.looks.append((now_s, waiting, used))
        since_s = now_s - self._stretch.from_s
        self._look_s = self._stretch.from_s + (math.floor(since_s / self._step_s) + 1) * self._step_s


def watched(setting: Setting, named: Named, stretch: Stretch) -> tuple[Outcome, Episode]:
    """The whole trace, and the stretch of it. Raises ValueError where no request comes in the stretch."""
    arrivals = setting.arrivals
    if not any(stretch.holds(each.at_s) for each in arrivals):
        said = f"no request comes from {stretch.from_s:g} s to {stretch.to_s:g} s of the trace"
        raise ValueError(f"{said}; its last one comes at {arrivals[-1].at_s:g} s")
    began_s = time.perf_counter()
    policy = Watched(named.made(), stretch)
    world = World(setting, policy)
    with uncollected():
        world.run()
    return counted(world, str(named), time.perf_counter() - began_s), _episode(world, policy, stretch)


def _episode(world: World, policy: Watched, stretch: Stretch) -> Episode:
    arrivals = world.setting.arrivals
    tally = Tally(arrivals, world.records, world.promise)
    who = np.flatnonzero((tally.at_s >= stretch.from_s) & (tally.at_s < stretch.to_s))
    looked_s, waiting, kv_share = np.array(policy.looks).T
    expected = policy.expected_ttft_s
    return Episode(
        stretch=stretch,
        promise=world.promise,
        looked_s=looked_s,
        waiting=waiting,
        kv_share=kv_share,
        came_s=tally.at_s[who],
        sent_s=tally.sent_s[who],
        ttft_s=tally.ttft_s[who],
        expected_ttft_s=np.array([expected.get(number, math.nan) for number in who.tolist()]),
        kept=tally.kept[who],
        spilled=tally.spilled[who],
        cloud_usd=world.setting.usd[who],
        paid_usd=tally.paid(world.setting.usd)[who],
    )


def stretch_of(setting: Setting, from_s: float | None = None, lasts_s: float | None = None) -> Stretch:
    """As asked for; else of about 400 requests, with the busiest part in its middle: what costs most in the cloud.

    Raises ValueError where it would have no length.
    """
    if lasts_s is None:
        lasts_s = min(max(REQUESTS / rate_of(setting.arrivals), LEAST_S), MOST_S, span_s(setting.arrivals))
    if not 0 < lasts_s < math.inf:
        raise ValueError(f"a stretch of {lasts_s:g} s shows nothing; it must be longer than 0 s")
    if from_s is not None:
        return Stretch(from_s, lasts_s)
    at_s = [each.at_s for each in setting.arrivals]
    busy_s = lasts_s * BUSY_SHARE
    middle_s = _busiest_s(at_s, setting.usd, busy_s) + busy_s / 2
    latest_s = max(at_s[-1] - lasts_s, 0.0)
    return Stretch(min(max(middle_s - lasts_s / 2, 0.0), latest_s), lasts_s)


def _busiest_s(at_s: Sequence[float], usd: Floats, lasts_s: float) -> float:
    """When the dearest stretch of this length begins that begins with a request."""
    sums = np.concatenate(([0.0], np.cumsum(usd)))
    ends = np.searchsorted(at_s, np.asarray(at_s) + lasts_s)
    return at_s[int((sums[ends] - sums[:-1]).argmax())]
