"""A window that fills up evenly: so many at once, and so many more each second. Pure.

Kept as one moment, that at which it will be full again if nothing more is taken: the virtual scheduling form of the
generic cell rate algorithm (ITU-T I.371, annex A), which is a token bucket without a level that has to be refilled.
"""

from __future__ import annotations

import math

import msgspec

MINUTE_S = 60.0
# A provider counts a request when it arrives, which is later than we do, so its bucket begins to fill up later than
# ours. Ours stands still for so long after it was full; what is in transit longer may find less than we think.
TRANSIT_S = 2.0
# Rounding in sums of times of day, which have nine digits before the point.
ROUNDING_S = 1e-5


class Bucket(msgspec.Struct, frozen=True, array_like=True):
    """At most `limit` at once; `per_s` come back each second. `full_at_s` is a Unix time, in the past when full."""

    limit: float
    per_s: float
    full_at_s: float = 0.0


def of_span(limit: float, span_s: float = MINUTE_S) -> Bucket:
    """A full one that yields `limit` in each span."""
    return Bucket(limit, limit / span_s)


def left(bucket: Bucket, now_s: float) -> float:
    """How much can be taken now; below 0 when more was taken than was there."""
    return bucket.limit - _behind_s(bucket, now_s) * bucket.per_s


def ready_in_s(bucket: Bucket, amount: float, now_s: float, ahead: float = 0.0) -> float:
    """Until `amount` can be taken after `ahead` of others has been. Infinite for more than it ever holds."""
    if amount > bucket.limit:
        return math.inf
    wait_s = _behind_s(bucket, now_s) - (bucket.limit - amount - ahead) / bucket.per_s
    return wait_s if wait_s > ROUNDING_S else 0.0


def taken(bucket: Bucket, amount: float, now_s: float) -> Bucket:
    """After `amount` was taken. A negative one gives back, never beyond full."""
    begin_s = now_s + (max(_behind_s(bucket, now_s), TRANSIT_S) if amount > 0 else _behind_s(bucket, now_s))
    return Bucket(bucket.limit, bucket.per_s, begin_s + amount / bucket.per_s)


def at_most(bucket: Bucket, remaining: float, now_s: float) -> Bucket:
    """After the provider said what remains. What it says is older than what we took since, so the lower one counts."""
    behind_s = (bucket.limit - remaining) / bucket.per_s
    return Bucket(bucket.limit, bucket.per_s, now_s + max(behind_s, _behind_s(bucket, now_s)))


def resized(bucket: Bucket, limit: float, per_s: float, now_s: float) -> Bucket:
    """With other bounds. What was taken and has not come back yet stays taken."""
    owed = _behind_s(bucket, now_s) * bucket.per_s
    return Bucket(limit, per_s, now_s + owed / per_s)


def _behind_s(bucket: Bucket, now_s: float) -> float:
    """Until it is full. A clock that was set back must not make that longer than two empty ones take."""
    behind_s = bucket.full_at_s - now_s
    return min(behind_s, 2 * bucket.limit / bucket.per_s + TRANSIT_S) if behind_s > 0 else 0.0
