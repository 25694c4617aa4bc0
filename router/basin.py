"""Where requests wait until their sluice lets them through. What it decides is carried out here.

Who waits holds nothing but itself: when its client leaves it is cancelled where it waits. The sluices are asked again
after every event that may make room, in the next turn of the loop, and when they want to be.
"""

from __future__ import annotations

import asyncio
import time

from router.errand import Wait
from router.spilling.sluice import LOOK_S
from router.ticket import Ticket
from router.wants import Arrival
from router.watch import Watch


class Basin:
    """The waiting room before all engines. Belongs to one event loop."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._waiting: dict[Ticket, None] = {}
        self._is_due = False
        self._timer: asyncio.TimerHandle | None = None
        watch.on_room = self.look_soon

    def __len__(self) -> int:
        return len(self._waiting)

    async def place(self, arrival: Arrival, again: bool) -> Ticket:
        """Its ticket, once its place is decided; one that has none must be decided anew, by what is there now."""
        pools = self._watch.pools
        ticket = pools.arrive(arrival, again)
        self._carry_out(ticket.model, arrival.now_s, ticket)
        if ticket.placed is not None:
            return ticket
        ticket.wait = Wait()
        self._waiting[ticket] = None
        self._set_timer()
        try:
            await ticket.wait
        except asyncio.CancelledError:
            pools.withdraw(ticket, time.monotonic())
            raise
        finally:
            self._waiting.pop(ticket, None)
        if ticket.placed is None:
            pools.withdraw(ticket, time.monotonic())
        return ticket

    def look_soon(self) -> None:
        """There may be room."""
        if self._waiting and not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._look)

    def stir(self) -> None:
        """There are other targets or other rules: all who wait are decided anew."""
        for ticket in self._waiting:
            if ticket.wait is not None:
                asyncio.get_running_loop().call_soon(ticket.wait.done, None)

    def _look(self) -> None:
        self._is_due = False
        now_s = time.monotonic()
        self._watch.samples.count(now_s)
        for model in self._watch.pools.lines():
            self._carry_out(model, now_s, None)
        self._set_timer()

    def _carry_out(self, model: str, now_s: float, own: Ticket | None) -> None:
        """Wake whoever is placed, but for who asks: each in a turn of the loop of its own, for it goes on at once."""
        for ticket in self._watch.pools.decide(model, now_s):
            if ticket is not own and ticket.wait is not None:
                asyncio.get_running_loop().call_soon(ticket.wait.done, None)

    def _set_timer(self) -> None:
        """Look again in a moment, while somebody waits: later news do not put that off."""
        if self._timer is None and self._waiting:
            self._timer = asyncio.get_running_loop().call_later(LOOK_S, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self.look_soon()
