"""The rules of most gateways: so many at a time and no more."""

from __future__ import annotations

from benchmarks.simulator.policies.plain import Local
from benchmarks.simulator.sequence import Request


class Count(Local):
    """The engine with the fewest in flight takes a request while it has fewer than `limit`; else the cloud does."""

    def __init__(self, limit: int) -> None:
        self.limit = limit

    def arrived(self, request: Request, now_s: float) -> None:
        """A request is there."""
        world, engine = self.world, self.least_busy()
        if world.in_flight[engine] < self.limit and world.fits(request, engine):
            world.local(request, engine)
        else:
            world.cloud(request)


class Slots(Count):
    """Engines take turns; the one whose turn it is takes the request while it has a slot, else the cloud does.

    So a gateway works whose engines each have a limit of their own, and which picks the engine before it looks.
    """

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self._turn = 0

    def arrived(self, request: Request, now_s: float) -> None:
        """A request is there."""
        world, engine = self.world, self._turn
        self._turn = (engine + 1) % world.engine_count
        if world.in_flight[engine] < self.limit and world.fits(request, engine):
            world.local(request, engine)
        else:
            world.cloud(request)
