"""What became of one request's Decision: the latest of these are what `GET /spillway/decisions` shows.

Made on the way of every request, so it only refers to values that are there already; text is made when it is read.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from router.ask import Ask
from router.health.triggers import CONTEXT, following
from router.routing.filters import Dropped, considered
from router.routing.fleet import Target
from router.routing.forecast import shown_ttft_s
from router.routing.gate import Decision
from router.routing.terms import Terms

# Of those who were not asked so many are named.
MOST_NAMED = 30
# Of the causes that lead to the next target, any will do.
FAILED = "5xx"


class Decided(Struct, gc=False):
    """Where a request went and why, or why it was refused.

    Holds neither the Ask's body, which may be megabytes, nor the Decision, whose refusal remembers the frames that it
    was raised through. Nothing in it changes but `shown`, its row, which is made when it is asked for first.
    """

    at_unix_s: float
    ask: Ask
    terms: Terms | None
    targets: Sequence[Target]
    dropped: Dropped
    chain: tuple[str, ...]
    fleet: tuple[Target, ...]
    reason: str
    target: str | None
    attempts: int
    refused: str | None
    shown: dict[str, Any] | None = None


def answered(ask: Ask, decision: Decision, target: str, reason: str, attempts: int) -> Decided:
    """The target of this name gave the first token, at this attempt, for this reason."""
    return _decided(ask, decision, reason, target, attempts, None)


def turned_away(ask: Ask, decision: Decision, why: str, attempts: int) -> Decided:
    """Nobody answered: refused by us or by every target, or the client left before; after so many tries."""
    return _decided(ask, decision, decision.reason, None, attempts, why)


def _decided(
    ask: Ask, decision: Decision, reason: str, target: str | None, attempts: int, refused: str | None
) -> Decided:
    return Decided(
        time.time(),
        replace(ask, raw=b""),
        decision.terms,
        decision.targets,
        decision.dropped,
        decision.chain,
        decision.fleet,
        reason,
        target,
        attempts,
        refused,
    )


def rows(decisions: Iterable[Decided]) -> list[dict[str, Any]]:
    """The JSON rows of `GET /spillway/decisions`, the latest first."""
    return [row(each) for each in reversed(list(decisions))]


def row(decided: Decided) -> dict[str, Any]:
    """`order` is who was to be tried, one after the other; `figures` what there was to choose by; `dropped` who was not
    to be, and the rule that forbids it."""
    if decided.shown is None:
        decided.shown = _row(decided)
    return decided.shown


def _row(decided: Decided) -> dict[str, Any]:
    ask = decided.ask
    dropped = considered(decided.dropped, decided.chain, decided.fleet)
    more = [f"and {len(dropped) - MOST_NAMED} more"] if len(dropped) > MOST_NAMED else []
    return {
        "at_unix_s": decided.at_unix_s,
        "request_id": ask.request_id,
        "asked": ask.requested,
        "tier": ask.tier,
        "task": ask.task,
        "route": ask.route,
        "arm": ask.arm,
        "local_only": ask.local_only,
        "models": list(decided.chain),
        "order": [target.name for target in decided.targets],
        "on_failure": [_on_failure(decided.targets, at) for at in range(min(len(decided.targets), MOST_NAMED))],
        "figures": [_figures(ask, target, decided.terms) for target in decided.targets[:MOST_NAMED]],
        "dropped": dropped[:MOST_NAMED] + more,
        "reason": decided.reason,
        "target": decided.target,
        "attempts": decided.attempts,
        "refused": decided.refused,
    }


def _on_failure(targets: Sequence[Target], at: int) -> dict[str, str | None]:
    """Who would be next after this one; None: nobody."""
    after = following(targets, at, FAILED), following(targets, at, CONTEXT)
    failed, too_long = (each.name if each else None for each in after)
    return {"target": targets[at].name, "failed": failed, "too_long": too_long}


def _figures(ask: Ask, target: Target, terms: Terms | None) -> dict[str, Any]:
    """What was known of a target at that moment. `ttft_s` is what it usually is where the decision had no terms."""
    ttft_s = target.pace.ttft_p50_s if terms is None else shown_ttft_s(ask, target, terms.now_s)
    price = target.price
    answer_tokens = min(target.pace.answer_tokens, ask.max_tokens or math.inf) * ask.answers
    return {
        "target": target.name,
        "tokens_in_flight": target.in_flight.promised_tokens,
        "ttft_s": ttft_s,
        "usd": None if price is None else price.usd(target.prompt_tokens(ask.prompt_bytes), answer_tokens),
        "failed": target.health.cause,
        "room_in_s": target.room.ready_in_s,
    }
