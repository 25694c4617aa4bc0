"""The cloud that stands in for a model: its price, and how long it takes, as the ledger says where it does."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from benchmarks.simulator.cloud_times import CloudTimes
from benchmarks.whatifs.row import CLOUD, Row
from benchmarks.whatifs.stack import SPILLED, Stack
from benchmarks.whatifs.wish import Wish

# So many answers tell how long a cloud takes.
LEAST_ANSWERS = 20


def twin_for(model: str, rows: Iterable[Row], stack: Stack, wish: Wish) -> tuple[CloudTimes, str]:
    """And whence, in words. `rows` are all that were looked at. Raises ValueError where no price is known."""
    if wish.cloud is not None:
        return wish.cloud, "cloud: as asked for"
    twin = stack.twin_of(model)
    if twin is None:
        raise ValueError(
            f"no cloud with a known price stands in for it; name its `twin` in [models.{model}] and run `make lock`,"
            " or set input_usd_per_mtok and output_usd_per_mtok in the cloud's table, or give --cloud 0.15/0.60"
        )
    name, price = twin
    if not price.input_usd_per_mtok + price.output_usd_per_mtok:
        raise ValueError(f"its twin {name} costs nothing, so no engine saves anything; give a price with --cloud")
    times, whence = _timed(CloudTimes(price), [row for row in rows if row.target == CLOUD + name])
    dollars = f"${price.input_usd_per_mtok:g}/${price.output_usd_per_mtok:g} a million tokens"
    return (
        times,
        f"cloud: {name}, {dollars}; first token {times.ttft_p50_s:.2g} s, p95 {times.ttft_p95_s:.2g} s {whence}",
    )


def _timed(usual: CloudTimes, rows: list[Row]) -> tuple[CloudTimes, str]:
    """What was spilled has waited here first, and nobody wrote down how long: its first tokens tell nothing."""
    paces_s = [pace_s for row in rows if (pace_s := row.tpot_s)]
    times = replace(usual, tpot_s=float(np.median(paces_s))) if len(paces_s) >= LEAST_ANSWERS else usual
    ttfts_s = [row.ttft_s for row in rows if row.ttft_s and not row.reason.startswith(SPILLED)]
    if len(ttfts_s) < LEAST_ANSWERS:
        return times, "assumed (--cloud says otherwise)"
    p50_s, p95_s = np.quantile(ttfts_s, (0.5, 0.95))
    return replace(times, ttft_p50_s=float(p50_s), ttft_p95_s=float(p95_s)), f"from {len(ttfts_s):,} rows of the ledger"
