"""All windows of one key, of a whole provider or of one deployment there: what fits now, and what was taken. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec
from msgspec.structs import replace

from router.quotas import bucket, day
from router.quotas.bucket import Bucket
from router.quotas.day import Day
from router.quotas.learned import Told
from router.registry import Quota

# How long a request holds one of the places at once, before any has been seen to end.
USUAL_HOLD_S = 5.0
# Of one request, in moving averages.
WEIGHT = 0.1
# After a refusal without a hint; doubled with each further one in a row, up to the longest.
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0


class Need(msgspec.Struct, frozen=True, array_like=True):
    """What one request takes, or several ahead of it: requests, and tokens in and out."""

    requests: int = 1
    prompt_tokens: float = 0.0
    answer_tokens: float = 0.0

    def of(self, what: str) -> float:
        """Of the window that is called so, be it ours or one that a provider tells of."""
        if "token" not in what:
            return self.requests
        tokens_in = 0.0 if "output" in what else self.prompt_tokens
        return tokens_in + (0.0 if "input" in what else self.answer_tokens)

    def less(self, other: Need) -> Need:
        return Need(
            self.requests - other.requests,
            self.prompt_tokens - other.prompt_tokens,
            self.answer_tokens - other.answer_tokens,
        )


NOTHING = Need(0)


def total(needs: Sequence[Need]) -> Need:
    """What all of them take."""
    return Need(
        sum([each.requests for each in needs]),
        sum([each.prompt_tokens for each in needs]),
        sum([each.answer_tokens for each in needs]),
    )


class Hold(msgspec.Struct, frozen=True, array_like=True):
    """A request under way: by which process, named how, since and at the longest until when (Unix)."""

    pid: int
    name: str
    since_s: float
    until_s: float


class Meter(msgspec.Struct, frozen=True, array_like=True):
    """`minutes` and `days` by the name of their key in stack.toml, `told` by the provider's name for it.

    `blocked_until_s` (Unix) follows a refusal, `why` in its words; `refusals` came in a row, without a hint for when.
    """

    minutes: Mapping[str, Bucket] = {}
    days: Mapping[str, Day] = {}
    told: Mapping[str, Bucket] = {}
    zone: str = "UTC"
    concurrent: int | None = None
    holds: tuple[Hold, ...] = ()
    hold_s: float = USUAL_HOLD_S
    blocked_until_s: float = 0.0
    why: str = ""
    refusals: int = 0


MINUTES = ("requests_per_minute", "tokens_per_minute")
DAYS = ("requests_per_day", "tokens_per_day")


def fitted(old: Meter | None, quota: Quota, now_s: float) -> Meter | None:
    """With the bounds of the tables as they are now; None where there is nothing to count."""
    meter = old or Meter()
    minutes, days = {}, {}
    for name in MINUTES:
        limit = getattr(quota, name)
        if limit is not None:
            new = bucket.of_span(limit)
            kept = meter.minutes.get(name)
            minutes[name] = new if kept is None else bucket.resized(kept, new.limit, new.per_s, now_s)
    for name in DAYS:
        limit = getattr(quota, name)
        if limit is not None:
            days[name] = day.resized(meter.days.get(name, Day(limit)), limit, now_s, quota.day_zone)
    meter = replace(meter, minutes=minutes, days=days, zone=quota.day_zone, concurrent=quota.concurrent)
    return None if meter == Meter(zone=quota.day_zone) else meter


def wait_s(meter: Meter, need: Need, now_s: float, ahead: Need = NOTHING) -> tuple[float, str]:
    """(seconds until the need fits, the window that is full in words), after those who are ahead."""
    longest_s, why = max(0.0, meter.blocked_until_s - now_s), meter.why
    for name, each in _buckets(meter):
        s = bucket.ready_in_s(each, need.of(name), now_s, ahead.of(name))
        if s > longest_s:
            longest_s, why = s, f"{name} ({each.limit:g})"
    for name, each_day in meter.days.items():
        s = day.ready_in_s(each_day, need.of(name), now_s, ahead.of(name))
        if s > longest_s:
            longest_s, why = s, f"{name} ({each_day.limit:g})"
    if meter.concurrent is not None:
        beyond = len(meter.holds) + ahead.requests + need.requests - meter.concurrent
        s = beyond * meter.hold_s / meter.concurrent if beyond > 0 else 0.0
        if s > longest_s:
            longest_s, why = s, f"concurrent ({meter.concurrent})"
    return longest_s, why if longest_s else ""


def left_share(meter: Meter, now_s: float) -> float:
    """Of 1, what is left of the fullest window."""
    shares = [bucket.left(each, now_s) / each.limit for _, each in _buckets(meter)]
    shares += [day.left(each, now_s) / each.limit for each in meter.days.values()]
    if meter.concurrent is not None:
        shares.append(1 - len(meter.holds) / meter.concurrent)
    if meter.blocked_until_s > now_s:
        return 0.0
    return min(max(0.0, min(shares, default=1.0)), 1.0)


def taken(meter: Meter, need: Need, now_s: float, hold: Hold) -> Meter:
    """With what the request needs taken from every window."""
    changed = _counted(meter, need, now_s)
    if meter.concurrent is None:
        return changed
    return replace(changed, holds=(*meter.holds, hold))


def settled(meter: Meter, change: Need, now_s: float, name: str) -> Meter:
    """After a request ended: `change` is by how much it needed more than what was taken (less: below 0)."""
    changed = _counted(meter, change, now_s)
    mine = [hold for hold in meter.holds if hold.name == name]
    if not mine:
        return changed
    hold_s = meter.hold_s + WEIGHT * (max(0.0, now_s - mine[0].since_s) - meter.hold_s)
    return replace(changed, holds=tuple([hold for hold in meter.holds if hold.name != name]), hold_s=hold_s)


def without(meter: Meter, gone: frozenset[str]) -> Meter:
    """Without the holds of these names: whoever had them is dead."""
    return replace(meter, holds=tuple([hold for hold in meter.holds if hold.name not in gone]))


def heard(meter: Meter, told: Told, now_s: float) -> Meter:
    """With what the provider said of its limits, in an answer or in a refusal."""
    windows = dict(meter.told)
    for name, allowed in told.windows.items():
        old = windows.get(name)
        # What it says in whole seconds of a window that is nearly full says little of its rate.
        per_s = allowed.per_s or (old.per_s * allowed.limit / old.limit if old else allowed.limit / allowed.span_s)
        fresh = bucket.resized(old or Bucket(allowed.limit, per_s), allowed.limit, per_s, now_s)
        windows[name] = bucket.at_most(fresh, allowed.remaining, now_s)
    if not told.refused:
        return replace(meter, told=windows, refusals=0)
    return _refused(replace(meter, told=windows), told, now_s)


def _refused(meter: Meter, told: Told, now_s: float) -> Meter:
    """Kept away from as long as was asked for. Who asks for less than turns out to be needed (Google's hint for a day's
    quota is under a minute) or for nothing is given twice the time with each refusal in a row."""
    unhinted_s = LONGEST_PAUSE_S if told.daily else FIRST_PAUSE_S
    asked_s = unhinted_s if told.retry_after_s is None else told.retry_after_s
    if now_s < meter.blocked_until_s:
        # Requests that were under way together are refused together: that is one refusal.
        return replace(meter, blocked_until_s=max(meter.blocked_until_s, now_s + asked_s))
    until_s = now_s + asked_s
    if told.daily:
        until_s = min(now_s + asked_s * _doubled(meter.refusals), day.midnight_after(now_s, meter.zone))
    elif told.retry_after_s is None:
        until_s = now_s + min(asked_s * _doubled(meter.refusals), LONGEST_PAUSE_S)
    return replace(meter, blocked_until_s=until_s, why=told.why, refusals=meter.refusals + 1)


def _doubled(times: int) -> float:
    """Bounded before the power is taken, which would grow beyond every float."""
    return 2.0 ** min(times, 20)


def _buckets(meter: Meter) -> Iterator[tuple[str, Bucket]]:
    yield from meter.minutes.items()
    yield from meter.told.items()


def _counted(meter: Meter, need: Need, now_s: float) -> Meter:
    return replace(
        meter,
        minutes={name: bucket.taken(each, need.of(name), now_s) for name, each in meter.minutes.items()},
        told={name: bucket.taken(each, need.of(name), now_s) for name, each in meter.told.items()},
        days={name: day.used(each, need.of(name), now_s, meter.zone) for name, each in meter.days.items()},
    )
