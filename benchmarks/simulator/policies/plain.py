"""All here, or all in the cloud."""

from __future__ import annotations

from benchmarks.simulator.sequence import Request
from benchmarks.simulator.world import Kind, World


class Local:
    """Never spills: each request goes to the engine with the fewest in flight."""

    world: World

    def attach(self, world: World) -> None:
        """Once, before anything comes."""
        self.world = world

    def arrived(self, request: Request, now_s: float) -> None:
        """A request is there."""
        self.world.local(request, self.least_busy())

    def happened(self, kind: Kind, request: Request, engine: int, now_s: float) -> None:
        """Nothing is learned."""

    def act(self, now_s: float) -> None:
        """Nothing is held."""

    def least_busy(self) -> int:
        """By the router's own count; the first of equals."""
        in_flight = self.world.in_flight
        return in_flight.index(min(in_flight))


class Cloud(Local):
    """Owns engines for nothing."""

    def arrived(self, request: Request, now_s: float) -> None:
        """A request is there."""
        self.world.cloud(request)
