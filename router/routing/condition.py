"""Does the condition of a route, a split or a shadow hold for an Ask? Pure: the clock comes in."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

from router.ask import BYTES_PER_TOKEN, Ask
from router.tables.route import SPAN, Condition

MINUTES_AN_HOUR = 60


def holds(condition: Condition, ask: Ask, at_unix_s: float) -> bool:
    """Whether all that it names is so; one that names nothing always holds. The time of day is looked at last, because
    that takes longest."""
    named = (
        (condition.tasks, ask.task),
        (condition.tiers, ask.tier),
        (condition.tenants, ask.tenant),
        (condition.models, ask.model),
    )
    if any([names and name not in names for names, name in named]) or not _is_as_long(condition, ask):
        return False
    return condition.between is None or is_between(condition.between, condition.zone, at_unix_s)


def _is_as_long(condition: Condition, ask: Ask) -> bool:
    """By the estimate that holds for any model, because no target is known yet."""
    least, below = condition.prompt_tokens_from, condition.prompt_tokens_below
    tokens = ask.prompt_bytes / BYTES_PER_TOKEN
    return (least is None or tokens >= least) and (below is None or tokens < below)


def is_between(span: str, zone: str, at_unix_s: float) -> bool:
    """Whether it is so late by the clocks of `zone`: from the first minute of "22:00-06:30" to before the last one.

    A span that ends when it begins is the whole day. In the hour that clocks repeat or skip, what they show counts.
    """
    begin, end = _minutes(span)
    now = datetime.fromtimestamp(at_unix_s, _zone(zone))
    minute = now.hour * MINUTES_AN_HOUR + now.minute
    if begin < end:
        return begin <= minute < end
    return minute >= begin or minute < end


@lru_cache(maxsize=256)
def _minutes(span: str) -> tuple[int, int]:
    """A span as its table has checked it."""
    match = SPAN.fullmatch(span)
    assert match is not None
    hours_0, minutes_0, hours_1, minutes_1 = map(int, match.groups())
    return hours_0 * MINUTES_AN_HOUR + minutes_0, hours_1 * MINUTES_AN_HOUR + minutes_1


@lru_cache(maxsize=256)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)
