"""What became of one request's Decision: the latest of these are what `GET /spillway/decisions` shows.

Made on the way of every request, so it only refers to values that are there already; text is made when it is read.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from msgspec import Struct

from router.ask import Ask
from router.routing.filters import Dropped, considered
from router.routing.fleet import Target
from router.routing.policy import Decision


class Decided(Struct, frozen=True, gc=False):
    """Where a request went and why, or why it was refused.

    Holds neither the Ask, whose body may be megabytes, nor the Decision, whose refusal remembers the frames that it
    was raised through.
    """

    at_unix_s: float
    request_id: str
    asked: str
    tier: str
    task: str | None
    local_only: bool
    targets: tuple[Target, ...]
    dropped: Dropped
    chain: tuple[str, ...]
    fleet: tuple[Target, ...]
    reason: str
    target: str | None
    attempts: int
    refused: str | None


def answered(ask: Ask, decision: Decision, target: str, reason: str, attempts: int) -> Decided:
    """The target of this name gave the first token, at this attempt, for this reason."""
    return Decided(
        time.time(),
        ask.request_id,
        ask.requested,
        ask.tier,
        ask.task,
        ask.local_only,
        decision.targets,
        decision.dropped,
        decision.chain,
        decision.fleet,
        reason,
        target,
        attempts,
        None,
    )


def turned_away(ask: Ask, decision: Decision, why: str, attempts: int) -> Decided:
    """Nobody answered: refused by us or by every target, or the client left before; after so many tries."""
    return Decided(
        time.time(),
        ask.request_id,
        ask.requested,
        ask.tier,
        ask.task,
        ask.local_only,
        decision.targets,
        decision.dropped,
        decision.chain,
        decision.fleet,
        decision.reason,
        None,
        attempts,
        why,
    )


def rows(decisions: Iterable[Decided]) -> list[dict[str, Any]]:
    """The JSON rows of `GET /spillway/decisions`, the latest first."""
    return [row(each) for each in reversed(list(decisions))]


def row(decided: Decided) -> dict[str, Any]:
    return {
        "at_unix_s": decided.at_unix_s,
        "request_id": decided.request_id,
        "asked": decided.asked,
        "tier": decided.tier,
        "task": decided.task,
        "local_only": decided.local_only,
        "order": [target.name for target in decided.targets],
        "dropped": considered(decided.dropped, decided.chain, decided.fleet),
        "reason": decided.reason,
        "target": decided.target,
        "attempts": decided.attempts,
        "refused": decided.refused,
    }
