"""The best bill found by one who knows the whole trace: an upper limit on what is best, as good as the search was.

Annealing in a window that moves along the trace. Of the requests that arrive within `horizon_s`, choices are changed
and the engines run on from a copy of the moment at the window's beginning; then the window moves by `stride_s`. What is
left at its end counts by the price of an engine's second. First come repairs: before a request would be late, whoever
is worth least for the room it takes is dropped, in the way of Moore and Hodgson (Management Science 15, 1968). A sweep
begins with the choices of the one before, and a miss is priced so that the misses allowed are used up.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from benchmarks.simulator.arrival import span_s
from benchmarks.simulator.foresight import Course, kv_token_s, works_s
from benchmarks.simulator.outcome import Outcome
from benchmarks.simulator.plan import Plan, Planned
from benchmarks.simulator.setting import Setting
from benchmarks.simulator.trial import counted
from benchmarks.simulator.window import Prices, Window
from benchmarks.simulator.world import World

# Temperatures in mean prices of a request, at the beginning and the end of a window.
WARM, COLD = 0.04, 0.01
# What a miss may cost, in mean prices; the first is where the search begins.
MISS_FIRST, MISS_LEAST, MISS_MOST = 1.0, 0.02, 100.0
# Its price changes by so much from sweep to sweep; while none keeps the promise, so many times the sweeps are made.
CHANGED_MOST, MORE_SWEEPS = 3.0, 3
# Misses are aimed at a little below what is allowed, since replica and engine differ by a few.
AIMED = 0.95
# What work left over counts where engines are seldom full, as a share of what a request pays for a second of them.
SELDOM_FULL = 0.3


@dataclass(frozen=True, slots=True)
class Effort:
    """How hard is searched. `latest_s`: nobody is held longer than that, late or not."""

    sweeps: int = 3
    evaluations: int = 30
    repairs: int = 40
    horizon_s: float = 40.0
    stride_s: float = 4.0
    latest_s: float = 20.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Found:
    """A plan, and what the search says of it; the world's word counts."""

    plan: Plan
    usd: float
    missed: int


def best_plan(setting: Setting, effort: Effort | None = None) -> Found:
    """The least bill among the sweeps that keep the promise, or else the fewest misses.

    Raises ValueError where the engines have a prefix cache.
    """
    effort = effort or Effort()
    search = Search(setting, effort)
    found: list[Found] = []
    keeps = False
    while len(found) < effort.sweeps or (not keeps and len(found) < MORE_SWEEPS * effort.sweeps):
        found.append(search.sweep(is_first=not found))
        keeps |= found[-1].missed <= setting.missed_most * AIMED
        search.price_miss(found[-1].missed, setting.missed_most * AIMED)
    return min(found, key=lambda each: (max(each.missed, int(setting.missed_most * AIMED)), each.usd))


def outcome(setting: Setting, effort: Effort | None = None) -> Outcome:
    """What the world says of the best plan. Raises as `best_plan`."""
    began_s = time.perf_counter()
    world = World(setting, Planned(best_plan(setting, effort).plan))
    world.run()
    return counted(world, "hindsight", time.perf_counter() - began_s)


class Search:
    """One setting's; sweeps share its choices and the price of a miss."""

    def __init__(self, setting: Setting, effort: Effort) -> None:
        self._course, self._effort = Course(setting, effort.latest_s), effort
        self._rng = Random(f"{effort.seed} hindsight")
        usd, work_s = self._course.usd, works_s(setting)
        self._mean_usd = math.fsum(usd) / len(usd)
        self._prices = Prices(
            miss_usd=MISS_FIRST * self._mean_usd,
            end_usd_per_s=usd_per_s(setting, usd, work_s),
            decode_s=kv_token_s(setting),
            work_s=work_s,
            worth=[paid / max(took_s, 1e-9) for paid, took_s in zip(usd, work_s, strict=True)],
        )

    def sweep(self, *, is_first: bool) -> Found:
        """Once along the trace. The first begins where all stay, and is annealed from twice as warm."""
        course, effort = self._course, self._effort
        moment, begin_s = course.beginning(), course.at_s[0]
        warm_usd = self._mean_usd * WARM * (2 if is_first else 1)
        while begin_s <= course.at_s[-1]:
            window = Window(course, self._prices, moment, begin_s + effort.horizon_s, self._rng)
            if window.count:
                window.repair(effort.repairs)
                window.anneal(effort.evaluations, warm_usd, self._mean_usd * COLD)
                window.settle()
            begin_s += effort.stride_s
            course.run(moment, begin_s)
        course.end(moment)
        return Found(course.plan(), moment.usd, moment.missed)

    def price_miss(self, missed: int, allowed: float) -> None:
        """Dearer where too many missed, cheaper where more may."""
        factor = min(max((missed + 1) / (allowed + 1), 1 / CHANGED_MOST), CHANGED_MOST)
        least, most = MISS_LEAST * self._mean_usd, MISS_MOST * self._mean_usd
        self._prices.miss_usd = min(max(self._prices.miss_usd * factor, least), most)


def usd_per_s(setting: Setting, usd: Sequence[float], work_s: Sequence[float]) -> float:
    """What a second of an engine is worth: what the last request pays for it of those that must go for want of room."""
    over_s = math.fsum(work_s) - setting.engines * span_s(setting.arrivals)
    least = SELDOM_FULL * math.fsum(usd) / math.fsum(work_s)
    for worth, took_s in sorted((paid / took_s, took_s) for paid, took_s in zip(usd, work_s, strict=True)):
        if over_s <= 0:
            return least
        least, over_s = max(least, worth), over_s - took_s
    return least
