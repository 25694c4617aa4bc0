"""Where each request of a known trace goes, and when: made with hindsight, followed by the world like any policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from benchmarks.simulator.outcome import CLOUD
from benchmarks.simulator.sequence import Request

if TYPE_CHECKING:
    from benchmarks.simulator.world import Kind, World

# An engine fixes what its next step computes when the step before it ends: who is to be in it is there by then.
BEFORE_S = 1e-6


@dataclass(frozen=True, slots=True)
class Plan:
    """By the request's number: CLOUD or an engine, and the moment at which it is sent there."""

    places: Sequence[int]
    sent_s: Sequence[float]


class Planned:
    """A policy that does as the plan says. One run."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._held: list[tuple[float, int, Request]] = []

    def attach(self, world: World) -> None:
        """Of the world it acts in."""
        self._world = world

    def arrived(self, request: Request, now_s: float) -> None:
        """Sent on, or held to its moment."""
        at_s = self._plan.sent_s[request.number] - BEFORE_S
        if at_s <= now_s:
            self._send(request)
            return
        heappush(self._held, (at_s, request.number, request))
        self._world.timer(at_s)

    def happened(self, kind: Kind, request: Request, engine: int, now_s: float) -> None:
        """A plan knew it before."""

    def act(self, now_s: float) -> None:
        """Whose moment has come is sent."""
        held = self._held
        while held and held[0][0] <= now_s:
            self._send(heappop(held)[2])

    def _send(self, request: Request) -> None:
        place = self._plan.places[request.number]
        if place == CLOUD:
            self._world.cloud(request)
        else:
            self._world.local(request, place)
