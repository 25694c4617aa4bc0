"""Where requests wait for an engine that is not there now: until something changes, or until they will wait no longer.

Nobody polls. Whoever waits holds nothing but itself: when its client leaves it is cancelled where it waits.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping

from router.errand import Wait


class Lobby:
    """Requests that wait, in the order in which they came, each with the model that it wants woken, if any."""

    def __init__(self) -> None:
        self._waiting: dict[Wait[None], str | None] = {}
        self.is_closed = False

    def __len__(self) -> int:
        return len(self._waiting)

    def wanted(self) -> Mapping[str, int]:
        """How many wait here, by the model that they want woken."""
        return Counter(model for model in self._waiting.values() if model is not None)

    async def news(self, limit_s: float, model: str | None) -> None:
        """Until `tell`, or for `limit_s`."""
        wait: Wait[None] = Wait()
        self._waiting[wait] = model
        timer = asyncio.get_running_loop().call_later(limit_s, wait.done, None)
        try:
            await wait
        finally:
            timer.cancel()
            self._waiting.pop(wait, None)

    def tell(self) -> None:
        """Something has changed: all look again, each in a turn of the loop of its own, for it may go on at once."""
        if self._waiting:
            loop = asyncio.get_running_loop()
            for wait in self._waiting:
                loop.call_soon(wait.done, None)

    def close(self) -> None:
        """The router stops: nobody waits any longer."""
        self.is_closed = True
        self.tell()
