"""The router's rule on one trace after the other, at loads measured by what the engines alone keep. Pure but for files.

Load 1 is the highest rate at which the engines alone keep the promise to those whom an idle engine could serve in time;
the others (prompts too long for its room or for its speed) have to go whatever the load, and are counted apart.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from itertools import compress
from pathlib import Path

import numpy as np

from benchmarks.simulator import bound, reach
from benchmarks.simulator.arrival import Arrival, arrivals_in, rate_of, span_s
from benchmarks.simulator.capacity import highest
from benchmarks.simulator.cloud_times import CloudTimes
from benchmarks.simulator.outcome import CLOUD, Outcome, Promise
from benchmarks.simulator.policies.counted import Count
from benchmarks.simulator.policies.named import Named
from benchmarks.simulator.scaling import Scaling
from benchmarks.simulator.setting import EngineKind, Setting
from benchmarks.simulator.trial import counted, kept, local_keeps, uncollected
from benchmarks.simulator.world import World
from benchmarks.workload.trace import Sampling

HOUR_S = 3600.0
# Of fewer requests one miss is more than the promise usually allows.
LEAST_REQUESTS = 100
# Where idle engines could serve less of a trace in time, there is nothing to decide.
LEAST_HERE = 0.05
# What a count of requests in flight is tried at, from the highest on; what lies between is tried then.
LIMITS = (256, 192, 128, 96, 64, 48, 40, 32, 24, 20, 16, 12, 8, 6, 4, 2, 1)


@dataclass(frozen=True, slots=True)
class Ground:
    """One trace, of a long one its busiest `hours`, and what serves it."""

    path: Path
    hours: float | None
    sampling: Sampling
    engine: EngineKind
    engines: int
    cloud: CloudTimes
    promise: Promise
    way: Scaling = Scaling.OVERLAY

    @property
    def name(self) -> str:
        """Of the trace."""
        return self.path.name.partition(".")[0]

    def setting(self) -> Setting:
        """At the trace's own rate. Raises ValueError with a sentence where it cannot be simulated."""
        arrivals, _ = busiest(self.path, self.hours, self.sampling)
        return Setting(arrivals, self.engine, self.engines, self.cloud, self.promise, self.sampling.seed)


@dataclass(frozen=True, slots=True)
class Capacity:
    """What the engines alone keep of a trace. `per_s` counts all requests of it; `here_share` of them are those whom
    an idle engine could serve in time. None: they keep no rate, or the trace cannot be simulated; `why` says it."""

    ground: Ground
    from_s: float = 0.0
    lasts_s: float = 0.0
    here_share: float = 0.0
    per_s: float | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """What one load came to. `spilled_here_share`: spilled though an idle engine could serve them in time, of all.
    `kept_most` is the share that nobody exceeds. `count`: the best limit of requests in flight, and its bill; None
    where no limit keeps the promise, or where `is_alone`: nothing was looked for beside it.
    `least_bill_share`: proved, no rule that keeps the promise pays less; None with a prefix cache, and where nobody
    keeps it."""

    capacity: Capacity
    load: float
    per_s: float
    outcome: Outcome
    spilled_here_share: float
    kept_most: float
    count: int | None
    count_bill_share: float | None
    least_bill_share: float | None
    is_alone: bool
    run_s: float

    @property
    def is_broken(self) -> bool:
        """Whether the promise is, though it could be kept."""
        return not self.outcome.is_kept and self.kept_most >= self.capacity.ground.promise.share

    @property
    def is_needless(self) -> bool:
        """Whether somebody was spilled though the engines alone keep the promise."""
        return self.load <= 1 and self.spilled_here_share > 0

    def document(self) -> dict[str, object]:
        """For JSON."""
        ground = self.capacity.ground
        own = {key: value for key, value in asdict(self).items() if key not in ("capacity", "outcome")}
        where = {"trace": ground.name, "engines": ground.engines, "from_s": self.capacity.from_s}
        return {**where, **own, "capacity_per_s": self.capacity.per_s, **self.outcome.document()}


