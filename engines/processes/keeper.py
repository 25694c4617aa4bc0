"""The small process between the supervisor and one child: when the child or the keeper ends, nothing of it stays.

Started by `process` in a bare interpreter, standard library only, because one runs beside every engine. Its first line
on stdin is its orders and the child's environment; after it stdin is the lifeline: the starter holds the other end, so
its death (kill -9 included) reads as end of file here, and ends the child, unless that `outlives` it: then
`succession` says who is served. Knows nothing of models or requests. Why a process of its own: PR_SET_PDEATHSIG reaches
only the direct child, and an engine's workers outlive a killed parent with the GPU memory in hand. As subreaper the
keeper inherits them, whatever session they made, finds them by walking parents in /proc, kills them and reaps them.
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

from engines.processes import cgroup
from engines.processes.child import fork_child, signals_to_pipe, step_back
from engines.processes.childlog import Log
from engines.processes.orphans import (
    cull,
    descendants,
    mapped_segments,
    named_segments,
    remove_segments,
    remove_tree,
    segments,
    tell,
)
from engines.processes.registration import OOM_END, UNKNOWN_END, Registration
from engines.processes.succession import Succession

PR_SET_CHILD_SUBREAPER = 36
READ_BYTES = 65536
SWEEP_PAUSE_S = 0.02
TRACKER_PATIENCE_S = 3.0
SWEEP_LIMIT_S = 30.0
AGAIN_S = 0.5
LOOK_EVERY_S = 10.0
LAST_WORDS = 64
# Which of its orders a keeper writes into its record.
RECORDED = ("name", "command", "scratch", "note", "grace_s")
# The convention of shells: 128 + n means ended by signal n.
SIGNAL_BASE = 128
WHY = {OOM_END: ", killed by the kernel for lack of memory"}
EXIT_CODES = range(256)


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
    """One child's life: start it, write down what it says, stop it when told, leave nothing behind.

    `starter` is the pid and the start tick of the process that it serves first.
    """

    def __init__(self, orders: Orders, env: dict[str, str], starter: tuple[int, int | None]) -> None:
        self._orders, self._env = orders, env
        self._log = Log(orders.log, orders.log_bytes, orders.log_files)
        self._child = 0
        self._status: int | None = None
        self._kill_at_s: float | None = None
        self._culled_s: float | None = None
        self._terms = 0
        self._output = -1
        self._lifeline_open = not orders.outlives
        self._succession = self._succeed(starter) if orders.outlives else None
        self._group: str | None = None
        self._look_at_s = 0.0
        self._ooms = cgroup.OomCount(None)
        self._registration: Registration | None = None
        self._older_segments = segments()
        self._segments: set[int] = set()

    def run(self) -> int:
        """Blocks until everything is over; the child's exit code, 128 + n for signal n."""
        if os.getsid(0) != os.getpid():
            os.setsid()
        step_back(self._orders.nice)
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        wake = signals_to_pipe((signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD))
        orders = self._orders
        self._group = cgroup.make(f"spillway-{orders.name}-{os.getpid()}")
        self._ooms = cgroup.OomCount(self._group)
        self._child, self._output = fork_child(orders.command, self._env, orders.scratch, self._group, orders.nice)
        self._env = {}
        more = {key: value for key, value in orders._asdict().items() if key in RECORDED} | {"cgroup": self._group}
        self._registration = Registration(orders.record, self._child, more, self._log.note)
        while self._status is None and not self._is_hopeless():
            self._turn(wake)
        return self._finish(self._registration)

    def _succeed(self, starter: tuple[int, int | None]) -> Succession:
        log = os.path.join(os.path.dirname(self._orders.log), "supervisor.log")
        folder = os.path.dirname(self._orders.record)
        succession = Succession(folder, log, self._orders.reviver, self._log.note)
        succession.serve(*starter)
        return succession

    def _turn(self, wake: int) -> None:
        """Wait for one thing to happen and deal with it."""
        supervisor = self._succession.fd if self._succession else -1
        poll = select.poll()
        for fd in (wake, self._output, supervisor, *([0] if self._lifeline_open else [])):
            if fd >= 0:
                poll.register(fd, select.POLLIN)
        ready = {fd for fd, _ in poll.poll(self._wait_s() * 1000 + 1)}
        self._drain()
        if wake in ready:
            self._obey(os.read(wake, 256))
        if self._status is None and time.monotonic() >= self._look_at_s:
            self._look()
        if 0 in ready and not os.read(0, 256):
            self._lifeline_open = False
            self._stop()
        self._heed_supervisor(supervisor in ready)
        if self._kill_at_s is not None and time.monotonic() >= self._kill_at_s:
            self._cull()

    def _wait_s(self) -> float:
        due_s = [self._look_at_s]
        if self._kill_at_s is not None:
            due_s.append(self._kill_at_s)
        if self._succession and self._succession.fd < 0:
            due_s.append(self._succession.due_s)
        return max(0.0, min(due_s) - time.monotonic())

    def _look(self) -> None:
        """What must be known from before the end: who maps which shared memory, whom the kernel has killed so far."""
        self._look_at_s = time.monotonic() + LOOK_EVERY_S
        self._note_segments()
        self._ooms.look()
        if self._registration:
            self._registration.update(named_segments(self._segments))

    def _heed_supervisor(self, has_died: bool) -> None:
        """Go on without a supervisor that died unasked; stop if its end was ordered."""
        if self._succession is None:
            return
        is_due = self._succession.fd < 0 and time.monotonic() >= self._succession.due_s
        if (has_died or is_due) and not self._succession.look():
            self._log.note("the supervisor has ended in order, or its folder is gone")
            self._stop()

    def _obey(self, signals: bytes) -> None:
        self._reap()
        if signal.SIGTERM in signals:
            self._terms += 1
            self._stop()
        if signal.SIGUSR1 in signals:
            self._cull()

    def _stop(self) -> None:
        """TERM to the child and a grace period; a second request ends the patience.

        Not to its group: vLLM's server tells its engine core itself once requests are done, and a core that gets the
        signal too dies first and cuts them off. What the child leaves is killed when it has ended.
        """
        self._begin_to_end()
        if self._kill_at_s is None or self._terms > 1:
            self._kill_at_s = time.monotonic() + (self._orders.grace_s if self._kill_at_s is None else 0.0)
        if self._status is None:
            tell(self._child, signal.SIGTERM)

    def _cull(self) -> None:
        """KILL to all that is below, again and again until the child is gone."""
        self._begin_to_end()
        now_s = time.monotonic()
        self._kill_at_s = now_s + AGAIN_S
        self._culled_s = self._culled_s or now_s
        cull(descendants(os.getpid()), trackers_too=False)

    def _begin_to_end(self) -> None:
        """Whoever ends needs no supervisor any more. What maps shared memory is asked while it lives."""
        self._note_segments()
        if self._succession:
            self._succession.close()
            self._succession = None

    def _is_hopeless(self) -> bool:
        """Whether the child has withstood every KILL: it waits in the kernel for what never comes."""
        return self._culled_s is not None and time.monotonic() - self._culled_s > SWEEP_LIMIT_S

    def _note_segments(self) -> None:
        """Remember the shared memory in use, while there is still somebody who maps it."""
        self._segments |= mapped_segments(descendants(os.getpid())) - self._older_segments

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

    def _finish(self, registration: Registration) -> int:
        """The child is gone: kill and reap all that it left, then remove its scratch folder and the record."""
        code = self._code()
        self._note_segments()
        self._sweep()
        for _ in range(LAST_WORDS):
            if not self._drain():
                break
        self._log.note(f"{self._orders.name} ended: {_words(self._status)}{WHY.get(code, '')}")
        remove_segments(self._segments)
        if self._orders.scratch:
            remove_tree(self._orders.scratch)
        if self._succession:
            self._succession.leave()
        registration.end(code)
        if left := descendants(os.getpid()):
            self._log.note(f"these processes do not die and may still hold memory: {sorted(left)}")
        else:
            registration.remove()
        return code if code in EXIT_CODES else SIGNAL_BASE + signal.SIGKILL

    def _sweep(self) -> None:
        began_s = time.monotonic()
        while self._reap() and (waited_s := time.monotonic() - began_s) < SWEEP_LIMIT_S:
            trackers_too = waited_s > TRACKER_PATIENCE_S
            cull(descendants(os.getpid()), trackers_too)
            if trackers_too and self._group is not None:
                cgroup.kill(self._group)
            self._drain()
            time.sleep(SWEEP_PAUSE_S)
        if self._group is not None:
            cgroup.remove(self._group)

    def _code(self) -> int:
        """How the child ended. Of the machine's victims one may be ours only if a KILL not of our own ended it."""
        if self._status is None:
            return UNKNOWN_END
        code = os.waitstatus_to_exitcode(self._status)
        may_be_oom = code == -signal.SIGKILL or (self._ooms.is_exact and code != 0)
        if may_be_oom and self._culled_s is None and self._ooms.has_grown():
            return OOM_END
        return code if code >= 0 else SIGNAL_BASE - code


def _words(status: int | None) -> str:
    if status is None:
        return "it does not die"
    return f"exit code {os.WEXITSTATUS(status)}" if os.WIFEXITED(status) else f"signal {os.WTERMSIG(status)}"


def main() -> None:
    """The keeper's whole life. A starter that dies before it has said all has started nothing."""
    said = b""
    while not said.endswith(b"\n"):
        if not (more := os.read(0, READ_BYTES)):
            sys.exit(1)
        said += more
    told = json.loads(said)
    sys.exit(Keeper(Orders(**told["orders"]), told["env"], told["starter"]).run())
