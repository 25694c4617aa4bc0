"""Decide where one request goes. Pure: same Ask, Fleet, rules and spill state, same Decision.

Filters drop the targets that may not or cannot serve the Ask; the tier orders the rest; `router.spill` says whether
the first local one would break the promise. To add a rule: one function and one entry in FILTERS.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from router.ask import Ask
from router.config import Rules, Tier
from router.errors import ApiError
from router.fleet import Fleet, Place, Target
from router.spill import Need, forecast, judge

# No vocabulary in use packs more text than this into a token on average: a prompt that is too long even so is too
# long. What is closer to the limit the engine counts exactly.
MOST_BYTES_PER_TOKEN = 8.0
# What is reserved for an answer whose length the client left open.
OPEN_ANSWER_TOKENS = 4096
RETRY_STARTING_S = 5.0
STARTING = "spill:starting"
BUDGET = "budget"
PRIVACY = "privacy"

Latches = Mapping[tuple[str, str], bool]


@dataclass(frozen=True, slots=True)
class Decision:
    """Where to try, in order, and why there. `refusal` is set when there is nowhere.

    `spilling` is the new spill state per (target, tier), for the next decision.
    """

    targets: tuple[Target, ...]
    reason: str
    refusal: ApiError | None = None
    spilling: Latches = field(default_factory=dict)
    considered: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Money:
    """What may still be spent today."""

    left_usd: float


def choose(ask: Ask, fleet: Fleet, rules: Rules, spilling: Latches, money: Money) -> Decision:
    """Filter, order by the tier, then spill or not."""
    tier = rules.tiers[ask.tier]
    candidates = list(fleet.targets)
    seen: list[str] = []
    for keep, refuse in FILTERS:
        kept = [target for target in candidates if keep(ask, target)]
        seen += [f"{target.name}: {keep.__name__.strip('_')} no" for target in candidates if target not in kept]
        if not kept:
            return Decision((), ask.how, refuse(ask, fleet, candidates), considered=tuple(seen))
        candidates = kept
    ranked = _ranked(candidates, tier)
    if not ranked:
        return Decision((), ask.how, _outside_tier(ask, candidates), considered=tuple(seen))
    affordable = [target for target in ranked if _affordable(ask, target, money)]
    decision = _decide(ask, ranked, affordable, rules, spilling)
    return Decision(decision.targets, decision.reason, decision.refusal, decision.spilling, tuple(seen))


def need_of(ask: Ask, target: Target, tier: Tier) -> Need:
    """The Ask in the target's own tokens. An answer is as long as answers here usually are, never over its bound."""
    usual = target.pace.answer_tokens
    return Need(
        prompt_tokens=target.prompt_tokens(ask.prompt_bytes),
        answer_tokens=min(usual, ask.max_tokens or math.inf),
        ttft_target_s=tier.ttft_target_s,
        deadline_s=ask.deadline_s,
    )


def reserved_usd(ask: Ask, target: Target) -> float:
    """The most that this Ask can cost there, which is set aside before the call."""
    if target.price is None:
        return math.inf
    return target.price.usd(target.prompt_tokens(ask.prompt_bytes), ask.max_tokens or OPEN_ANSWER_TOKENS)


def _decide(ask: Ask, ranked: Sequence[Target], affordable: Sequence[Target], rules: Rules, old: Latches) -> Decision:
    # A target that rests after failures is the last resort, not lost: the sort keeps the order of the others.
    able = [target for target in affordable if target.off is None]
    usable = sorted(able, key=lambda target: target.resting is not None)
    if not usable:
        return Decision((), ask.how, _nobody(ranked, affordable))
    first = usable[0]
    if first.place is Place.CLOUD:
        return Decision(tuple(usable), _detour(ask, ranked, first))
    return _local_or_spill(ask, ranked, usable, rules, old)


def _local_or_spill(
    ask: Ask, ranked: Sequence[Target], usable: Sequence[Target], rules: Rules, old: Latches
) -> Decision:
    tier, first = rules.tiers[ask.tier], usable[0]
    need = need_of(ask, first, tier)
    latch = (first.name, ask.tier)
    cause = judge(first, need, old.get(latch, False))
    state = {latch: cause is not None and tier.may_spill}
    clouds = [target for target in usable if target.place is Place.CLOUD]
    if cause is not None and tier.may_spill and clouds:
        rest = [target for target in usable if target.place is Place.LOCAL]
        return Decision((*clouds, *rest), cause, spilling=state)
    refusal = _too_long_a_wait(first, need, rules.limits.max_wait_s)
    if refusal is not None:
        return Decision((), cause or ask.how, refusal, spilling=state)
    unaffordable = cause is not None and tier.may_spill and any(_is_open_cloud(target) for target in ranked)
    return Decision(tuple(usable), BUDGET if unaffordable else _stay(ask, ranked, first), spilling=state)


def _is_open_cloud(target: Target) -> bool:
    return target.place is Place.CLOUD and target.off is None


def _stay(ask: Ask, ranked: Sequence[Target], first: Target) -> str:
    return PRIVACY if ask.local_only else _detour(ask, ranked, first)


