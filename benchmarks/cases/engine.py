"""What can be done to the engine of a stack of our own: kill it, let it hang, and put it right again.

The door to engine processes. It must not know when that happens, nor why.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

NAME = "smoke"
STOP_S = 10.0


class Engine(Protocol):
    """An engine that can be broken. Raises OSError or ValueError with a sentence where it cannot."""

    def kill(self) -> None:
        """As a crash does: at once, connections cut."""

    def hang(self) -> None:
        """It keeps its connections and says nothing any more."""

    def mend(self) -> None:
        """It goes on; one that was killed is started, unless somebody else does that."""


class FakeEngine:
    """The fake engine as a process of ours, which nobody else starts again. The one writer of its process."""

    def __init__(self, options: Sequence[str] = ()) -> None:
        """Starts it. Raises ValueError when it does not start."""
        self._options = list(options)
        self._port = 0
        self._process = self._started()

    @property
    def url(self) -> str:
        """Without `/v1`; the same for as long as this object lives."""
        return f"http://127.0.0.1:{self._port}"

    def kill(self) -> None:
        """Ends the process; what it had in flight is cut."""
        self._process.kill()
        self._process.communicate(timeout=STOP_S)

    def hang(self) -> None:
        """Stops the process where it is."""
        self._process.send_signal(signal.SIGSTOP)

    def mend(self) -> None:
        """Lets it go on, or starts it again at the same address."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
        else:
            self._process = self._started()

    def stop(self) -> None:
        """For good."""
        if self._process.returncode is None:
            self.kill()

    def _started(self) -> subprocess.Popen[str]:
        # The port of the first start is kept, because the router knows the engine by it.
        command = [sys.executable, "-m", "benchmarks", "engine", "--model", NAME, "--port", f"{self._port}"]
        # In a session of its own: a Ctrl-C ends the load first and the stack after it.
        process = subprocess.Popen(
            [*command, *self._options], stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        line = process.stdout.readline() if process.stdout else ""
        if " at " not in line:
            process.communicate(timeout=STOP_S)
            raise ValueError("the fake engine did not start; its reason stands above (look at --engine-options)")
        self._port = int(line.strip().removesuffix("/v1").rsplit(":", 1)[1])
        return process


class SupervisedEngine:
    """An engine under Spillway's supervisor, which starts it again. `pid_now` asks for its process, None: none now."""

    def __init__(self, pid_now: Callable[[], int | None]) -> None:
        self._pid_now = pid_now

    def kill(self) -> None:
        """Ends its process, as the kernel does when memory is short."""
        self._tell(signal.SIGKILL)

    def hang(self) -> None:
        """Stops its process where it is."""
        self._tell(signal.SIGSTOP)

    def mend(self) -> None:
        """Lets it go on. One that was killed is the supervisor's to start."""
        self._tell(signal.SIGCONT)

    def _tell(self, number: signal.Signals) -> None:
        # One that has just gone, or is not there again yet, is as dead as can be.
        if (pid := self._pid_now()) is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
