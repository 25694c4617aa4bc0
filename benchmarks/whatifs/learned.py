"""An engine's speed learned from the ledger's own rows: what a step takes, from how long answers took beside others.

From a request's first token to its last an engine makes as many steps as it has tokens. All of them together took: a
time once a step, some for each sequence and each token of KV in a step, and some for each token of the prompts that
were read meanwhile. That is linear in four unknowns, and so is the first token of a prompt that found its engine empty.
They are fitted together by least squares, none below 0.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.simulator.steps import Attention, Coefficients
from benchmarks.whatifs.row import Row

Column = NDArray[np.float64]
LEAST_ROWS = 200
# Shorter answers tell more of the clock than of the engine.
LEAST_TOKENS = 4
MOST_TOKENS, MOST_SEQUENCES = 16_384, 1024
ONCE, SEQUENCE, KV, PROMPT = range(4)
# Of a step of an engine that has much to do.
FULL = np.array([1.0, 64.0, 40_000.0, 1.0])


def learned(windows: Sequence[Sequence[Row]]) -> tuple[Coefficients, float]:
    """Of engines that are alike, and by how much half of the answers are off at most, as a share.

    Raises ValueError where too few rows tell, or where prompts or steps seem to take no time.
    """
    terms: list[Column] = []
    for rows in windows:
        by_engine: dict[str, list[Row]] = defaultdict(list)
        for row in rows:
            if row.is_local:
                by_engine[row.target].append(row)
        terms += [_terms(each) for each in by_engine.values()]
    table = np.concatenate(terms) if terms else np.empty((0, 5))
    if len(table) < LEAST_ROWS:
        raise ValueError(
            f"only {len(table)} streamed answers of engines here tell how fast they are, and {LEAST_ROWS} are needed; "
            "name an --engine, or let more answers stream"
        )
    found = _fitted(table[:, :4], table[:, 4])
    if not found[ONCE] + found[SEQUENCE] or not found[PROMPT]:
        raise ValueError("the answers of the engines here do not tell how fast they are; name an --engine")
    off = np.abs(table[:, :4] @ found / table[:, 4] - 1)
    return _coefficients(found, len(table)), float(np.median(off))


def _coefficients(found: Column, rows: int) -> Coefficients:
    once_ms, token_ms = found[ONCE] * 1e3, found[PROMPT] * 1e3
    # Of what one more sequence costs, its one token's part is in the dense layers already.
    attention = Attention(0.0, max(found[SEQUENCE] - found[PROMPT], 0.0) * 1e6, found[KV] * 1e9)
    return Coefficients(
        source=f"learned from {rows:,} of the ledger's own rows",
        dense_ms=((0, once_ms), (MOST_TOKENS, once_ms + token_ms * MOST_TOKENS)),
        head_ms=((0, 0.0), (MOST_SEQUENCES, 0.0)),
        alone=attention,
        beside=attention,
        chunk_us=0.0,
        pair_ns=0.0,
    )


def _terms(rows: Sequence[Row]) -> Column:
    """Of one engine: the four factors and the seconds they must come to, for all rows that tell."""
    streamed = [row for row in rows if row.ttft_s is not None]
    if not streamed:
        return np.empty((0, 5))
    first = np.array([row.first_s for row in streamed])
    end = np.array([row.end_s for row in streamed])
    prompts = np.array([row.prompt_tokens for row in streamed], np.float64)
    tokens = np.array([row.completion_tokens for row in streamed], np.float64)
    # What did not stream is in the batch all the same, from when nobody knows: from its arrival.
    begin = np.array([row.first_s for row in rows])
    ends = np.array([row.end_s for row in rows])
    held = np.array([row.prompt_tokens + row.completion_tokens / 2 for row in rows], np.float64)
    running = _area(begin, ends, np.ones(len(rows)))
    kv = _area(begin, ends, held)
    order = np.argsort(begin)
    read = np.concatenate(([0.0], np.cumsum(np.array([row.prompt_tokens for row in rows], np.float64)[order])))
    lasts = end - first
    steps = tokens - 1
    told = (steps >= LEAST_TOKENS) & (lasts > 0)
    per_s = np.divide(steps, lasts, out=np.zeros_like(lasts), where=lasts > 0)
    beside = read[np.searchsorted(begin[order], end)] - read[np.searchsorted(begin[order], first, side="right")]
    decoding = np.column_stack((steps, per_s * (running(end) - running(first)), per_s * (kv(end) - kv(first)), beside))
    reading = np.column_stack((np.ones_like(prompts), np.ones_like(prompts), np.zeros_like(prompts), prompts))
    ttft = np.array([row.ttft_s for row in streamed], np.float64)
    empty = _found_empty(streamed, rows) & (ttft > 0)
    return np.concatenate(
        (
            np.column_stack((decoding, lasts))[told],
            np.column_stack((reading, ttft))[empty],
        )
    )


class _Area:
    """How much was there, summed over time, up to any moment."""

    def __init__(self, times: Column, sums: Column) -> None:
        self._times, self._sums = times, sums

    def __call__(self, at: Column) -> Column:
        return np.interp(at, self._times, self._sums)


def _area(begin: Column, end: Column, weight: Column) -> _Area:
    times = np.concatenate((begin, end))
    order = np.argsort(times, kind="stable")
    height = np.cumsum(np.concatenate((weight, -weight))[order])
    sums = np.concatenate(([0.0], np.cumsum(height[:-1] * np.diff(times[order]))))
    return _Area(times[order], sums)


def _found_empty(streamed: Sequence[Row], rows: Sequence[Row]) -> NDArray[np.bool_]:
    """Who came when nobody else was on the engine, and met nobody until the first token."""
    arrived = np.sort(np.array([row.arrived_s for row in rows]))
    ends = np.sort(np.array([row.end_s for row in rows]))
    at = np.array([row.arrived_s for row in streamed])
    first = np.array([row.first_s for row in streamed])
    others = np.searchsorted(arrived, first, side="right") - np.searchsorted(ends, at)
    found: NDArray[np.bool_] = others <= 1
    return found


def _fitted(factors: Column, seconds: Column) -> Column:
    """Least squares of shares, so that a long answer counts for no more; what would be below 0 is 0.

    Where the rows do not tell factors apart, the shortest solution is taken: in FULL engines, that is time once a step.
    """
    scaled = factors / FULL / seconds[:, None]
    kept = list(range(scaled.shape[1]))
    found = np.zeros(scaled.shape[1])
    while kept:
        values, *_ = np.linalg.lstsq(scaled[:, kept], np.ones(len(seconds)), rcond=None)
        if values.min() >= 0:
            found[kept] = values
            break
        kept.remove(kept[int(values.argmin())])
    shares: Column = found / FULL
    return shares
