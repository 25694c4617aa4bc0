"""How many copies of requests run at once in one router process. A copy that finds no slot is not sent."""

from __future__ import annotations

# Copies are extra work for the router, for engines and for the purse: a burst of requests must not become two.
MOST_COPIES = 16


class Slots:
    """Belongs to one event loop."""

    __slots__ = ("_most", "taken")

    def __init__(self, most: int = MOST_COPIES) -> None:
        self._most = most
        self.taken = 0

    def take(self) -> bool:
        """Whether there was a free one, which is taken now."""
        if self.taken >= self._most:
            return False
        self.taken += 1
        return True

    def give_back(self) -> None:
        self.taken -= 1
