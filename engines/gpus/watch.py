"""Reading the GPUs without waiting for the driver for ever: once, or again and again.

A call into a wedged driver blocks for good and heeds no signal, so the calls are made on a thread of their own, which
keeps no process from ending.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Protocol

from engines.gpus.gpu import Gpus

# A read takes milliseconds, but the first may take many seconds: a driver that is not kept loaded (no persistence mode)
# wakes every card of the machine.
PATIENCE_S = 30.0
NOT_YET = Gpus((), "the GPUs have not been read yet")


class Reader(Protocol):
    """What is watched; `engines.gpus.nvml.open_reader` makes one."""

    def read(self) -> Gpus: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Reading:
    """What was told at one time. `began_s` is when it was asked for, by time.monotonic(): nothing in it is older.

    `is_stuck`: the driver owes an answer for longer than is its way; `gpus.faults` then says so too, and `gpus.seen`
    is what it told last.
    """

    gpus: Gpus
    began_s: float
    is_stuck: bool = False


def read_once(reader: Reader, patience_s: float = PATIENCE_S) -> Gpus:
    """Read and close. A driver that does not answer in time is a reason for no GPUs."""
    told: Future[Gpus] = Future()

    def read() -> None:
        try:
            try:
                gpus = reader.read()
            finally:
                reader.close()
        except Exception as error:
            told.set_exception(error)
        else:
            told.set_result(gpus)

    threading.Thread(target=read, name="gpu read", daemon=True).start()
    try:
        return told.result(patience_s)
    except TimeoutError:
        return Gpus((), _stuck(patience_s), faults=(_stuck(patience_s),), is_down=True)


class GpuWatch:
    """Reads the GPUs every `every_s`; `latest` answers at once. Close it after use."""

    def __init__(self, reader: Reader, every_s: float, patience_s: float = PATIENCE_S) -> None:
        self._reader, self._every_s, self._patience_s = reader, every_s, patience_s
        self._last = Reading(NOT_YET, time.monotonic())
        # When the read that is under way began. Written by the thread alone, as `_last` is.
        self._asked_s: float | None = None
        self._wanted = threading.Event()
        self._is_closed = False
        self._lets_go = False
        threading.Thread(target=self._run, name="gpu watch", daemon=True).start()

    def latest(self) -> Reading:
        """The last reading; before the first has come, one without GPUs that says so."""
        asked_s, last = self._asked_s, self._last
        waited_s = 0.0 if asked_s is None else time.monotonic() - asked_s
        if waited_s <= self._patience_s:
            return last
        stuck = _stuck(waited_s)
        gpus = replace(last.gpus, faults=(*last.gpus.faults, stuck), why_none=last.gpus.why_none and stuck)
        return Reading(gpus, last.began_s, is_stuck=True)

    def hurry(self) -> None:
        """Read as soon as may be; `latest` has it once its `began_s` is later than this call."""
        self._wanted.set()

    def let_go(self, lets_go: bool) -> None:
        """Whether to end the session with the driver after each read: while it lasts no GPU can be reset."""
        self._lets_go = lets_go

    def close(self) -> None:
        """Read no more. A read that is under way is left to itself."""
        self._is_closed = True
        self._wanted.set()

    def _run(self) -> None:
        while not self._is_closed:
            began_s = time.monotonic()
            self._asked_s = began_s
            gpus = self._reader.read()
            self._last = Reading(gpus, began_s)
            if self._lets_go:
                self._reader.close()
            self._asked_s = None
            self._wanted.wait(self._every_s)
            self._wanted.clear()
        self._reader.close()


def _stuck(waited_s: float) -> str:
    return f"the NVIDIA driver has not answered for {waited_s:.0f} s: look for NVRM in the kernel's log, and reboot"
