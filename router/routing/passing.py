"""Why a target that may serve is passed over while another can: money, its health, its provider's limits. Pure."""

from __future__ import annotations

import math
from enum import IntEnum

import msgspec

from router.ask import Ask
from router.health.verdict import WELL, lot_of, passed_over
from router.quotas.room import UNBOUNDED
from router.routing.fleet import Place, Target

# No vocabulary in use packs less text than this into a token on average, but for short prompts: what a prompt costs
# at most is reckoned with it.
LEAST_BYTES_PER_TOKEN = 1.5
# What is reserved for an answer whose length the client left open.
OPEN_ANSWER_TOKENS = 4096
BUDGET = "budget"
QUOTA = "fallback:quota"
# Members of an enumeration are slow to look up in it.
LOCAL = Place.LOCAL


class Money(msgspec.Struct, frozen=True):
    """What may still be spent today."""

    left_usd: float


class Ease(IntEnum):
    """How soon a target may take a request: now; when its limits allow, within the promise or after it; as the last
    resort, because it failed of late."""

    NOW = 0
    SOON = 1
    LATER = 2
    ILL = 3


NOW = Ease.NOW


def usable(ask: Ask, target: Target, money: Money) -> bool:
    """Whether it is there, the money for it is, and its provider's limits will ever let the request in."""
    if target.off is not None:
        return False
    if target.place is LOCAL:
        return True
    return is_affordable(ask, target, money) and target.room.ready_in_s < math.inf


def is_affordable(ask: Ask, target: Target, money: Money) -> bool:
    """Whether a cloud is. One that has no price is off anyway."""
    if target.price is None:
        return True
    usd = reserved_usd(ask, target)
    return usd <= money.left_usd and (ask.max_usd is None or usd <= ask.max_usd)


def reserved_usd(ask: Ask, target: Target) -> float:
    """The most that this Ask can cost there, images aside, which is set aside before the call."""
    if target.price is None:
        return math.inf
    answer_tokens = (ask.max_tokens or OPEN_ANSWER_TOKENS) * ask.answers
    return target.price.usd(ask.prompt_bytes / LEAST_BYTES_PER_TOKEN, answer_tokens)


def ease(ask: Ask, target: Target, ttft_target_s: float) -> tuple[Ease, float]:
    """The ease, and among those of the same ease that wait too long for the promise, who waits least."""
    if target.room is UNBOUNDED and target.health is WELL and target.resting is None:
        return NOW, 0.0
    if ill(ask, target) is not None:
        return Ease.ILL, 0.0
    wait_s = target.room.ready_in_s
    if wait_s <= 0:
        return NOW, 0.0
    return (Ease.SOON, 0.0) if wait_s <= ttft_target_s else (Ease.LATER, wait_s)


def ill(ask: Ask, target: Target) -> str | None:
    """The cause for which this request goes behind those that can; None: it may go there."""
    if target.resting is not None:
        return target.resting
    return None if target.health is WELL else passed_over(target.health, lot_of(ask.request_id))


def why_passed(ask: Ask, target: Target, money: Money) -> str:
    """The reason of a decision that passed this target over, which is not off, in the order in which it was judged."""
    if target.place is not LOCAL and not is_affordable(ask, target, money):
        return BUDGET
    cause = ill(ask, target)
    return QUOTA if cause is None else f"fallback:{cause}"
