"""One request before the engines of a model, and what it comes to that it has been placed."""

from __future__ import annotations

import math

import msgspec

from router.errand import Wait
from router.routing.fleet import Place, Target
from router.routing.gate import Decision, let_in, spilled, turned_away
from router.spilling.want import Placed, Why

# Members of an enumeration are slow to look up in it.
CLOUD = Place.CLOUD


class Ticket(msgspec.Struct, eq=False):
    """One request before the engines of `model`. `placed` is None until it is decided; `wait` is settled then, or where
    it has to be decided anew. `is_used`: a flight has it."""

    model: str
    placed: Placed | None = None
    wait: Wait[None] | None = None
    is_used: bool = False

    def is_for(self, target: Target) -> bool:
        """Whether a flight there is what was decided."""
        placed = self.placed
        if placed is None or placed.why is Why.REFUSED:
            return False
        if placed.engine is None:
            # Of two calls to a cloud both may be the one that is heard.
            return target.place is CLOUD
        return target.key == placed.engine and not self.is_used


def again_s(ticket: Ticket, target: Target) -> float:
    """How long a cloud that it was spilled to may be silent until it is asked a second time; infinite where it is not:
    nor is one that has failed of late."""
    if ticket.placed is None or ticket.is_used or not ticket.is_for(target) or target.health.cause is not None:
        return math.inf
    return ticket.placed.again_s


def settled(decision: Decision, ticket: Ticket, now_s: float) -> Decision:
    """What it comes to that the sluice has placed it so."""
    placed = ticket.placed
    assert placed is not None
    if placed.why is Why.REFUSED:
        want = placed.want
        return turned_away(decision, now_s - want.arrived_s + placed.expected_ttft_s, want.patience_s)
    if placed.engine is None:
        return spilled(decision, placed.why)
    assert decision.gate is not None
    engine = next(each for each in decision.gate.engines if each.key == placed.engine)
    return let_in(decision, engine, is_late=now_s + placed.expected_ttft_s > placed.want.due_s)
