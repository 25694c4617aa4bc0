"""A server that is a formula: runs of it are made in no time, and its knee is known."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field

from benchmarks.figures.promise import Promise
from benchmarks.report.document import Figure, Run, Summary

PROMISE = Promise({"ttft_s": 2.0})


def figure(p95: float, wide: float = 1.0) -> Figure:
    return Figure(100, p95 / 2, p95 / 3, p95 * 0.9, p95, p95 * 1.2, {"p95": p95 / wide}, {"p95": p95 * wide})


@dataclass(slots=True)
class Simulated:
    """Its p95 of the time to first token is the limit at `knee`, and grows with the power `slope` of the load."""

    knee: float
    slope: float = 3.0
    sigma: float = 0.0
    chance: random.Random = field(default_factory=random.Random)
    asked: list[float] = field(default_factory=list)

    def measured(self, load: float) -> Run:
        self.asked.append(load)
        noise = math.exp(self.chance.gauss(0, self.sigma)) if self.sigma else 1.0
        return run_at(load, 2.0 * (load / self.knee) ** self.slope * noise)


def run_at(load: float, ttft_p95_s: float, *, served: float | None = None, errors: int = 0) -> Run:
    broken = [f"p95 ttft_s is {ttft_p95_s:.3g}, promised 2"] if ttft_p95_s > 2 else []
    broken += [f"{errors} of 100 requests failed"] if errors else []
    summary = Summary(
        requests=100,
        seconds=10.0,
        warm_up_s=0.0,
        ttft_s=figure(ttft_p95_s),
        tpot_s=None,
        itl_s=None,
        e2e_s=figure(ttft_p95_s + 1),
        input_tokens_per_s=10.0,
        output_tokens_per_s=7.0 * load,
        requests_per_s=load if served is None else served,
        goodput_per_s=None,
        errors=errors,
        promise=str(PROMISE),
        promise_broken=broken,
    )
    return Run(name=f"rate {load:g}", load={"rate": load}, summary=summary)
