"""Why a target that may serve is passed over while another can: money, its health, its provider's limits. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from enum import IntEnum
from operator import itemgetter

import msgspec

from router.ask import Ask
from router.health.verdict import WELL, lot_of, passed_over
from router.quotas.room import UNBOUNDED
from router.routing.fleet import Place, Target
from router.routing.tokens import is_cramped

# What is reserved for an answer whose length the client left open.
OPEN_ANSWER_TOKENS = 4096
BUDGET = "budget"
QUOTA = "fallback:quota"
ESCALATED = "escalate:context"
# Members of an enumeration are slow to look up in it.
LOCAL = Place.LOCAL


class Money(msgspec.Struct, frozen=True):
    """What a request may spend now: what the budgets leave to its tier at this moment. `price_factor`: so many times
    its price a dollar counts (`spilling.budget`); `stretch`: the promise of its tier is so many times as long."""

    left_usd: float
    price_factor: float = 1.0
    stretch: float = 1.0


class Ease(IntEnum):
    """How soon a target may take a request: now; when its limits allow it within the promise; now, though its context
    leaves little room for the answer; when its limits allow it later; as the last resort, because it failed of late."""

    NOW = 0
    SOON = 1
    CRAMPED = 2
    LATER = 3
    ILL = 4


NOW = Ease.NOW
AT_ONCE = (NOW, 0.0)


def easy_first(ask: Ask, targets: Iterable[Target], money: Money, ttft_target_s: float) -> Iterator[Target]:
    """Those that are there, that the money is there for, and whose limits will ever let the request in: by ease, and
    those of the same ease in their order.

    Who failed of late or has no room is the last resort, not lost.
    """
    may_go: Callable[[Target], bool] | None = None
    behind: list[tuple[tuple[Ease, float], Target]] = []
    for target in targets:
        if target.off is not None:
            continue
        if target.place is not LOCAL:
            may_go = may_go or _gate(ask, money)
            if not may_go(target):
                continue
        at = ease(ask, target, ttft_target_s)
        if at == AT_ONCE:
            yield target
        else:
            behind.append((at, target))
    behind.sort(key=itemgetter(0))
    for _, target in behind:
        yield target


def _gate(ask: Ask, money: Money) -> Callable[[Target], bool]:
    """Whether the money is there for a cloud, and its limits will ever let the request in."""
    most_usd = money.left_usd if ask.max_usd is None else min(money.left_usd, ask.max_usd)
    prompt_tokens, answer_tokens = _most_tokens(ask)

    def may_go(target: Target) -> bool:
        price, room = target.price, target.room
        if price is not None and price.usd(prompt_tokens, answer_tokens) > most_usd:
            return False
        return room is UNBOUNDED or room.ready_in_s != math.inf

    return may_go


def is_affordable(ask: Ask, target: Target, money: Money) -> bool:
    """Whether a cloud is. One that has no price is off anyway."""
    if target.price is None:
        return True
    usd = reserved_usd(ask, target)
    return usd <= money.left_usd and (ask.max_usd is None or usd <= ask.max_usd)


def reserved_usd(ask: Ask, target: Target) -> float:
    """The most that this Ask can cost there, images aside, which is set aside before the call."""
    return math.inf if target.price is None else target.price.usd(*_most_tokens(ask))


def _most_tokens(ask: Ask) -> tuple[int, int]:
    """(prompt, answers). Every byte may be a token (`routing.tokens`)."""
    return ask.prompt_bytes, (ask.max_tokens or OPEN_ANSWER_TOKENS) * ask.answers


def ease(ask: Ask, target: Target, ttft_target_s: float) -> tuple[Ease, float]:
    """The ease, and among those of the same ease that wait too long for the promise, who waits least."""
    at_once = Ease.CRAMPED if ask.lengths and is_cramped(ask, target) else NOW
    if target.room is UNBOUNDED and target.health is WELL:
        return (at_once, 0.0) if ask.lengths else AT_ONCE
    if ill(ask, target) is not None:
        return Ease.ILL, 0.0
    wait_s = target.room.ready_in_s
    if wait_s <= 0:
        return at_once, 0.0
    return (Ease.SOON, 0.0) if wait_s <= ttft_target_s else (Ease.LATER, wait_s)


def ill(ask: Ask, target: Target) -> str | None:
    """The cause for which this request goes behind those that can; None: it may go there."""
    return None if target.health is WELL else passed_over(target.health, lot_of(ask.request_id))


def why_passed(ask: Ask, target: Target, money: Money) -> str:
    """The reason of a decision that passed this target over, which is not off, in the order in which it was judged."""
    if target.place is not LOCAL and not is_affordable(ask, target, money):
        return BUDGET
    cause = ill(ask, target)
    if cause is None and ask.lengths and is_cramped(ask, target):
        return ESCALATED
    return QUOTA if cause is None else f"fallback:{cause}"
