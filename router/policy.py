"""Decide where one request goes. Pure: same Ask, Fleet, rules and spill state, same Decision.

`router.filters` drops the targets that may not or cannot serve the Ask; the tier orders the rest; `router.spill` says
whether the first local one would break the promise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from operator import itemgetter

import msgspec
from msgspec.structs import replace

from router.ask import Ask
from router.config import Rules, Tier
from router.errors import ApiError
from router.filters import FILTERS, RETRY_STARTING_S, starting
from router.fleet import Fleet, Place, Target
from router.spill import DEADLINE, Forecast, Need, forecast, judge

# No vocabulary in use packs less text than this into a token on average, but for short prompts: what a prompt costs
# at most is reckoned with it.
LEAST_BYTES_PER_TOKEN = 1.5
# What is reserved for an answer whose length the client left open.
OPEN_ANSWER_TOKENS = 4096
BUDGET = "budget"
PRIVACY = "privacy"

Latches = Mapping[tuple[str, str], bool]


class Decision(msgspec.Struct, frozen=True):
    """Where to try, in order, and why there. `refusal` is set when there is nowhere.

    `spilling` is the new spill state per (target, tier), for the next decision.
    """

    targets: tuple[Target, ...]
    reason: str
    refusal: ApiError | None = None
    spilling: Latches = {}
    considered: tuple[str, ...] = ()


class Money(msgspec.Struct, frozen=True):
    """What may still be spent today."""

    left_usd: float


class Prospect(msgspec.Struct, frozen=True):
    """A target that the tier of an Ask uses, what the Ask needs there, and how long it would wait for it."""

    target: Target
    need: Need
    expected: Forecast


def choose(ask: Ask, fleet: Fleet, rules: Rules, spilling: Latches, money: Money) -> Decision:
    """Filter, order by the tier, then spill or not."""
    tier = rules.tiers[ask.tier]
    candidates: Sequence[Target] = fleet.targets
    seen: list[str] = []
    for keep, refuse, no in FILTERS:
        kept = keep(ask, candidates)
        if len(kept) < len(candidates):
            seen += [target.name + no for target in candidates if target not in kept]
        if not kept:
            return Decision((), ask.how, refuse(ask, fleet, candidates), considered=tuple(seen))
        candidates = kept
    ranked = _ranked(ask, candidates, tier)
    if not ranked:
        return Decision((), ask.how, _outside_tier(ask, fleet, candidates), considered=tuple(seen))
    decision = _decide(ask, ranked, money, rules, spilling)
    if not fleet.complete:
        decision = _unheard(decision, tier)
    return replace(decision, considered=tuple(seen)) if seen else decision


def _unheard(decision: Decision, tier: Tier) -> Decision:
    """Before the engines have been heard of, a tier that prefers them is served elsewhere because they start."""
    elsewhere = bool(decision.targets) and decision.targets[0].place is CLOUD
    if elsewhere and tier.order[0].startswith(LOCAL):
        return replace(decision, reason=_started_without(tier))
    return decision


# Members of an enumeration are slow to look up in it.
LOCAL, CLOUD = Place.LOCAL, Place.CLOUD


def need_of(ask: Ask, target: Target, tier: Tier) -> Need:
    """What the tier promises for the Ask, in the target's own tokens."""
    prompt_tokens, answer_tokens = tokens_of(ask, target)
    return Need(prompt_tokens, answer_tokens, tier.ttft_target_s, ask.deadline_s)


def tokens_of(ask: Ask, target: Target) -> tuple[float, float]:
    """(prompt, answer). An answer is as long as answers here usually are, never over its bound."""
    answer_tokens = target.pace.answer_tokens
    if ask.max_tokens and ask.max_tokens < answer_tokens:
        answer_tokens = ask.max_tokens
    return ask.prompt_bytes / target.pace.bytes_per_token, answer_tokens


def reserved_usd(ask: Ask, target: Target) -> float:
    """The most that this Ask can cost there, images aside, which is set aside before the call."""
    if target.price is None:
        return math.inf
    answer_tokens = (ask.max_tokens or OPEN_ANSWER_TOKENS) * ask.answers
    return target.price.usd(ask.prompt_bytes / LEAST_BYTES_PER_TOKEN, answer_tokens)


def _decide(ask: Ask, ranked: Sequence[Prospect], money: Money, rules: Rules, old: Latches) -> Decision:
    usable = [each for each in ranked if each.target.off is None and _affordable(ask, each.target, money)]
    if not usable:
        return Decision((), ask.how, _nobody(ask, ranked))
    # A target that rests after failures is the last resort, not lost: the sort keeps the order of the others.
    if len(usable) > 1:
        usable.sort(key=_rests)
    first = usable[0].target
    if first.place is CLOUD:
        return Decision(_targets(usable), _detour(ask, ranked, first, rules.tiers[ask.tier]))
    return _local_or_spill(ask, ranked, usable, rules, old)


def _rests(prospect: Prospect) -> bool:
    return prospect.target.resting is not None


def _targets(prospects: Sequence[Prospect]) -> tuple[Target, ...]:
    return tuple([each.target for each in prospects])


