"""Sends requests when their time has come: by the clock, or when a user is ready. It must not know connections."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Protocol

from benchmarks.drive.feed import Feed, Ready
from benchmarks.drive.pacing import Closed, Open, Pacing
from benchmarks.pace import Pace

# After a failure a user waits at least so long: one that hammers a server which refuses everything measures nothing.
PAUSE_S = 0.1
Send = Callable[[Ready, float], None]


class Loop(Protocol):
    """`begin` once, `answered` after each answer; `is_over` when nothing more will be sent."""

    is_over: bool

    def begin(self, began_s: float) -> None:
        """Start sending."""

    def answered(self, is_ok: bool) -> None:
        """A request has ended."""


class OpenLoop:
    """Never waits for answers."""

    def __init__(self, pacing: Open, feed: Feed, pace: Pace, send: Send) -> None:
        self._pacing = pacing
        self._feed = feed
        self._pace = pace
        self._send = send
        self._began_s = 0.0
        self.is_over = False

    def begin(self, began_s: float) -> None:
        """The moments of the arrivals count from here."""
        self._began_s = began_s
        self._arm()

    def answered(self, is_ok: bool) -> None:
        """Of no concern."""

    def _arm(self) -> None:
        """Wait for the next one's moment. Those that are due go out in one turn."""
        while not self.is_over:
            ready = self._feed.next
            over_s = self._pacing.duration_s
            if ready is None or (over_s is not None and ready.arrival.at_s >= over_s):
                self.is_over = True
                return
            due_s = self._began_s + ready.arrival.at_s
            if due_s > monotonic():
                self._pace.at(due_s, self._arm)
                return
            self._send(ready, due_s)
            self._feed.load()


class ClosedLoop:
    """Users who ask, wait for the answer, think, and ask again."""

    def __init__(self, pacing: Closed, feed: Feed, pace: Pace, send: Send) -> None:
        self._pacing = pacing
        self._feed = feed
        self._pace = pace
        self._send = send
        self._over_s = float("inf")
        self._ready: list[float] = []
        self._is_sending = False
        self.is_over = False

    def begin(self, began_s: float) -> None:
        """The users come, one after the other."""
        pacing = self._pacing
        if pacing.duration_s is not None:
            self._over_s = began_s + pacing.duration_s
            self._pace.at(self._over_s, self._close)
        for number in range(pacing.users):
            self._wake(began_s + pacing.ramp_s * number / pacing.users)

    def answered(self, is_ok: bool) -> None:
        """The user thinks, and asks again."""
        if not self.is_over:
            self._wake(monotonic() + max(self._pacing.think_s, 0.0 if is_ok else PAUSE_S))

    def _wake(self, due_s: float) -> None:
        if due_s > monotonic():
            self._pace.at(due_s, lambda: self._ask(due_s))
        else:
            self._ask(due_s)

    def _ask(self, due_s: float) -> None:
        """One after the other: a request that fails at once makes its user ready while another's is being sent."""
        self._ready.append(due_s)
        if self._is_sending:
            return
        self._is_sending = True
        while self._ready and not self.is_over:
            ready, due_s = self._feed.next, self._ready.pop(0)
            if ready is None or due_s >= self._over_s:
                self.is_over = True
            else:
                self._send(ready, due_s)
                self._feed.load()
        self._is_sending = False

    def _close(self) -> None:
        self.is_over = True


def loop_of(pacing: Pacing, feed: Feed, pace: Pace, send: Send) -> Loop:
    """The loop that a pacing describes."""
    return OpenLoop(pacing, feed, pace, send) if isinstance(pacing, Open) else ClosedLoop(pacing, feed, pace, send)
