"""What a case comes to: the pool simulated with other engines or another promise, and scaled to the whole period."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.simulator.outcome import Tally
from benchmarks.simulator.policies.named import named_in
from benchmarks.simulator.trial import uncollected
from benchmarks.simulator.world import World
from benchmarks.whatifs.case import Case
from benchmarks.whatifs.pool import Pool

# The router's own rules; and what is left without an engine.
OURS, ALL_CLOUD = "sluice", "cloud"
ROUNDED = 1e-9


@dataclass(frozen=True, slots=True)
class Reckoned:
    """Shares are of all requests, dollars of the cloud; `usd` in the period, `month_usd` in 30 days like it."""

    engines: int
    ttft_s: float
    spilled_share: float
    kept_share: float
    is_kept: bool
    usd: float
    month_usd: float


def reckoned(pool: Pool, case: Case) -> Reckoned:
    """Deterministic: each case meets the same requests and the same cloud."""
    now = pool.setting
    promise = replace(now.promise, ttft_s=now.promise.ttft_s * case.factor)
    engines = now.engines + case.more
    setting = replace(now, engines=max(engines, 1), promise=promise)
    world = World(setting, named_in(OURS if engines else ALL_CLOUD).made())
    with uncollected():
        world.run()
    tally = Tally(setting.arrivals, world.records, promise)
    weights, spilled = pool.weights, tally.spilled
    # Shares by sums of the same numbers: what all have got is 1, not nearly so.
    all_requests = weights.sum()
    kept_share = float(weights[tally.kept].sum() / all_requests)
    # Of what all would cost: more exact than the dollars of the hours that were looked at.
    bill_share = float((weights * tally.paid(setting.usd)).sum() / (weights * setting.usd).sum())
    usd = bill_share * pool.period.all_cloud_usd
    return Reckoned(
        engines=engines,
        ttft_s=promise.ttft_s,
        spilled_share=float(weights[spilled].sum() / all_requests),
        kept_share=kept_share,
        is_kept=keeps(kept_share, promise.share),
        usd=usd,
        month_usd=usd * pool.period.per_month,
    )


def keeps(kept_share: float, share: float) -> bool:
    """Whether a promise for so many is kept; sums of shares may differ in their last digit."""
    return kept_share >= share - ROUNDED


def summed(each: Sequence[Reckoned], requests: Sequence[int]) -> Reckoned:
    """Of several pools together, by their requests; the promised time is that of the first."""
    return Reckoned(
        engines=sum(one.engines for one in each),
        ttft_s=each[0].ttft_s,
        spilled_share=float(np.average([one.spilled_share for one in each], weights=requests)),
        kept_share=float(np.average([one.kept_share for one in each], weights=requests)),
        is_kept=all(one.is_kept for one in each),
        usd=sum(one.usd for one in each),
        month_usd=sum(one.month_usd for one in each),
    )
