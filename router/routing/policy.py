"""Decide where one request goes. Pure: same Ask, Fleet, rules and spill state, same Decision.

`filters` drops the targets that may not or cannot serve the Ask; the tier orders the rest; `spill` says whether the
first local one would break the promise.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from functools import partial

import msgspec
from msgspec.structs import replace

from router.ask import Ask
from router.errors import ApiError
from router.routing.filters import (
    FITS_CONTEXT,
    RETRY_STARTING_S,
    Dropped,
    Filter,
    considered,
    dropped_by,
    refusal,
    starting,
)
from router.routing.fleet import Fleet, Place, Target
from router.routing.groups import chain_of, groups_of
from router.routing.spill import DEADLINE, Need, forecast, judge, tokens_of
from router.tables.rules import Rules
from router.tables.tier import Tier

# No vocabulary in use packs less text than this into a token on average, but for short prompts: what a prompt costs
# at most is reckoned with it.
LEAST_BYTES_PER_TOKEN = 1.5
# What is reserved for an answer whose length the client left open.
OPEN_ANSWER_TOKENS = 4096
BUDGET = "budget"
PRIVACY = "privacy"
ESCALATED = "escalate:context"

Latches = Mapping[tuple[str, str], bool]


class Decision(msgspec.Struct, frozen=True):
    """Where to try, in order, and why there. `refusal` is set when there is nowhere.

    `spilling` is the new spill state per (target, tier), for the next decision. `dropped` are the targets of its models
    that a filter forbids; `chain` these models (empty: any), so that who serves none of them can be named as well.
    `can_wait`: an engine of the tier's own may serve later what nobody serves now. `asleep` is the model by which one
    is wanted that is off and will be there; `prefers_it`: it would have gone there, were it awake.
    """

    targets: tuple[Target, ...]
    reason: str
    refusal: ApiError | None = None
    spilling: Latches = {}
    dropped: Dropped = ()
    chain: tuple[str, ...] = ()
    fleet: tuple[Target, ...] = ()
    can_wait: bool = False
    asleep: str | None = None
    prefers_it: bool = False

    def considered(self) -> list[str]:
        """What became of those who are not among the targets, rule by rule."""
        return considered(self.dropped, self.chain, self.fleet)


class Money(msgspec.Struct, frozen=True):
    """What may still be spent today."""

    left_usd: float


class Ranked(msgspec.Struct):
    """Targets that may serve, the best first, and where each group begins. `shut_out` are those that filters or the
    tier's order keep out, with their group and their place in the order; the filter is None where it is the order."""

    targets: list[Target]
    starts: list[int]
    shut_out: list[tuple[int, int, Filter | None, Target]]

    def group_of(self, target: Target) -> int:
        return bisect_right(self.starts, self.targets.index(target)) - 1


def choose(ask: Ask, fleet: Fleet, rules: Rules, spilling: Latches, money: Money) -> Decision:
    """Filter, order by chain and tier, then spill or not."""
    tier = rules.tiers[ask.tier]
    chain = chain_of(ask, rules)
    ranked = _ranked(ask, groups_of(ask, fleet, chain, rules), tier)
    dropped = tuple([(rule, target) for _, _, rule, target in ranked.shut_out if rule is not None])
    if ranked.targets:
        decision = _decide(ask, ranked, tier, rules, spilling, money)
        if not fleet.complete:
            decision = _unheard(decision, tier)
    else:
        outside = [target for _, _, rule, target in ranked.shut_out if rule is None]
        why = _outside_tier(ask, fleet, outside) if outside else refusal(ask, fleet, dropped)
        decision = Decision((), ask.how, why, can_wait=_is_about_to_come(ask, fleet, tier))
    return replace(decision, dropped=dropped, chain=chain, fleet=fleet.targets)


def _ranked(ask: Ask, groups: Sequence[Sequence[Target]], tier: Tier) -> Ranked:
    ranked = Ranked([], [], [])
    for number, group in enumerate(groups):
        ranked.starts.append(len(ranked.targets))
        fit: list[Target] = []
        for target in group:
            rule = dropped_by(ask, target)
            position = _position(target, tier.order)
            if rule is None and position < len(tier.order):
                fit.append(target)
            else:
                ranked.shut_out.append((number, position, rule, target))
        if len(fit) > 1:
            fit.sort(key=partial(_rank, ask, tier))
        ranked.targets += fit
    return ranked


