"""Whom a keeper serves: the supervisor that lives, and the next one when that dies unasked.

The record of the supervisor says which it was. As long as the record is there, a dead supervisor is to be followed by
another; a record that is gone means that the end was ordered, or that somebody removed the home. Standard library only
and small, because every keeper loads it.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import signal
import time
from collections.abc import Callable, Sequence

from engines.processes.child import become
from engines.processes.orphans import is_dying, start_ticks

SUPERVISOR_RECORD = "supervisor.json"
# Tells the next supervisor that nobody but a keeper wanted it: it may only take the place that the record keeps free.
REVIVED_VARIABLE = "SPILLWAY_REVIVED"
# Keepers wait each a time of their own, so that one of them comes first and the others find its work done.
FIRST_S, SPREAD_S = 0.3, 0.5
LOOK_S, SELDOM_S = 0.5, 5.0
RETRY_S, MOST_S = 4.0, 60.0
# A supervisor that dies sooner is followed by the next one later and later.
SETTLED_S = 20.0
# So long another keeper may hold the claim to start the next supervisor without one appearing.
CLAIM_LIMIT_S = 30.0
CLONE_PARENT = 0x00008000
# Linux, arch/*/include/**/unistd*.h
CLONE_NUMBERS = {"x86_64": 56, "aarch64": 220}


class Succession:
    """`fd` becomes readable when the supervisor dies (-1 while none lives); then `look` is due at `due_s`."""

    def __init__(self, folder: str, log: str, reviver: Sequence[str], say: Callable[[str], None]) -> None:
        self._folder, self._log, self._reviver, self._say = folder, log, reviver, say
        self.fd = -1
        self.due_s = 0.0
        self._orphaned_s: float | None = None
        self._start_at_s = 0.0
        self._starts = 0
        self._served_s: float | None = None
        self._deaths = 0
        self._claim = -1

    def serve(self, pid: int, ticks: int | None) -> bool:
        """Watch this process; False if it does not live."""
        try:
            fd = os.pidfd_open(pid)
        except OSError:
            return False
        if ticks is None or start_ticks(pid) != ticks or is_dying(pid):
            os.close(fd)
            return False
        if self._orphaned_s is not None:
            self._say(f"supervisor {pid} has taken over")
            self._served_s = time.monotonic()
        self.close()
        self.fd, self._orphaned_s, self._starts = fd, None, 0
        return True

    def look(self) -> bool:
        """Find the supervisor that lives, or see to the next; False if the end was ordered."""
        try:
            named = self._named()
        except (FileNotFoundError, NotADirectoryError):
            self.close()
            return False
        if named is not None and self.serve(*named):
            return True
        now_s = time.monotonic()
        orphaned_for_s = now_s - self._bereaved_s(now_s)
        if now_s >= self._start_at_s and (self._claims() or orphaned_for_s > CLAIM_LIMIT_S):
            self._revive(now_s)
        pause_s = min(SELDOM_S, max(LOOK_S, orphaned_for_s / 10))
        self.due_s = self._start_at_s if now_s < self._start_at_s < now_s + pause_s else now_s + pause_s
        return True

    def _bereaved_s(self, now_s: float) -> float:
        """Since when there is no supervisor; seen first, the time for the next one is set."""
        if self._orphaned_s is not None:
            return self._orphaned_s
        self.close()
        is_early = self._served_s is not None and now_s - self._served_s < SETTLED_S
        self._deaths = self._deaths + 1 if is_early else 0
        self._orphaned_s = now_s
        self._start_at_s = now_s + min(MOST_S, (FIRST_S + SPREAD_S * _chance()) * 2**self._deaths)
        return now_s

    def leave(self) -> None:
        """The keeper ends because its child did: if the supervisor died too and nobody else has begun to, it starts the
        next one first."""
        if self.look() and self._orphaned_s is not None and not self._starts:
            self._start_at_s = 0.0
            self.look()
        self.close()

    def close(self) -> None:
        for fd in (self.fd, self._claim):
            if fd >= 0:
                os.close(fd)
        self.fd = self._claim = -1

    def _named(self) -> tuple[int, int | None] | None:
        """Whom the record names; None if it cannot be read. Raises FileNotFoundError where there is no record."""
        try:
            with open(os.path.join(self._folder, SUPERVISOR_RECORD), encoding="utf-8") as file:
                pid, ticks = json.load(file)["keeper"]
                return int(pid), int(ticks)
        except (FileNotFoundError, NotADirectoryError):
            raise
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _claims(self) -> bool:
        """Whether it is on this keeper to start the next supervisor. The kernel gives the claim back with its death."""
        if self._claim >= 0:
            return True
        try:
            claim = os.open(self._folder, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(claim)
            return False
        except OSError:
            # Folders cannot be locked here: then the supervisors' own lock must do.
            os.close(claim)
            return True
        self._claim = claim
        return True

    def _revive(self, now_s: float) -> None:
        number = CLONE_NUMBERS.get(os.uname().machine)
        if not self._reviver or number is None:
            return
        self._starts += 1
        self._start_at_s = now_s + min(MOST_S, RETRY_S * 2 ** (self._starts - 1)) * (0.75 + 0.5 * _chance())
        self._say("the supervisor is dead: the next one is started")
        # Not our child but our parent's: what descends from a keeper goes with it.
        arguments = [ctypes.c_long(each) for each in (number, CLONE_PARENT | signal.SIGCHLD, 0, 0, 0, 0)]
        if ctypes.PyDLL(None).syscall(*arguments) == 0:
            self._become_supervisor()

    def _become_supervisor(self) -> None:
        os.setsid()
        try:
            log = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError:
            log = os.open(os.devnull, os.O_WRONLY)
        become(self._reviver, {**os.environ, REVIVED_VARIABLE: "1"}, None, log)


def _chance() -> float:
    """Somewhere in 0 to 1; the module `random` would make every keeper larger."""
    return int.from_bytes(os.urandom(2), "big") / 65536