@lru_cache(maxsize=1)
def busiest(path: Path, hours: float | None, sampling: Sampling) -> tuple[Sequence[Arrival], float]:
    """The hours of the trace with the most tokens, and when they begin; all of it where it is no longer."""
    arrivals = arrivals_in(path, sampling=sampling)
    if hours is None or span_s(arrivals) <= hours * HOUR_S:
        return arrivals, 0.0
    at_s = np.array([each.at_s for each in arrivals])
    tokens = np.cumsum([0] + [each.prompt_tokens + each.output_tokens for each in arrivals])
    ends = np.searchsorted(at_s, at_s + hours * HOUR_S)
    first = int((tokens[ends] - tokens[:-1]).argmax())
    from_s = arrivals[first].at_s
    return [each._replace(at_s=each.at_s - from_s) for each in arrivals[first : ends[first]]], from_s


def capacity_of(ground: Ground) -> Capacity:
    """By simulating the engines alone at rates ever nearer to it."""
    try:
        setting = ground.setting()
    except ValueError as error:
        return Capacity(ground, why=str(error))
    _, from_s = busiest(ground.path, ground.hours, ground.sampling)
    lasts_s, here_share = span_s(setting.arrivals), float(reach.here(setting).mean())
    if here_share < LEAST_HERE:
        said = f"an idle engine serves only {100 * here_share:.1f} % of it in time; take another --engine"
        return Capacity(ground, from_s, lasts_s, here_share, why=said)
    try:
        per_s = highest(lambda rate: _alone_keep(setting.at_rate(rate, ground.way)), rate_of(setting.arrivals))
    except ValueError as error:
        return Capacity(ground, from_s, lasts_s, here_share, why=str(error))
    return Capacity(ground, from_s, lasts_s, here_share, per_s)


def _alone_keep(setting: Setting) -> bool:
    """To those whom an idle engine could serve in time. Raises ValueError where they are too few to tell."""
    mine = list(compress(setting.arrivals, reach.here(setting).tolist()))
    if len(mine) < LEAST_REQUESTS:
        raise ValueError(f"at rates so low that {LEAST_REQUESTS} requests are left of it the engines do not keep it")
    return local_keeps(replace(setting, arrivals=mine))


def row_of(capacity: Capacity, load: float, *, is_alone: bool = False) -> Row:
    """The rule at `load` times the capacity, and the best count beside it. Raises ValueError where there is none."""
    if capacity.per_s is None:
        raise ValueError(f"{capacity.ground.name}: {capacity.why}")
    began_s, per_s = time.perf_counter(), capacity.per_s * load
    setting = capacity.ground.setting().at_rate(per_s, capacity.ground.way)
    rule = Named("sluice", ())
    world = World(setting, rule.made())
    with uncollected():
        world.run()
    outcome = counted(world, str(rule), time.perf_counter() - began_s)
    here = reach.here(setting)
    spilled = np.asarray(world.records.places) == CLOUD
    most = reach.kept_most(setting, here)
    is_proved = most >= setting.promise.share and not setting.engine.prefix_cache
    limit, usd = (None, None) if is_alone else best_count(setting)
    return Row(
        capacity=capacity,
        load=load,
        per_s=per_s,
        outcome=outcome,
        spilled_here_share=float((spilled & here).mean()),
        kept_most=most,
        count=limit,
        least_bill_share=bound.least_usd(setting) / outcome.all_cloud_usd if is_proved else None,
        count_bill_share=None if usd is None else usd / outcome.all_cloud_usd,
        is_alone=is_alone,
        run_s=time.perf_counter() - began_s,
    )


def best_count(setting: Setting) -> tuple[int | None, float | None]:
    """The highest limit of requests in flight that keeps the promise, and its bill: the higher it is, the fewer go."""
    tried: dict[int, float | None] = {}

    def keeps(limit: int) -> bool:
        is_kept, world = kept(setting, Count(limit))
        tried[limit] = float(setting.usd[np.asarray(world.records.places) == CLOUD].sum()) if is_kept else None
        return is_kept

    low = next((limit for limit in LIMITS if keeps(limit)), None)
    if low is None:
        return None, None
    high = LIMITS[max(LIMITS.index(low) - 1, 0)]
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if keeps(middle) else (low, middle)
    return low, tried[low]
