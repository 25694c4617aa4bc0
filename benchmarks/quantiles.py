"""Quantiles of measured values. Pure; it must not know what was measured."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spread:
    """Three quantiles and how many values they stand for."""

    count: int
    p50: float
    p95: float
    p99: float


def quantile(values: Iterable[float], share: float) -> float:
    """The value below which `share` of the values lie, linear between neighbours. Raises ValueError on no values."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("there is no quantile of no values")
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def spread(values: Iterable[float]) -> Spread | None:
    """The spread, None of no values."""
    kept = list(values)
    if not kept:
        return None
    return Spread(len(kept), quantile(kept, 0.50), quantile(kept, 0.95), quantile(kept, 0.99))
