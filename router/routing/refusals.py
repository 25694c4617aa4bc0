"""What the client hears when no target is left, and how it can mend that. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from router.ask import PINNED, Ask
from router.errors import ApiError
from router.routing.filters import KEEPS_PRIVACY, RETRY_STARTING_S, refusal, starting
from router.routing.fleet import Fleet, Target
from router.routing.passing import Money, is_affordable
from router.routing.ranking import ShutOut
from router.routing.terms import Terms

RETRY_BUDGET_S = 60.0
LONGEST_RETRY_S = 60.0


def nowhere(ask: Ask, fleet: Fleet, shut_out: Sequence[ShutOut], terms: Terms) -> ApiError:
    """Filters and order leave nobody."""
    dropped = [(each.rule, each.target) for each in shut_out if each.rule is not None]
    outside = [each.target for each in shut_out if each.rule is None]
    if ask.local_only and not terms.uses_engines:
        places = ", ".join(terms.order)
        return _conflict(
            f"local-only, and the tier {terms.tier!r} uses only {places}; nothing was sent there", "privacy"
        )
    if outside:
        return _outside_tier(ask, terms, outside, fleet) if fleet.complete else starting()
    clouds = [target.name for rule, target in dropped if rule is KEEPS_PRIVACY]
    # An engine that was dropped for another reason serves the model all the same: then that reason is the answer.
    only_clouds = bool(clouds) and len(clouds) == len(dropped)
    if only_clouds and ask.model is not None and fleet.complete and not _will_be_here(ask, fleet):
        where = ", ".join(clouds)
        return _conflict(f"local-only, and {ask.requested!r} runs only at {where}; nothing was sent there", "privacy")
    return refusal(ask, fleet, dropped)


def _will_be_here(ask: Ask, fleet: Fleet) -> bool:
    """Whether an engine may yet come that serves it."""
    return not fleet.models.isdisjoint((ask.model, *ask.stand_ins))


def _conflict(message: str, param: str) -> ApiError:
    return ApiError(400, "conflicting_hints", message, param)


def _outside_tier(ask: Ask, terms: Terms, outside: Sequence[Target], fleet: Fleet) -> ApiError:
    """Who names a model that the tier has no place for says two things that cannot both be."""
    names = ", ".join([target.name for target in outside])
    message = f"the tier {terms.tier!r} does not use {names}; see its order in stack.toml"
    if ask.how == PINNED and not _will_be_here(ask, fleet):
        return _conflict(f"{ask.requested!r} runs at {names} only, and {message}", "model")
    return ApiError(503, "no_target", message)


def nobody(ask: Ask, order: Sequence[Target], money: Money) -> ApiError:
    """All that may serve it are off, cost too much, or have limits that will never let it in."""
    needs = f"the request needs {', '.join(sorted(ask.needs))}, which only these can: " if ask.needs else ""
    why = needs + "; ".join([f"{each.name}: {_why_not(ask, each, money)}" for each in order])
    there = [each for each in order if each.off is None]
    if any([not is_affordable(ask, each, money) for each in there]):
        return ApiError(429, "budget_exceeded", f"no target within the budget ({why})", retry_after_s=RETRY_BUDGET_S)
    if there:
        return ApiError(429, "saturated", f"the limits of every target forbid this request ({why})")
    return ApiError(503, "no_target", f"no target can serve this now ({why})", retry_after_s=RETRY_STARTING_S)


def _why_not(ask: Ask, target: Target, money: Money) -> str:
    if target.off is not None:
        return target.off
    return target.room.why if is_affordable(ask, target, money) else "over the budget"


def too_long_a_wait(first: Target, wait_s: float, most_s: float) -> ApiError:
    """The first token is expected after so long, `most_s` is the longest that anybody waits."""
    wait = f"about {wait_s:.0f} s" if wait_s < math.inf else "nobody knows how long"
    message = f"{first.name} is full: {wait} until a first token, more than {most_s:.0f} s"
    # Nobody can tell what will be much later.
    return ApiError(429, "saturated", message, retry_after_s=min(max(wait_s - most_s, 1.0), LONGEST_RETRY_S))
