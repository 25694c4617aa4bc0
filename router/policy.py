"""Decide where one request goes. Pure: same Ask, Fleet, rules and spill state, same Decision.

Filters drop the targets that may not or cannot serve the Ask; the tier orders the rest; `router.spill` says whether
the first local one would break the promise. To add a rule: one function and one entry in FILTERS.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from router.ask import Ask
from router.config import Rules, Tier
from router.errors import ApiError
from router.fleet import Fleet, Place, Target
from router.spill import DEADLINE, Need, forecast, judge

# No vocabulary in use packs more text than this into a token on average: a prompt that is too long even so is too
# long. What is closer to the limit the engine counts exactly.
MOST_BYTES_PER_TOKEN = 8.0
# Nor less than this, but for short prompts: what a prompt costs at most is reckoned with it.
LEAST_BYTES_PER_TOKEN = 1.5
# What is reserved for an answer whose length the client left open.
OPEN_ANSWER_TOKENS = 4096
RETRY_STARTING_S = 5.0
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
    ranked = _ranked(ask, candidates, tier)
    if not ranked:
        return Decision((), ask.how, _outside_tier(ask, fleet, candidates), considered=tuple(seen))
    affordable = [target for target in ranked if _affordable(ask, target, money)]
    decision = _decide(ask, ranked, affordable, rules, spilling)
    # Before the engines have been heard of, a tier that prefers them is served elsewhere because they start.
    elsewhere = bool(decision.targets) and decision.targets[0].place is Place.CLOUD
    unheard = not fleet.complete and elsewhere and tier.order[0].startswith(Place.LOCAL)
    reason = _started_without(tier) if unheard else decision.reason
    return replace(decision, reason=reason, considered=tuple(seen))


def need_of(ask: Ask, target: Target, tier: Tier) -> Need:
    """What the tier promises for the Ask, in the target's own tokens."""
    return Need(*tokens_of(ask, target), tier.ttft_target_s, ask.deadline_s)


def tokens_of(ask: Ask, target: Target) -> tuple[float, float]:
    """(prompt, answer). An answer is as long as answers here usually are, never over its bound."""
    answer_tokens = min(target.pace.answer_tokens, ask.max_tokens or math.inf)
    return target.prompt_tokens(ask.prompt_bytes), answer_tokens


def reserved_usd(ask: Ask, target: Target) -> float:
    """The most that this Ask can cost there, images aside, which is set aside before the call."""
    if target.price is None:
        return math.inf
    answer_tokens = (ask.max_tokens or OPEN_ANSWER_TOKENS) * ask.answers
    return target.price.usd(ask.prompt_bytes / LEAST_BYTES_PER_TOKEN, answer_tokens)


def _decide(ask: Ask, ranked: Sequence[Target], affordable: Sequence[Target], rules: Rules, old: Latches) -> Decision:
    # A target that rests after failures is the last resort, not lost: the sort keeps the order of the others.
    able = [target for target in affordable if target.off is None]
    usable = sorted(able, key=lambda target: target.resting is not None)
    if not usable:
        return Decision((), ask.how, _nobody(ask, ranked, affordable))
    first = usable[0]
    if first.place is Place.CLOUD:
        return Decision(tuple(usable), _detour(ask, ranked, first, rules.tiers[ask.tier]))
    return _local_or_spill(ask, ranked, usable, rules, old)


def _local_or_spill(
    ask: Ask, ranked: Sequence[Target], usable: Sequence[Target], rules: Rules, old: Latches
) -> Decision:
    tier, first = rules.tiers[ask.tier], usable[0]
    need = need_of(ask, first, tier)
    latch = (first.name, ask.tier)
    cause = judge(first, need, old.get(latch, False))
    due = cause is not None and tier.may_spill
    # A deadline is one request's own: it says nothing about the next one.
    state = {} if cause == DEADLINE else {latch: due}
    refusal = _too_long_a_wait(first, need, max(rules.limits.max_wait_s, tier.ttft_target_s))
    # A cloud that rests is better than a refusal, but not better than a wait.
    clouds = [
        target for target in usable if target.place is Place.CLOUD and (target.resting is None or refusal is not None)
    ]
    if cause is not None and due and clouds:
        return Decision((*clouds, *(target for target in usable if target not in clouds)), cause, spilling=state)
    reason = (_why_no_spill(ranked) if due else None) or _stay(ask, ranked, first, tier)
    if refusal is not None:
        return Decision((), reason, refusal, spilling=state)
    return Decision(tuple(usable), reason, spilling=state)


