"""How sure a figure is: 95 % intervals of a mean and of quantiles, by bootstrap over blocks of requests. Pure.

Requests that follow each other share a queue, and the gaps of one answer share its batch: taken as independent they
would promise an accuracy that the next run does not keep. So what is drawn again is blocks of consecutive requests
(Künsch 1989); their length grows with the cube root of the number of requests, as is best for means (Hall, Horowitz
and Jing 1995). The interval of a quantile q of order p is Woodruff's (1952): the blocks give the spread of the share of
values below q, and the values at the ends of that spread of shares are the interval. It costs one sort of the values.

No interval reaches beyond what was measured: a p99 of fewer than some 400 requests is less sure than it looks.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
RESAMPLES = 2000
MOST_BLOCKS = 500
# Fewer requests than these say nothing of their spread.
LEAST = 10
TAIL = 0.025
SEED = 4


def blocks_of(counts: Sequence[int]) -> NDArray[np.intp]:
    """Where each block begins among the values, given how many values each request has, in the order of requests."""
    requests = len(counts)
    blocks = min(MOST_BLOCKS, round(requests ** (2 / 3))) or 1
    first = np.arange(blocks) * requests // blocks
    begins = np.concatenate(([0], np.cumsum(counts)))[first]
    # A block without values cannot be told from the one before it, and adds none.
    found: NDArray[np.intp] = np.unique(begins[begins < sum(counts)])
    return found


def mean_interval(values: Numbers, begins: NDArray[np.intp]) -> tuple[float, float]:
    """Of the mean of all values: the percentile interval of the ratio of resampled sums and sizes."""
    sums = np.add.reduceat(values, begins)
    sizes = _sizes(values, begins)
    drawn = _drawn(len(begins))
    low, high = np.quantile((drawn @ sums) / (drawn @ sizes), (TAIL, 1 - TAIL))
    return float(low), float(high)


def quantile_interval(values: Numbers, ordered: Numbers, begins: NDArray[np.intp], share: float) -> tuple[float, float]:
    """Of the quantile of order `share`. `ordered` is `values`, sorted: it serves for all quantiles."""
    sizes = _sizes(values, begins)
    below = np.add.reduceat((values <= at(ordered, share)).astype(np.float64), begins)
    drawn = _drawn(len(begins))
    shares = (drawn @ below) / (drawn @ sizes)
    # Values that are equal put more than `share` at or below the quantile: only the spread around the mean counts.
    few, many = np.quantile(shares, (TAIL, 1 - TAIL)) - shares.mean()
    return at(ordered, share + few), at(ordered, share + many)


def at(ordered: Numbers, share: float) -> float:
    """The quantile of sorted values, linear between neighbours (numpy's and vLLM's), within what was measured."""
    place = min(max(share, 0.0), 1.0) * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return float(ordered[below] + (ordered[above] - ordered[below]) * (place - below))


def _sizes(values: Numbers, begins: NDArray[np.intp]) -> Numbers:
    return np.diff(np.append(begins, len(values))).astype(np.float64)


@lru_cache(maxsize=8)
def _drawn(blocks: int) -> Numbers:
    """How often each block is drawn, for each resample. The same for the same number: figures can be computed again."""
    random = np.random.default_rng(SEED)
    drawn: Numbers = random.multinomial(blocks, np.full(blocks, 1 / blocks), RESAMPLES).astype(np.float64)
    return drawn