def _detour(ask: Ask, ranked: Sequence[Target], first: Target) -> str:
    """The Ask's own reason, unless a target that the tier prefers could not be used."""
    skipped = next((target for target in ranked[: ranked.index(first)] if target.place is not first.place), None)
    if skipped is None:
        return ask.how
    if skipped.off is not None:
        return STARTING if skipped.starting else "fallback:off"
    return f"fallback:{skipped.resting}" if skipped.resting else BUDGET


def _ranked(candidates: Sequence[Target], tier: Tier) -> list[Target]:
    """In the tier's order; among equals the one with the least promised work."""
    positions = [(_position(target, tier), target.in_flight.promised_tokens, target.name) for target in candidates]
    order = sorted(zip(positions, candidates, strict=True), key=lambda pair: pair[0])
    return [target for position, target in order if position[0] < len(tier.order)]


def _position(target: Target, tier: Tier) -> int:
    matches = (index for index, place in enumerate(tier.order) if place in {target.place, target.name})
    return next(matches, len(tier.order))


def _affordable(ask: Ask, target: Target, money: Money) -> bool:
    if target.place is Place.LOCAL or target.price is None:
        return True
    usd = reserved_usd(ask, target)
    return usd <= money.left_usd and (ask.max_usd is None or usd <= ask.max_usd)


# Filters: may or can this target serve the Ask at all? Each with the answer for the client when nobody is left.


def _serves_model(ask: Ask, target: Target) -> bool:
    return ask.model is None or ask.model in target.models


def _keeps_privacy(ask: Ask, target: Target) -> bool:
    return target.place is Place.LOCAL or not ask.local_only


def _is_capable(ask: Ask, target: Target) -> bool:
    return ask.needs <= target.capabilities


def _fits_context(ask: Ask, target: Target) -> bool:
    return ask.prompt_bytes / MOST_BYTES_PER_TOKEN <= target.context_tokens


def _no_such_model(ask: Ask, fleet: Fleet, _candidates: Sequence[Target]) -> ApiError:
    if ask.model is None or not fleet.complete:
        return ApiError(503, "no_target", "no engine has reported yet; it is starting", retry_after_s=RETRY_STARTING_S)
    names = ", ".join(sorted(fleet.model_names())) or "none"
    message = f"the model {ask.requested!r} does not exist; there are: {names}, auto, tier/<tier>, task/<task>"
    return ApiError(404, "model_not_found", message, "model")


def _only_clouds(ask: Ask, _fleet: Fleet, candidates: Sequence[Target]) -> ApiError:
    names = ", ".join(target.name for target in candidates)
    message = f"local-only, and {ask.requested!r} runs only at {names}; nothing was sent there"
    return ApiError(503, "no_local_target", message, "privacy", RETRY_STARTING_S)


def _no_capability(ask: Ask, _fleet: Fleet, candidates: Sequence[Target]) -> ApiError:
    can = ", ".join(f"{target.name} can {'/'.join(sorted(target.capabilities))}" for target in candidates)
    needs = ", ".join(sorted(ask.needs))
    return ApiError(400, "unsupported_capability", f"the request needs {needs}, which no target has: {can}")


def _too_long(ask: Ask, _fleet: Fleet, candidates: Sequence[Target]) -> ApiError:
    sizes = ", ".join(f"{target.name} {target.context_tokens}" for target in candidates)
    tokens = round(ask.prompt_bytes / MOST_BYTES_PER_TOKEN)
    message = f"the prompt has at least {tokens} tokens, more than any target takes (context in tokens: {sizes})"
    return ApiError(400, "context_length_exceeded", message, "messages" if "messages" in ask.body else "prompt")


Keep = Callable[[Ask, Target], bool]
Refuse = Callable[[Ask, Fleet, Sequence[Target]], ApiError]
FILTERS: tuple[tuple[Keep, Refuse], ...] = (
    (_serves_model, _no_such_model),
    (_keeps_privacy, _only_clouds),
    (_is_capable, _no_capability),
    (_fits_context, _too_long),
)


def _outside_tier(ask: Ask, candidates: Sequence[Target]) -> ApiError:
    names = ", ".join(target.name for target in candidates)
    return ApiError(503, "no_target", f"the tier {ask.tier!r} does not use {names}; see its order in stack.toml")


def _nobody(ranked: Sequence[Target], affordable: Sequence[Target]) -> ApiError:
    why = "; ".join(f"{target.name}: {target.off or 'over the budget'}" for target in ranked)
    if any(target.off is None for target in ranked) and not any(target.off is None for target in affordable):
        return ApiError(429, "budget_exceeded", f"no target within the budget ({why})", retry_after_s=60.0)
    return ApiError(503, "no_target", f"no target can serve this now ({why})", retry_after_s=RETRY_STARTING_S)


def _too_long_a_wait(target: Target, need: Need, max_wait_s: float) -> ApiError | None:
    expected = forecast(target, need)
    if expected.ttft_s <= max_wait_s or math.isinf(expected.ttft_s):
        return None
    message = f"{target.name} is full: about {expected.ttft_s:.0f} s until a first token, more than {max_wait_s:.0f} s"
    return ApiError(429, "saturated", message, retry_after_s=expected.ttft_s - max_wait_s)