def _rank(ask: Ask, tier: Tier, target: Target) -> tuple[int, bool, float, float, str]:
    """By the tier's order; among equals those that keep the promise, and of them the one with the least work for what
    it can do."""
    late = forecast(target, need_of(ask, target, tier)).ttft_s > tier.ttft_target_s
    work = target.in_flight.promised_tokens / target.weight
    return _position(target, tier.order), late, work, -target.weight, target.name


def _position(target: Target, order: Sequence[str]) -> int:
    """Where the tier's order first names the target or its place."""
    here = (target.place, target.name)
    for index, place in enumerate(order):
        if place in here:
            return index
    return len(order)


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


def reserved_usd(ask: Ask, target: Target) -> float:
    """The most that this Ask can cost there, images aside, which is set aside before the call."""
    if target.price is None:
        return math.inf
    answer_tokens = (ask.max_tokens or OPEN_ANSWER_TOKENS) * ask.answers
    return target.price.usd(ask.prompt_bytes / LEAST_BYTES_PER_TOKEN, answer_tokens)


def _decide(ask: Ask, ranked: Ranked, tier: Tier, rules: Rules, spilling: Latches, money: Money) -> Decision:
    targets = ranked.targets
    usable = [each for each in targets if each.off is None and (each.place is LOCAL or _affordable(ask, each, money))]
    if not usable:
        return _with_sleepers(Decision((), ask.how, _nobody(ask, targets)), targets)
    # A target that rests after failures is the last resort, not lost: the sort keeps the order of the others.
    if len(usable) > 1:
        usable.sort(key=_rests)
    first = usable[0]
    if first.place is CLOUD:
        return _with_sleepers(Decision(tuple(usable), _why_there(ask, ranked, first, tier)), targets)
    latch = (first.name, ask.tier)
    need = need_of(ask, first, tier)
    expected = forecast(first, need)
    cause = judge(first, need, expected, spilling.get(latch, False))
    if cause is None:
        returns = first.returns_as is not None
        return Decision(tuple(usable), _why_there(ask, ranked, first, tier), None, {latch: False}, can_wait=returns)
    # A deadline is one request's own: it says nothing about the next one.
    state = {} if cause == DEADLINE else {latch: tier.may_spill}
    refused = _too_long_a_wait(first, expected.ttft_s, max(rules.limits.max_wait_s, tier.ttft_target_s))
    return replace(_spill_or_wait(ask, ranked, usable, tier, cause, refused), spilling=state)


def _with_sleepers(decision: Decision, ranked: Sequence[Target]) -> Decision:
    """Of a decision for a cloud or for nobody: who else could serve later."""
    first = decision.targets[0] if decision.targets else None
    place = next((at for at, each in enumerate(ranked) if each is first), len(ranked))
    sleepers = [(at, each.returns_as) for at, each in enumerate(ranked) if each.off is not None and each.returns_as]
    at, asleep = sleepers[0] if sleepers else (len(ranked), None)
    return replace(decision, can_wait=_can_return(ranked), asleep=asleep, prefers_it=at < place)


def _is_about_to_come(ask: Ask, fleet: Fleet, tier: Tier) -> bool:
    """Whether the Ask wants a model of which only the engine is not known yet, as just after the supervisor's start."""
    models = fleet.models
    is_wanted = bool(models) if ask.model is None else not models.isdisjoint((ask.model, *ask.stand_ins))
    is_local = any(place.startswith(LOCAL) for place in tier.order)
    return is_wanted and is_local and not any(each.place is LOCAL for each in fleet.targets)


def _rests(target: Target) -> bool:
    return target.resting is not None