def _local_or_spill(
    ask: Ask, ranked: Sequence[Prospect], usable: Sequence[Prospect], rules: Rules, old: Latches
) -> Decision:
    tier, first = rules.tiers[ask.tier], usable[0]
    latch = (first.target.name, ask.tier)
    cause = judge(first.target, first.need, first.expected, old.get(latch, False))
    due = cause is not None and tier.may_spill
    # A deadline is one request's own: it says nothing about the next one.
    state = {} if cause == DEADLINE else {latch: due}
    refusal = _too_long_a_wait(first, rules.limits.max_wait_s)
    if cause is not None and due:
        # A cloud that rests is better than a refusal, but not better than a wait.
        clouds = [each for each in usable if each.target.place is CLOUD and (not _rests(each) or refusal is not None)]
        if clouds:
            rest = [each for each in usable if each not in clouds]
            return Decision(_targets([*clouds, *rest]), cause, spilling=state)
    reason = (_why_no_spill(ranked) if due else None) or _stay(ask, ranked, first.target, tier)
    if refusal is not None:
        return Decision((), reason, refusal, spilling=state)
    return Decision(_targets(usable), reason, None, state)


def _why_no_spill(ranked: Sequence[Prospect]) -> str | None:
    """Why a spill that is due stays at home: the clouds rest or cost too much. None where there is no cloud."""
    clouds = [each.target for each in ranked if each.target.place is CLOUD and each.target.off is None]
    resting = (f"fallback:{target.resting}" for target in clouds if target.resting is not None)
    return next(resting, BUDGET) if clouds else None


def _stay(ask: Ask, ranked: Sequence[Prospect], first: Target, tier: Tier) -> str:
    return PRIVACY if ask.local_only else _detour(ask, ranked, first, tier)


def _started_without(tier: Tier) -> str:
    return "spill:starting" if tier.may_spill else "fallback:starting"


def _detour(ask: Ask, ranked: Sequence[Prospect], first: Target, tier: Tier) -> str:
    """The Ask's own reason, unless a target that the tier prefers could not be used."""
    for prospect in ranked:
        skipped = prospect.target
        if skipped is first:
            break
        if skipped.place is first.place:
            continue
        if skipped.starting:
            return _started_without(tier)
        if skipped.off is not None:
            return "fallback:off"
        return f"fallback:{skipped.resting}" if skipped.resting else BUDGET
    return ask.how


def _ranked(ask: Ask, candidates: Sequence[Target], tier: Tier) -> list[Prospect]:
    """In the tier's order; among equals those that keep the promise, and of them the one with the least work."""
    keyed = []
    for target in candidates:
        position = _position(target, tier.order)
        if position is None:
            continue
        need = need_of(ask, target, tier)
        expected = forecast(target, need)
        late = expected.ttft_s > need.ttft_target_s
        key = (position, late, target.in_flight.promised_tokens, target.name)
        keyed.append((key, Prospect(target, need, expected)))
    if len(keyed) > 1:
        keyed.sort(key=itemgetter(0))
    return [prospect for _, prospect in keyed]


def _position(target: Target, order: Sequence[str]) -> int | None:
    """Where the tier's order names the target or its place; None: nowhere."""
    for index, place in enumerate(order):
        # A tuple, not a set: members of an enumeration are slow to hash.
        if place in (target.place, target.name):
            return index
    return None


def _affordable(ask: Ask, target: Target, money: Money) -> bool:
    if target.place is LOCAL or target.price is None:
        return True
    usd = reserved_usd(ask, target)
    return usd <= money.left_usd and (ask.max_usd is None or usd <= ask.max_usd)


def _outside_tier(ask: Ask, fleet: Fleet, candidates: Sequence[Target]) -> ApiError:
    if not fleet.complete:
        return starting()
    names = ", ".join(target.name for target in candidates)
    return ApiError(503, "no_target", f"the tier {ask.tier!r} does not use {names}; see its order in stack.toml")


def _nobody(ask: Ask, ranked: Sequence[Prospect]) -> ApiError:
    needs = f"the request needs {', '.join(sorted(ask.needs))}, which only these can: " if ask.needs else ""
    why = needs + "; ".join(f"{each.target.name}: {each.target.off or 'over the budget'}" for each in ranked)
    if any(each.target.off is None for each in ranked):
        return ApiError(429, "budget_exceeded", f"no target within the budget ({why})", retry_after_s=60.0)
    return ApiError(503, "no_target", f"no target can serve this now ({why})", retry_after_s=RETRY_STARTING_S)


def _too_long_a_wait(first: Prospect, longest_s: float) -> ApiError | None:
    """A promise that is longer than the longest wait is kept."""
    wait_s = first.expected.ttft_s
    if wait_s <= longest_s or wait_s <= first.need.ttft_target_s or math.isinf(wait_s):
        return None
    most_s = max(longest_s, first.need.ttft_target_s)
    message = f"{first.target.name} is full: about {wait_s:.0f} s until a first token, more than {most_s:.0f} s"
    return ApiError(429, "saturated", message, retry_after_s=wait_s - most_s)
