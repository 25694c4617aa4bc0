"""A timer that is exact to microseconds: the event loop's own comes up to a millisecond late, and that would show."""

from __future__ import annotations

import asyncio
import os

from benchmarks.pace import Pace


class Alarm(Pace):
    """A Pace that can be put away when a run is over."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._owner = loop

    def close(self) -> None:
        """Nothing comes due any more."""
        self._due.clear()
        self._owner.remove_reader(self._timer)
        os.close(self._timer)
