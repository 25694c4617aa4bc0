"""The small process between the supervisor and one child: when either ends, nothing of the child stays.

Started by `process` in a bare interpreter, standard library only, because one runs beside every engine. Its first line
on stdin is its orders and the child's environment; after it stdin is the lifeline: the starter holds the other end, so
its death (kill -9 included) reads as end of file here, and ends the child unless that `outlives` it. Knows nothing of
models or requests. Why a process of its own: PR_SET_PDEATHSIG reaches only the direct child, and an engine's
workers outlive a killed parent with the GPU memory in hand. As subreaper the keeper inherits them, whatever session
they made, finds them by walking parents in /proc, kills them and reaps them.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

from engines.processes.childlog import Log
from engines.processes.orphans import (
    cull,
    descendants,
    mapped_segments,
    remove_segments,
    remove_tree,
    start_ticks,
    tell,
    unlink,
)

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
READ_BYTES = 65536
SWEEP_PAUSE_S = 0.02
TRACKER_PATIENCE_S = 3.0
SWEEP_LIMIT_S = 30.0
AGAIN_S = 0.5
LOOK_EVERY_S = 10.0
LAST_WORDS = 64
# The convention of shells: 128 + n means ended by signal n.
SIGNAL_BASE = 128


class Orders(NamedTuple):
    """What a keeper is told. `scratch` is a folder of the child's that goes with it; `note` is kept in the record.

    `nice` is that of the whole session against others (0 as others, 19 last). A child that `outlives` its supervisor
    goes on when that dies unasked; then its keeper starts the next one by the command `reviver`.
    """

    name: str
    command: list[str]
    log: str
    record: str
    scratch: str | None
    grace_s: float
    log_bytes: int = 8 * 2**20
    log_files: int = 3
    nice: int = 0
    outlives: bool = False
    reviver: Sequence[str] = ()
    note: str = ""


class Keeper:
    """One child's life: start it, write down what it says, stop it when told, leave nothing behind."""

    def __init__(self, orders: Orders, env: dict[str, str]) -> None:
        self._orders, self._env = orders, env
        self._log = Log(orders.log, orders.log_bytes, orders.log_files)
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._child = 0
        self._status: int | None = None
        self._kill_at_s: float | None = None
        self._output = -1
        self._lifeline_open = not orders.outlives
        self._began_s = time.time()
        self._segments: set[int] = set()
        self._known: dict[str, object] = {}

    def run(self) -> int:
        """Blocks until everything is over; the child's exit code, 128 + n for signal n."""
        if os.getsid(0) != os.getpid():
            os.setsid()
        self._step_back()
        self._libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        wake = _signals_to_pipe()
        self._start()
        self._write_record()
        while self._status is None:
            self._turn(wake)
        return self._finish(self._status)

    def _step_back(self) -> None:
        """Linux shares the processors out by session: an engine that computes all the time would get as much as all
        who wait for its tokens. Kernels without such groups have no such file, and need nothing."""
        try:
            with open("/proc/self/autogroup", "w") as group:
                group.write(str(self._orders.nice))
        except OSError:
            return

    def _start(self) -> None:
        self._output, writer = os.pipe()
        os.set_blocking(self._output, False)
        keeper = os.getpid()
        self._child = os.fork()
        if self._child == 0:
            self._become_child(writer, keeper)
        os.close(writer)

    def _become_child(self, writer: int, keeper: int) -> None:
        os.setpgid(0, 0)
        # The signal goes with the keeper's death; it could have died before the call, hence the second look.
        self._libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != keeper:
            os._exit(1)
        for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(writer, 1)
        os.dup2(writer, 2)
        try:
            os.chdir(self._orders.scratch or ".")
            os.execvpe(self._orders.command[0], self._orders.command, self._env)
        except OSError as error:
            os.write(2, f"cannot start {self._orders.command[0]}: {error.strerror}\n".encode())
        os._exit(127)

    def _turn(self, wake: int) -> None:
        """Wait for one thing to happen and deal with it."""
        poll = select.poll()
        for fd in (wake, self._output, *([0] if self._lifeline_open else [])):
            if fd >= 0:
                poll.register(fd, select.POLLIN)
        wait_s = LOOK_EVERY_S if self._kill_at_s is None else max(0.0, self._kill_at_s - time.monotonic())
        ready = {fd for fd, _ in poll.poll(wait_s * 1000 + 1)}
        self._drain()
        if not ready:
            self._note_segments()
        if wake in ready:
            self._obey(os.read(wake, 256))
        if 0 in ready and not os.read(0, 256):
            self._lifeline_open = False
            self._stop()
        if self._kill_at_s is not None and time.monotonic() >= self._kill_at_s:
            self._cull()

    def _obey(self, signals: bytes) -> None:
        self._reap()
        if signal.SIGTERM in signals:
            self._stop()
        if signal.SIGUSR1 in signals:
            self._cull()

    def _cull(self) -> None:
        """KILL to all that is below, again and again until the child is gone."""
        self._note_segments()
        self._kill_at_s = time.monotonic() + AGAIN_S
        cull(descendants(os.getpid()), trackers_too=False)

    def _stop(self) -> None:
        """TERM to the child and a grace period; a second request ends the patience.

        Not to its group: vLLM's server tells its engine core itself once requests are done, and a core that gets the
        signal too dies first and cuts them off. What the child leaves is killed when it has ended.
        """
        self._note_segments()
        grace_s = self._orders.grace_s if self._kill_at_s is None else 0.0
        self._kill_at_s = time.monotonic() + grace_s
        if self._status is None:
            tell(self._child, signal.SIGTERM)

    def _note_segments(self) -> None:
        """Remember the shared memory in use, while there is still somebody who maps it."""
        self._segments |= mapped_segments(descendants(os.getpid()))

    def _drain(self) -> bool:
        """Take one piece of what the child has said, so that it never waits for us; False when there is none."""
        if self._output < 0:
            return False
        try:
            text = os.read(self._output, READ_BYTES)
        except BlockingIOError:
            return False
        if text:
            self._log.write(text)
            return True
        os.close(self._output)
        self._output = -1
        return False

    def _reap(self) -> bool:
        """Collect every ended child; False once there are none at all."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == self._child:
                self._status = status
            elif pid == 0:
                return True

    def _finish(self, status: int) -> int:
        """The child is gone: kill and reap all that it left, then remove its scratch folder and the record."""
        began_s = time.monotonic()
        self._note_segments()
        while self._reap() and time.monotonic() - began_s < SWEEP_LIMIT_S:
            cull(descendants(os.getpid()), trackers_too=time.monotonic() - began_s > TRACKER_PATIENCE_S)
            self._drain()
            time.sleep(SWEEP_PAUSE_S)
        for _ in range(LAST_WORDS):
            if not self._drain():
                break
        self._log.note(f"{self._orders.name} ended: {_words(status)}")
        remove_segments(self._segments, self._began_s)
        if self._orders.scratch:
            remove_tree(self._orders.scratch)
        code = os.waitstatus_to_exitcode(status)
        code = code if code >= 0 else SIGNAL_BASE - code
        self._write(ended_path(self._orders.record), {"ended": code})
        if left := descendants(os.getpid()):
            self._log.note(f"these processes do not die and may still hold memory: {sorted(left)}")
        else:
            unlink(self._orders.record)
        return code

    def _write_record(self) -> None:
        self._known = {
            "name": self._orders.name,
            "keeper": [os.getpid(), start_ticks(os.getpid())],
            "child": [self._child, start_ticks(self._child)],
            "command": self._orders.command,
            "scratch": self._orders.scratch,
            "note": self._orders.note,
            "grace_s": self._orders.grace_s,
        }
        self._write(self._orders.record, {})

    def _write(self, path: str, more: dict[str, object]) -> None:
        """The record, whole or not at all."""
        partial = f"{path}.{os.getpid()}"
        try:
            with open(partial, "w", encoding="utf-8") as file:
                json.dump({**self._known, **more}, file)
            os.replace(partial, path)
        except OSError as error:
            self._log.note(f"no process record: {error}")


def ended_path(record: str) -> str:
    """Where a keeper leaves how its child ended, for a supervisor that is not its parent."""
    return record.removesuffix(".json") + ".ended"


def _words(status: int | None) -> str:
    if status is None:
        return "unknown"
    return f"exit code {os.WEXITSTATUS(status)}" if os.WIFEXITED(status) else f"signal {os.WTERMSIG(status)}"


def _signals_to_pipe() -> int:
    """Signals arrive as bytes on the returned pipe: TERM stops the child, USR1 kills all at once, CHLD says
    that one ended."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGUSR1):
        signal.signal(number, lambda *_: None)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    return reader


def main() -> None:
    """The keeper's whole life. A starter that dies before it has said all has started nothing."""
    said = b""
    while not said.endswith(b"\n"):
        if not (more := os.read(0, READ_BYTES)):
            sys.exit(1)
        said += more
    told = json.loads(said)
    sys.exit(Keeper(Orders(**told["orders"]), told["env"]).run())
