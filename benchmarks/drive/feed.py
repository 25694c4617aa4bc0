"""The requests of a workload, the next one always ready to be sent, so that making it delays nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.workload.arrival import Arrival


@dataclass(frozen=True, slots=True)
class Ready:
    """A request, and its bytes."""

    arrival: Arrival
    raw: bytes


class Feed:
    """Draws from a workload, at most `most` requests. `error` is what ended it early: a bad line of a trace, say."""

    def __init__(self, arrivals: Iterator[Arrival], encoded: Callable[[Arrival], bytes], most: int | None) -> None:
        self._arrivals = arrivals
        self._encoded = encoded
        self._left = most
        self.error: Exception | None = None
        self.next: Ready | None = None
        self.load()

    def load(self) -> None:
        """Make the next one ready; None is left there at the end."""
        self.next = None
        if self._left == 0:
            return
        # Whatever a workload raises must reach who runs it, and this is called from callbacks of the event loop.
        try:
            arrival = next(self._arrivals, None)
            self.next = None if arrival is None else Ready(arrival, self._encoded(arrival))
        except Exception as error:
            self.error = error
        if self._left is not None:
            self._left -= 1
