"""One request before the engines of a model, and what it comes to that it has been placed."""

from __future__ import annotations

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
        if placed is None or self.is_used or placed.why is Why.REFUSED:
            return False
        return target.place is CLOUD if placed.engine is None else target.key == placed.engine


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
