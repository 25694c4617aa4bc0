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
    figures = {"mean": float(flat.mean())} | {name: at(ordered, share) for name, share in QUANTILES.items()}
    if len(groups) < LEAST:
        return _figure(len(flat), figures, {})
    begins = blocks_of([len(group) for group in groups])
    bounds = {"mean": mean_interval(flat, begins)}
    bounds |= {name: quantile_interval(flat, ordered, begins, share) for name, share in QUANTILES.items()}
    return _figure(len(flat), figures, bounds)


def _figure(count: int, figures: Mapping[str, float], bounds: Mapping[str, tuple[float, float]]) -> Figure:
    return Figure(
        count=count,
        mean=figures["mean"],
        p50=figures["p50"],
        p90=figures["p90"],
        p95=figures["p95"],
        p99=figures["p99"],
        # A sum of floats may miss an interval of no width by its last digit.
        low={name: min(low, figures[name]) for name, (low, _) in bounds.items()},
        high={name: max(high, figures[name]) for name, (_, high) in bounds.items()},
    )
