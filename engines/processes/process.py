"""One run of one child process under its keeper: start it, or adopt it, wait for its end, stop it.

Knows pids and pidfds; never what the child does, nor when it should run.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from engines.processes.keeper import SIGNAL_BASE, SWEEP_LIMIT_S, TRACKER_PATIENCE_S, Orders
from engines.processes.orphans import cull, descendants, mapped_segments, remove_segments, start_ticks, tell, unlink
from engines.processes.record import (
    ProcessId,
    Record,
    read_record,
    record_path,
    take_end,
)
from engines.processes.registration import OOM_END, UNKNOWN_END, ended_path
from engines.processes.remains import bury

# A bare interpreter: no site packages, nothing from the environment, so that a keeper stays under 12 MB. The name is
# for those who read the list of processes.
BOOT = "import sys; sys.path.insert(0, sys.argv[1]); from engines.processes.keeper import main; main()"
SWEEP_PAUSE_S = 0.05
# How often a wait looks whether a keeper was told to end and does not.
LOOK_S = 1.0
# Beyond the child's grace and the keeper's own sweeping. A KILL needs no grace.
MARGIN_S, KILL_LIMIT_S = 10.0, 10.0
# More than any environment, so that telling a keeper its orders never waits for it.
ORDERS_BYTES = 2**20
NO_CODES = {UNKNOWN_END: "unknown end", OOM_END: "signal SIGKILL: killed by the kernel for lack of memory"}


class Kept:
    """A running keeper with its child. One writer: the task that started or adopted it."""

    def __init__(self, orders: Orders, keeper_pid: int, own: subprocess.Popen[bytes] | None) -> None:
        self.orders = orders
        self.keeper_pid = keeper_pid
        self._own = own
        self._keeper = ProcessId.of(keeper_pid)
        self._child: ProcessId | None = None
        self._limit_s: float | None = None

    @classmethod
    def start(cls, orders: Orders, env: Mapping[str, str]) -> Self:
        """Start keeper and child. The child gets exactly `env`. Raises OSError if there is no process to be had."""
        root = Path(__file__).resolve().parents[2]
        unlink(ended_path(orders.record))
        keeper = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", BOOT, str(root), orders.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            bufsize=0,
        )
        _say(keeper, _line(orders, env))
        return cls(orders, keeper.pid, keeper)

    @classmethod
    def adopt(cls, record: Record, home: Path) -> Self:
        """Take over what an earlier supervisor started."""
        orders = Orders(
            name=record.name,
            command=list(record.command),
            log=str(home / "logs" / f"{record.name}.log"),
            record=str(record_path(home, record.name)),
            scratch=record.scratch,
            grace_s=record.grace_s,
            outlives=True,
            note=record.note,
        )
        found = cls(orders, record.keeper.pid, None)
        found._keeper, found._child = record.keeper, record.child
        return found

    def child(self) -> ProcessId | None:
        """The child's identity, as soon as the keeper has written it down."""
        if self._child is None:
            record = read_record(Path(self.orders.record))
            if record and record.keeper.pid == self.keeper_pid:
                self._child = record.child
        return self._child

    async def wait(self) -> int:
        """Blocks until keeper and child are gone; the child's exit code, 128 + n for signal n, negative if the
        keeper itself was killed, UNKNOWN_END if nobody knows, OOM_END if the kernel killed it for lack of memory.

        A keeper that was told to end and does not, whatever holds it, is killed and what it leaves is swept.
        """
        while self._lives():
            await _ended(self.keeper_pid, LOOK_S)
            if self._limit_s is not None and time.monotonic() > self._limit_s:
                self._signal(signal.SIGKILL)
        told = take_end(Path(ended_path(self.orders.record)))
        known = told.ended if told and told.keeper == self._keeper else None
        code = UNKNOWN_END if self._own is None else self._own.wait()
        if self._own and self._own.stdin:
            self._own.stdin.close()
        if known is None:
            await self._bury()
        return code if known is None else known

    async def _bury(self) -> None:
        """A keeper that told no end was killed: what it left is found by its record."""
        path = Path(self.orders.record)
        record = read_record(path)
        if record and record.keeper == self._keeper:
            await asyncio.to_thread(bury, path.parents[1], record)

    def terminate(self) -> None:
        """TERM to the child, KILL after the grace of its orders. A second call ends the grace."""
        self._tell(signal.SIGTERM, self.orders.grace_s + SWEEP_LIMIT_S + MARGIN_S)

    def kill(self) -> None:
        """KILL to all that the keeper has, at once; it stays to reap them."""
        self._tell(signal.SIGUSR1, KILL_LIMIT_S)

    def _tell(self, number: int, limit_s: float) -> None:
        """The keeper has so long to see to it. One that somebody has stopped goes on first."""
        limit_s += time.monotonic()
        self._limit_s = limit_s if self._limit_s is None else min(self._limit_s, limit_s)
        self._signal(number)
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        if self._lives():
            tell(self.keeper_pid, number)

    def _lives(self) -> bool:
        """Whether the keeper does. Asking for a child of ours also reaps it, so that its pid is not reused before."""
        if self._own is not None:
            return self._own.poll() is None
        return self._keeper is not None and self._keeper.lives()


def _line(orders: Orders, env: Mapping[str, str]) -> bytes:
    own = os.getpid()
    told = {"orders": orders._asdict(), "env": dict(env), "starter": [own, start_ticks(own)]}
    return json.dumps(told).encode() + b"\n"


def _say(keeper: subprocess.Popen[bytes], line: bytes) -> None:
    """Tell a keeper its orders. One that is dead already is found out by waiting for it."""
    if keeper.stdin is None:
        return
    fd = keeper.stdin.fileno()
    try:
        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, ORDERS_BYTES)
        while line:
            line = line[os.write(fd, line) :]
    except OSError:
        return


async def _ended(pid: int, limit_s: float) -> None:
    """Waits until a process ends, without a thread, or for so long. The pid must be a child or known to live."""
    loop = asyncio.get_running_loop()
    over: asyncio.Future[None] = loop.create_future()
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        loop.add_reader(fd, lambda: None if over.done() else over.set_result(None))
        await asyncio.wait({over}, timeout=limit_s)
    finally:
        loop.remove_reader(fd)
        os.close(fd)


async def sweep_orphans(keepers: set[int]) -> None:
    """Kill and reap what killed keepers left to this process, which must be a subreaper.

    The only children this process has by intent are `keepers`; everything else below it is an orphan. One that no KILL
    ends, because it waits in the kernel for what never comes, is not waited for any longer.
    """
    began_s = time.monotonic()
    segments: set[int] = set()
    while orphans := descendants(os.getpid(), skip=keepers):
        waited_s = time.monotonic() - began_s
        if waited_s > SWEEP_LIMIT_S:
            break
        segments |= mapped_segments(orphans)
        cull(orphans, trackers_too=waited_s > TRACKER_PATIENCE_S)
        _reap(orphans)
        await asyncio.sleep(SWEEP_PAUSE_S)
    remove_segments(segments)


def _reap(pids: set[int]) -> None:
    for pid in pids:
        try:
            os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            continue


def how_ended(code: int) -> str:
    """An exit code of `Kept.wait` in words."""
    if code in NO_CODES:
        return NO_CODES[code]
    number = -code if code < 0 else code - SIGNAL_BASE
    if number <= 0:
        return f"exit code {code}"
    return f"signal {signal.Signals(number).name}" if number in signal.valid_signals() else f"signal {number}"
