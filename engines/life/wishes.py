"""What others want of an engine. Said by anybody, at any time; carried out by the engine's own task."""

from __future__ import annotations

import asyncio
from enum import StrEnum

# What is served on a GPU in trouble may never be finished.
TROUBLED_DRAIN_S = 10.0
# The first stop drains, the second ends the drain, the third kills.
STOPS_AT_ONCE = 3


class Wish(StrEnum):
    """Where an engine should be."""

    SERVE = "serve"
    REST = "rest"
    END = "end"


class Wishes:
    """The newest wish counts, and an end for good. `barred` is why it must not run whatever is wished, "" if it may;
    `changed` is set by everything that is said."""

    def __init__(self, wish: Wish) -> None:
        self.wish = wish
        self.barred = ""
        self.stops = 0
        self.changed = asyncio.Event()

    @property
    def is_wanted(self) -> bool:
        """Whether it is to serve."""
        return self.wish is Wish.SERVE and not self.barred

    @property
    def is_to_rest(self) -> bool:
        """Whether it only makes room."""
        return self.wish is Wish.REST and not self.barred

    @property
    def is_to_end(self) -> bool:
        return self.wish is Wish.END

    @property
    def is_out_of_patience(self) -> bool:
        """Whether it is to end at once."""
        return self.stops >= STOPS_AT_ONCE

    def ask(self, wish: Wish) -> None:
        if self.wish not in (wish, Wish.END):
            self.wish = wish
            self.changed.set()

    def end(self) -> None:
        self.stops += 1
        self.wish = Wish.END
        self.changed.set()

    def bar(self, why: str) -> None:
        """With "" it may run again."""
        if why != self.barred:
            self.barred = why
            self.changed.set()

    def patience_s(self, drain_s: float) -> float:
        """How long what it serves may take to finish."""
        if self.stops > 1 or self.is_wanted:
            return 0.0
        return min(TROUBLED_DRAIN_S, drain_s) if self.barred else drain_s
