"""Values of many requests as one Figure: mean, quantiles, and how sure each is. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

import numpy as np

from benchmarks.figures.interval import LEAST, at, blocks_of, mean_interval, quantile_interval
from benchmarks.report.document import Figure

QUANTILES = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99}


def figure_of(values: Iterable[Sequence[float]]) -> Figure | None:
    """Of the values that each request gives, in the order in which they were due; None where there is no value.

    Quantiles are linear between neighbours, as `vllm bench serve` takes them (numpy's default). Below ten requests
    with a value there are no intervals.
    """
    groups = [group for group in values if group]
    flat = np.fromiter(chain.from_iterable(groups), np.float64)
    if not len(flat):
        return None
    ordered = np.sort(flat)
    middle = {name: at(ordered, share) for name, share in QUANTILES.items()}
    mean = float(flat.mean())
    if len(groups) < LEAST:
        return _figure(len(flat), mean, middle, {})
    begins = blocks_of([len(group) for group in groups])
    bounds = {"mean": mean_interval(flat, begins)}
    bounds |= {name: quantile_interval(flat, ordered, begins, share) for name, share in QUANTILES.items()}
    return _figure(len(flat), mean, middle, bounds)


def _figure(
    count: int, mean: float, quantiles: Mapping[str, float], bounds: Mapping[str, tuple[float, float]]
) -> Figure:
    return Figure(
        count=count,
        mean=mean,
        p50=quantiles["p50"],
        p90=quantiles["p90"],
        p95=quantiles["p95"],
        p99=quantiles["p99"],
        low={name: low for name, (low, _) in bounds.items()},
        high={name: high for name, (_, high) in bounds.items()},
    )