def _spill_or_wait(
    ask: Ask, ranked: Ranked, usable: Sequence[Target], tier: Tier, cause: str, refused: ApiError | None
) -> Decision:
    """The first of the usable ones would break the promise. `refused` is set if the wait there is too long as well."""
    reason = None
    if tier.may_spill:
        # A cloud that rests is better than a refusal, but not better than a wait.
        clouds = [each for each in usable if each.place is CLOUD and (not _rests(each) or refused is not None)]
        if clouds:
            others = [each for each in usable if each not in clouds]
            return Decision((*clouds, *others), cause, can_wait=_can_return(usable))
        reason = _why_no_spill(ranked.targets)
    reason = reason or _why_there(ask, ranked, usable[0], tier)
    if refused is not None:
        return Decision((), reason, refused)
    return Decision(tuple(usable), reason, can_wait=_can_return(usable))


def _can_return(targets: Sequence[Target]) -> bool:
    return any(each.returns_as is not None for each in targets)


def _why_no_spill(ranked: Sequence[Target]) -> str | None:
    """Why a spill that is due stays at home: the clouds rest or cost too much. None where there is no cloud."""
    clouds = [each for each in ranked if each.place is CLOUD and each.off is None]
    resting = (f"fallback:{target.resting}" for target in clouds if target.resting is not None)
    return next(resting, BUDGET) if clouds else None


def _started_without(tier: Tier) -> str:
    return "spill:starting" if tier.may_spill else "fallback:starting"


def _why_there(ask: Ask, ranked: Ranked, first: Target, tier: Tier) -> str:
    """The Ask's own reason, unless it must stay at home or a target that goes before could not be used."""
    if ask.local_only:
        return PRIVACY
    group = ranked.group_of(first) if len(ranked.starts) > 1 else 0
    for at, skipped in enumerate(ranked.targets):
        if skipped is first:
            break
        if skipped.place is first.place and at >= ranked.starts[group]:
            continue
        if skipped.starting:
            return _started_without(tier)
        if skipped.off is not None:
            return "fallback:off"
        return f"fallback:{skipped.resting}" if skipped.resting else BUDGET
    return _why_not_before(ranked, first, group, tier) or ask.how


def _why_not_before(ranked: Ranked, first: Target, group: int, tier: Tier) -> str | None:
    """Who would have gone before the first, were it not for a filter: its reason. None if nobody would."""
    here = (group, _position(first, tier.order))
    before = [rule for number, position, rule, _ in ranked.shut_out if (number, position) < here]
    if FITS_CONTEXT in before:
        return ESCALATED
    # Clouds that a tier prefers and that cannot do what is asked are no news; a model that was asked for is.
    return "fallback:capability" if group and before else "fallback:off" if group else None


def _affordable(ask: Ask, target: Target, money: Money) -> bool:
    """Whether a cloud is. One that has no price is off anyway."""
    if target.price is None:
        return True
    usd = reserved_usd(ask, target)
    return usd <= money.left_usd and (ask.max_usd is None or usd <= ask.max_usd)


def _outside_tier(ask: Ask, fleet: Fleet, candidates: Sequence[Target]) -> ApiError:
    if not fleet.complete:
        return starting()
    names = ", ".join(target.name for target in candidates)
    return ApiError(503, "no_target", f"the tier {ask.tier!r} does not use {names}; see its order in stack.toml")


def _nobody(ask: Ask, ranked: Sequence[Target]) -> ApiError:
    needs = f"the request needs {', '.join(sorted(ask.needs))}, which only these can: " if ask.needs else ""
    why = needs + "; ".join(f"{each.name}: {each.off or 'over the budget'}" for each in ranked)
    if any(each.off is None for each in ranked):
        return ApiError(429, "budget_exceeded", f"no target within the budget ({why})", retry_after_s=60.0)
    return ApiError(503, "no_target", f"no target can serve this now ({why})", retry_after_s=RETRY_STARTING_S)


def _too_long_a_wait(first: Target, wait_s: float, most_s: float) -> ApiError | None:
    if wait_s <= most_s or math.isinf(wait_s):
        return None
    message = f"{first.name} is full: about {wait_s:.0f} s until a first token, more than {most_s:.0f} s"
    return ApiError(429, "saturated", message, retry_after_s=wait_s - most_s)
