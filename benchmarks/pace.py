"""Calls back at exact times: a Linux timer as a file descriptor, because the timers of an event loop tick once a
millisecond and would bunch a dozen tokens of different streams into one moment.

The one door to that timer. It must not know what is due.
"""

from __future__ import annotations

import asyncio
import ctypes
import heapq
import itertools
import os
import time
from collections.abc import Callable

CLOCK_MONOTONIC = 1
TFD_TIMER_ABSTIME = 1
TFD_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC


class _Times(ctypes.Structure):
    """`struct itimerspec`: the interval, which stays zero, and the moment, each in seconds and nanoseconds."""

    _fields_ = tuple((name, ctypes.c_long) for name in ("interval_s", "interval_ns", "at_s", "at_ns"))


class Pace:
    """What is due when. The one writer of the queue; used from the thread of its event loop only."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Raises OSError where the kernel has no such timer."""
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._armed_s = 0.0
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._timer = self._libc.timerfd_create(CLOCK_MONOTONIC, TFD_FLAGS)
        if self._timer < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create failed: the stub engine needs Linux")
        self._loop = loop
        loop.add_reader(self._timer, self._run)

    def at(self, moment_s: float, act: Callable[[], None]) -> None:
        """Call `act` at this moment of `time.monotonic`."""
        heapq.heappush(self._due, (moment_s, next(self._numbers), act))
        self._arm()

    def close(self) -> None:
        """Nothing comes due any more."""
        self._due.clear()
        self._loop.remove_reader(self._timer)
        os.close(self._timer)

    def _run(self) -> None:
        try:
            os.read(self._timer, 8)
        except BlockingIOError:
            # Set anew between the wake-up and this call.
            return
        self._armed_s = 0.0
        now_s = time.monotonic()
        while self._due and self._due[0][0] <= now_s:
            heapq.heappop(self._due)[2]()
        self._arm()

    def _arm(self) -> None:
        if not self._due or (self._armed_s and self._armed_s <= self._due[0][0]):
            return
        self._armed_s = self._due[0][0]
        # Never all zero, which would disarm.
        whole_s, part_s = divmod(max(self._armed_s, 1e-9), 1.0)
        times = _Times(0, 0, int(whole_s), int(part_s * 1e9))
        self._libc.timerfd_settime(self._timer, TFD_TIMER_ABSTIME, ctypes.byref(times), None)
