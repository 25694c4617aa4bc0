"""One load tried: whether it kept the promise, and by how much. Pure values, and how they are read off a Run."""

from __future__ import annotations

import math
from dataclasses import dataclass

from benchmarks.figures.promise import Promise
from benchmarks.report.document import Figure, Run, Summary

# Beyond this the figure says no more than its sign: a full queue grows as long as the run lasts.
MOST_EXCESS = 3.0
# An error breaks the promise whatever the latencies are; how far beyond the knee it lies is not known.
ERROR_EXCESS = 0.3
LEAST_EXCESS = 0.01
# Below this share of the offered load the server is taken to be full.
SERVED_SHARE = 0.9
# Half the width of a 95 % interval in standard deviations.
DEVIATIONS = 1.96
QUANTILES = {0.5: "p50", 0.9: "p90", 0.95: "p95", 0.99: "p99"}


@dataclass(frozen=True, slots=True)
class Look:
    """One run at `load` (requests a second, or users).

    `excess` is the natural logarithm of the worst promised figure over its limit: below 0 where the promise was kept,
    0 at the knee. `noise` is the standard deviation of it that the run itself tells, 0 where it tells none.
    `capacity` is the load that was really served where less was served than offered, else None. A run that broke the
    promise and is not `valid`, because the generator was late, says nothing of the server. `at_least`: the run was
    ended early, when the promise was broken for certain, and would have broken it by more.
    """

    load: float
    excess: float
    noise: float = 0.0
    capacity: float | None = None
    valid: bool = True
    at_least: bool = False

    @property
    def kept(self) -> bool:
        """The promise was kept."""
        return self.excess <= 0


def look_of(load: float, run: Run, promise: Promise, *, is_rate: bool, was_cut: bool = False) -> Look:
    """What a measured run says. The words of `promise_broken` decide; the figures say by how much."""
    summary = run.summary
    figures = {name: figure for name in promise.limits_s if (figure := _figure(summary, name)) is not None}
    excesses = {name: _excess(figure, promise.limits_s[name], promise.share) for name, figure in figures.items()}
    worst = max(excesses, key=lambda name: excesses[name], default=None)
    excess, noise = (0.0, 0.0) if worst is None else (excesses[worst], _noise(figures[worst], promise.share))
    if not summary.promise_broken:
        excess = min(excess, -LEAST_EXCESS)
    elif summary.errors or worst is None:
        excess = max(excess, ERROR_EXCESS)
    else:
        excess = max(excess, LEAST_EXCESS)
    served = summary.requests_per_s
    capacity = served if is_rate and 0 < served < SERVED_SHARE * load else None
    valid = not run.invalid or excess <= 0 or not _could_be_lateness(summary, promise)
    return Look(load, max(-MOST_EXCESS, min(MOST_EXCESS, excess)), noise, capacity, valid, was_cut)


def _could_be_lateness(summary: Summary, promise: Promise) -> bool:
    """Whether a generator on time might have seen the promise kept: lateness lengthens latencies, never shortens them.

    It lengthens the gap between two tokens as well, by the reads it delays; over a whole answer that averages out.
    """
    if summary.errors or summary.lag_s is None:
        return not summary.errors
    for name, limit_s in promise.limits_s.items():
        figure = _figure(summary, name)
        late_s = {"itl_s": limit_s, "tpot_s": 0.0}.get(name, summary.lag_s.p99)
        if figure is not None and getattr(figure, _statistic(promise.share)) - late_s > limit_s:
            return False
    return True


def _figure(summary: Summary, name: str) -> Figure | None:
    found = getattr(summary, name)
    # Of answers that come whole the end-to-end latency is judged as the time to first token, as Promise does.
    found = summary.e2e_s if found is None and name == "ttft_s" else found
    return found if isinstance(found, Figure) else None


def _excess(figure: Figure, limit_s: float, share: float) -> float:
    value_s: float = getattr(figure, _statistic(share))
    return math.log(value_s / limit_s) if value_s > 0 else -MOST_EXCESS


def _noise(figure: Figure, share: float) -> float:
    name = _statistic(share)
    low, high = figure.low.get(name), figure.high.get(name)
    if low is None or high is None or not 0 < low <= high:
        return 0.0
    return math.log(high / low) / (2 * DEVIATIONS)


def _statistic(share: float) -> str:
    """A Figure holds four quantiles; another share is looked for at the nearest, its own words still decide."""
    return QUANTILES[min(QUANTILES, key=lambda each: abs(each - share))]
