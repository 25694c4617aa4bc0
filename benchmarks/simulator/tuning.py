"""`--best`: of one family of policies, the settings with the lowest bill among those that keep the promise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.simulator.outcome import CLOUD
from benchmarks.simulator.policies.named import Named, Values, tried
from benchmarks.simulator.setting import Setting
from benchmarks.simulator.trial import kept

# How often each setting is gone through, and how often the steps beside the best are halved.
ROUNDS, HALVINGS = 2, 2
Rank = tuple[bool, float]


def tuned(setting: Setting, named: Named) -> Named:
    """One setting after the other, each at the best of the others; the same family."""
    choices = [list(values) for values in tried(named)]
    if not any(len(values) > 1 for values in choices):
        return named
    ranks: dict[Values, Rank] = {}

    def rank(values: Values) -> Rank:
        if values not in ranks:
            ranks[values] = _rank(setting, Named(named.family, values))
        return ranks[values]

    best = named.values
    for halving in range(ROUNDS + HALVINGS):
        if halving >= ROUNDS:
            choices = [_halved(values, at) for values, at in zip(choices, best, strict=True)]
        for place, values in enumerate(choices):
            if len(values) > 1:
                best = _best(rank, [(*best[:place], value, *best[place + 1 :]) for value in (best[place], *values)])
    return Named(named.family, best)


def _best(rank: Callable[[Values], Rank], candidates: list[Values]) -> Values:
    return min(candidates, key=rank)


def _rank(setting: Setting, named: Named) -> Rank:
    """Lower is better. Of those that break the promise, the one that breaks it latest in the trace."""
    is_kept, world = kept(setting, named.made())
    if not is_kept:
        return True, -world.now_s
    return False, float(setting.usd[np.asarray(world.records.places) == CLOUD].sum())


def _halved(values: list[float], at: float) -> list[float]:
    """The steps beside `at` and halfway to them; whole numbers stay whole."""
    whole = all(value == int(value) for value in (*values, at)) and max(values) > 1
    below, above = [value for value in values if value < at], [value for value in values if value > at]
    beside = ([max(below)] if below else []) + ([min(above)] if above else [])
    halves = [(at + value) / 2 for value in beside]
    return sorted({*beside, at, *(round(half) if whole else half for half in halves)})
