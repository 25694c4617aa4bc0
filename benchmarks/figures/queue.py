"""How long requests waited in the engine, from the growth of its histogram over the run. Pure.

A histogram knows the mean exactly and a quantile only to its bucket, and vLLM's first bucket reaches to 0.3 s. So a
quantile is given by what is certain: it lies in its bucket, and by Markov's inequality no more than a share 1 - p of
requests can have waited for longer than mean / (1 - p). `low` and `high` are these bounds, not those of chance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from benchmarks.figures.distribution import QUANTILES
from benchmarks.report.document import Figure


def queue_figure(total_s: float, buckets: Mapping[float, int]) -> Figure | None:
    """Of `total_s` waited by all requests, and how many of them waited at most so many seconds (cumulative).

    A quantile is linear within its bucket as Prometheus has it, at most the bound. None where no request is counted.
    """
    count = max(buckets.values(), default=0)
    if count <= 0:
        return None
    mean_s = max(total_s, 0.0) / count
    found = {name: _quantile(mean_s, buckets, share) for name, share in QUANTILES.items()}
    return Figure(
        count=count,
        mean=mean_s,
        p50=found["p50"][1],
        p90=found["p90"][1],
        p95=found["p95"][1],
        p99=found["p99"][1],
        low={name: low for name, (low, _, _) in found.items()},
        high={name: high for name, (_, _, high) in found.items()},
    )


def _quantile(mean_s: float, buckets: Mapping[float, int], share: float) -> tuple[float, float, float]:
    """(least, likely, most) of the quantile of order `share`."""
    most_s = mean_s / (1 - share)
    rank = share * max(buckets.values())
    below_s, below = 0.0, 0
    for bound_s, count in sorted(buckets.items()):
        if count >= rank and count > below:
            high_s = min(bound_s, most_s)
            linear_s = (
                math.inf if math.isinf(bound_s) else below_s + (bound_s - below_s) * (rank - below) / (count - below)
            )
            return min(below_s, high_s), min(linear_s, high_s), high_s
        below_s, below = bound_s, count
    return below_s, most_s, most_s
