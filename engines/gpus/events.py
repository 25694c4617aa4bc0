"""What the driver says of its own accord: a thread waits for its events, whoever judges takes them.

Xids are told nowhere else in NVML. The thread keeps no process from ending, and no trouble ends it: no driver, cards
that tell no events, a card that is lost, a driver that is loaded anew.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from typing import Protocol

from engines.gpus import xids
from engines.gpus.faults import DriverError
from engines.gpus.listener import NvmlListener
from engines.gpus.trouble import XID_REST_S
from engines.gpus.xids import XidEvent

# A call that waits cannot be interrupted, so each is short.
SLICE_S = 0.5
# Where there is no driver, or nothing to listen to.
AGAIN_S = 30.0
# While a card is missing the session ends now and then: only after all of this process have ended does the driver show
# a card that has come back, so the gap is longer than the time between two readings.
PART_S = 25.0
GAP_S = 5.0


class Listener(Protocol):
    """One session with the driver at a time; `engines.gpus.listener.NvmlListener`."""

    def open(self, leave: Collection[str]) -> bool: ...

    def wait(self, limit_s: float) -> XidEvent | None: ...

    def close(self) -> None: ...


class GpuEvents:
    """Listens from now on. `hurry` is called at each event, to read the GPUs at once. Close it after use."""

    def __init__(self, listener: Listener | None = None, hurry: Callable[[], None] = lambda: None) -> None:
        self._listener, self._hurry = listener or NvmlListener(), hurry
        self._heard: deque[XidEvent] = deque()
        self._closed = threading.Event()
        # Cards that had an error that closes them are not held, so that they can be reset; until when, by UUID.
        self._left: dict[str, float] = {}
        threading.Thread(target=self._run, name="gpu events", daemon=True).start()

    def take(self) -> tuple[XidEvent, ...]:
        """All events since this was asked last, oldest first."""
        taken = []
        while self._heard:
            taken.append(self._heard.popleft())
        return tuple(taken)

    def close(self) -> None:
        """Listen no more; a wait that is under way is left to itself."""
        self._closed.set()

    def _run(self) -> None:
        while not self._closed.is_set():
            self._closed.wait(self._listen())

    def _listen(self) -> float:
        """One session. How long to wait before the next."""
        now_s = time.monotonic()
        self._left = {uuid: until_s for uuid, until_s in self._left.items() if until_s > now_s}
        try:
            is_whole = self._listener.open(self._left)
        except DriverError:
            self._listener.close()
            return AGAIN_S
        try:
            self._hear_until(math.inf if is_whole else now_s + PART_S)
        except DriverError:
            # A card is lost, or the driver as a whole; the next session is without it.
            pass
        finally:
            self._listener.close()
        return GAP_S

    def _hear_until(self, end_s: float) -> None:
        """Until then, or until an error closes a card; what has come with that is heard too."""
        limit_s = SLICE_S
        while not self._closed.is_set() and time.monotonic() < end_s:
            event = self._listener.wait(limit_s)
            if event is None:
                if not limit_s:
                    return
                continue
            self._heard.append(event)
            self._hurry()
            if xids.closes(event):
                self._left[event.uuid] = event.at_s + XID_REST_S
                limit_s = 0.0
