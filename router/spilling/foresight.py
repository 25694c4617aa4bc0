"""When somebody who waits may expect its first token, and what is said of it meanwhile. Pure."""

from __future__ import annotations

import math
from collections.abc import Hashable

from router.spilling.pool import Pool
from router.spilling.room import Before, Forecast
from router.spilling.tariff import UNKNOWN
from router.spilling.want import Placed, Want, Why


def ttft_s(pool: Pool, want: Want, before: Before, now_s: float) -> float:
    """Behind so much; infinite where no engine may serve it."""
    return pool.forecast(pool.reach(want), now_s).ttft_s(before, want.prompt_tokens, want.fresh_tokens)


def ttft_at_s(pool: Pool, want: Want, engine: Hashable, now_s: float) -> float:
    """Where it is sent to this engine now."""
    return pool.loads[engine].standing(now_s).ttft_s(want.prompt_tokens, want.cached.get(engine, 0))


def beyond_s(pool: Pool, want: Want, before: Before, now_s: float) -> float | None:
    """How long it would wait behind so much, where that is beyond its patience; None where it is not, where nobody
    knows, and where it need not wait. Nobody is refused by a guess: an engine must have been seen at work."""
    if want.may_spill or want.patience_s == math.inf or not pool.is_known(pool.reach(want)):
        return None
    wait_s = ttft_s(pool, want, before, now_s)
    return wait_s if now_s + wait_s > want.arrived_s + want.patience_s else None


def why_of(want: Want, outlook: Forecast) -> Why:
    """The word for its going to the cloud."""
    if want.has_deadline:
        return Why.DEADLINE
    tokens_s, slots_s = outlook.wait_s(want.prompt_tokens), outlook.slot_wait_s(1)
    if slots_s > tokens_s:
        return Why.QUEUE
    return Why.KV if tokens_s > 0 else Why.TTFT


def spilled(want: Want, why: Why, again_s: float) -> Placed:
    """To the cloud, and once more where it is silent for so long."""
    return Placed(want, None, why, None, (want.twin or UNKNOWN).median_s, again_s)


def refused(want: Want, wait_s: float) -> Placed:
    """Not served; infinite where nobody knows when it could be."""
    return Placed(want, None, Why.REFUSED, None, wait_s)
