"""What each worker says of itself, so that whichever is asked answers for all: its tally, decisions and spill state.

Kept in shared memory once a second if there is something new, and before every answer that shows it: what was shown
once is kept whoever is killed then, so no counter is ever seen to go back. A router alone has only its own.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from itertools import chain
from operator import itemgetter
from typing import Any

import msgspec
from msgspec import Raw, Struct

from router.decided import rows
from router.ledger import Ledger
from router.metrics import Metrics
from router.seat import Seat
from router.shown import Shown
from router.watch import DECISIONS_KEPT, Watch

PAUSE_S = 1.0


class Report(Struct, frozen=True):
    """`tally` is JSON as `Metrics.export` gives it; `decisions` are rows, the latest first. `preset` is obeyed.
    `ledger` says why nothing can be written there, "" if it can."""

    tally: Raw
    decisions: list[dict[str, Any]]
    spilling: list[str]
    lost_outcomes: int
    preset: str = ""
    ledger: str = ""


NOTHING = Report(Raw(b"[]"), [], [], 0)


class Reports:
    """This worker's report and those of its siblings. Written by its own event loop."""

    def __init__(self, seat: Seat, watch: Watch, metrics: Metrics, ledger: Ledger) -> None:
        self._watch = watch
        self._metrics = metrics
        self._ledger = ledger
        self._shown = None if seat.shown_fd is None else Shown(seat.shown_fd, seat.number, seat.workers)
        last = self._shown.own() if self._shown else b""
        # Of whoever sat here before and was killed.
        self._before = _decode(last) if last else NOTHING
        metrics.resume(bytes(self._before.tally))
        self._showed: tuple[object, ...] = ()

    async def keep(self) -> None:
        """Show what is new, for ever."""
        while True:
            self.show()
            await asyncio.sleep(PAUSE_S)

    def show(self) -> None:
        """Let the siblings, and whoever sits here next, know what has changed."""
        if self._shown is None:
            return
        decisions = self._watch.decisions
        last = decisions[-1] if decisions else None
        ledger = (self._ledger.lost_outcomes, self._ledger.trouble)
        now = (last, self._metrics.export(), self._spilling(), ledger, self._preset())
        if now != self._showed:
            self._shown.show(msgspec.json.encode(self._own()))
            self._showed = now

    def page(self) -> bytes:
        """The metrics of all workers."""
        self.show()
        return self._metrics.text([bytes(each.tally) for each in self._others()])

    def together(self) -> Report:
        """All workers as one, but for the tally."""
        self.show()
        everyone = (self._own(), *self._others())
        decisions = sorted(chain.from_iterable(each.decisions for each in everyone), key=itemgetter("at_unix_s"))
        return Report(
            NOTHING.tally,
            decisions[::-1][:DECISIONS_KEPT],
            sorted({pair for each in everyone for pair in each.spilling}),
            sum(each.lost_outcomes for each in everyone),
            ledger=next((each.ledger for each in everyone if each.ledger), ""),
        )

    def presets(self) -> dict[str, int]:
        """How many workers obey each preset: one entry but for the moments of a change; "" where there is none."""
        self.show()
        return dict(Counter([self._preset(), *(each.preset for each in self._others())]))

    def _own(self) -> Report:
        before = self._before
        return Report(
            Raw(self._metrics.export()),
            [*rows(self._watch.decisions), *before.decisions][:DECISIONS_KEPT],
            self._spilling(),
            self._ledger.lost_outcomes + before.lost_outcomes,
            self._preset(),
            self._ledger.trouble,
        )

    def _others(self) -> list[Report]:
        return [_decode(each) for each in self._shown.others()] if self._shown else []

    def _preset(self) -> str:
        return self._watch.rules.active_preset or ""

    def _spilling(self) -> list[str]:
        return self._watch.pools.spilling(time.monotonic())


def _decode(content: bytes) -> Report:
    return msgspec.json.decode(content, type=Report)