def _why_no_spill(ranked: Sequence[Target]) -> str | None:
    """Why a spill that is due stays at home: the clouds rest or cost too much. None where there is no cloud."""
    clouds = [target for target in ranked if target.place is Place.CLOUD and target.off is None]
    resting = (f"fallback:{target.resting}" for target in clouds if target.resting is not None)
    return next(resting, BUDGET) if clouds else None


def _stay(ask: Ask, ranked: Sequence[Target], first: Target, tier: Tier) -> str:
    return PRIVACY if ask.local_only else _detour(ask, ranked, first, tier)


def _started_without(tier: Tier) -> str:
    return "spill:starting" if tier.may_spill else "fallback:starting"


def _detour(ask: Ask, ranked: Sequence[Target], first: Target, tier: Tier) -> str:
    """The Ask's own reason, unless a target that the tier prefers could not be used."""
    skipped = next((target for target in ranked[: ranked.index(first)] if target.place is not first.place), None)
    if skipped is None:
        return ask.how
    if skipped.starting:
        return _started_without(tier)
    if skipped.off is not None:
        return "fallback:off"
    return f"fallback:{skipped.resting}" if skipped.resting else BUDGET


def _ranked(ask: Ask, candidates: Sequence[Target], tier: Tier) -> list[Target]:
    """In the tier's order; among equals those that keep the promise, and of them the one with the least work."""
    able = [target for target in candidates if _position(target, tier) < len(tier.order)]
    return sorted(able, key=lambda target: (_position(target, tier), *_burden(ask, target, tier), target.name))


def _burden(ask: Ask, target: Target, tier: Tier) -> tuple[bool, float]:
    late = forecast(target, need_of(ask, target, tier)).ttft_s > tier.ttft_target_s
    return late, target.in_flight.promised_tokens


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
        return _starting()
    names = ", ".join(sorted(fleet.model_names())) or "none"
    message = f"the model {ask.requested!r} does not exist; there are: {names}, auto, tier/<tier>, task/<task>"
    return ApiError(404, "model_not_found", message, "model")


def _starting() -> ApiError:
    return ApiError(503, "no_target", "no engine has reported yet; it is starting", retry_after_s=RETRY_STARTING_S)


def _only_clouds(ask: Ask, fleet: Fleet, candidates: Sequence[Target]) -> ApiError:
    if not fleet.complete:
        return _starting()
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


def _outside_tier(ask: Ask, fleet: Fleet, candidates: Sequence[Target]) -> ApiError:
    if not fleet.complete:
        return _starting()
    names = ", ".join(target.name for target in candidates)
    return ApiError(503, "no_target", f"the tier {ask.tier!r} does not use {names}; see its order in stack.toml")


def _nobody(ask: Ask, ranked: Sequence[Target], affordable: Sequence[Target]) -> ApiError:
    needs = f"the request needs {', '.join(sorted(ask.needs))}, which only these can: " if ask.needs else ""
    why = needs + "; ".join(f"{target.name}: {target.off or 'over the budget'}" for target in ranked)
    if any(target.off is None for target in ranked) and not any(target.off is None for target in affordable):
        return ApiError(429, "budget_exceeded", f"no target within the budget ({why})", retry_after_s=60.0)
    return ApiError(503, "no_target", f"no target can serve this now ({why})", retry_after_s=RETRY_STARTING_S)


def _too_long_a_wait(target: Target, need: Need, max_wait_s: float) -> ApiError | None:
    expected = forecast(target, need)
    if expected.ttft_s <= max_wait_s or math.isinf(expected.ttft_s):
        return None
    message = f"{target.name} is full: about {expected.ttft_s:.0f} s until a first token, more than {max_wait_s:.0f} s"
    return ApiError(429, "saturated", message, retry_after_s=expected.ttft_s - max_wait_s)
