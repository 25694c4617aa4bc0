"""One run of one child process under its keeper: start it, wait for its end, stop it.

Knows pids and pidfds; never what the child does, nor when it should run. Every process has a record on disk, a pid with
its start time, so that nothing is ever signalled by a bare pid.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from engines.processes.keeper import Orders
from engines.processes.orphans import cull, descendants, mapped_segments, remove_segments, start_ticks, tell

# A bare interpreter: no site packages, nothing from the environment, so that a keeper stays under 12 MB.
BOOT = "import sys; sys.path.insert(0, sys.argv[1]); from engines.processes.keeper import main; main(sys.argv[2])"
SWEEP_PAUSE_S = 0.05
# The convention of shells: 128 + n means ended by signal n.
SIGNAL_BASE = 128


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A pid and the tick at which it started: together they name one process for good."""

    pid: int
    ticks: int

    @classmethod
    def of(cls, pid: int) -> Self | None:
        """The process that has this pid now; None if there is none."""
        ticks = start_ticks(pid)
        return None if ticks is None else cls(pid, ticks)

    def lives(self) -> bool:
        """Whether that very process still runs (a zombie does not)."""
        return start_ticks(self.pid) == self.ticks

    def tell(self, number: int) -> None:
        """Send a signal, unless the process is gone."""
        if self.lives():
            tell(self.pid, number)


@dataclass(frozen=True, slots=True)
class Record:
    """What a keeper wrote down of itself and its child; the keeper's pid is the session of all that came of it."""

    name: str
    keeper: ProcessId
    child: ProcessId | None
    scratch: str | None


def records_folder(home: Path) -> Path:
    """Where keepers write their records, one file per name."""
    return home / "processes"


def read_records(home: Path) -> tuple[Record, ...]:
    """Every readable record; a torn or foreign file is left out."""
    found = (_read_record(path) for path in sorted(records_folder(home).glob("*.json")))
    return tuple(record for record in found if record)


def _read_record(path: Path) -> Record | None:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        child = None if raw["child"][1] is None else ProcessId(*raw["child"])
        return Record(raw["name"], ProcessId(*raw["keeper"]), child, raw["scratch"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


class Kept:
    """A running keeper with its child. One writer: the task that started it."""

    def __init__(self, orders: Orders, keeper: subprocess.Popen[bytes]) -> None:
        self.orders = orders
        self._keeper = keeper
        self._child: ProcessId | None = None

    @classmethod
    def start(cls, orders: Orders, env: Mapping[str, str]) -> Self:
        """Start keeper and child. The child gets exactly `env`. Raises OSError if there is no process to be had."""
        root = Path(__file__).resolve().parents[2]
        command = [sys.executable, "-I", "-S", "-c", BOOT, str(root), json.dumps(orders._asdict())]
        return cls(
            orders,
            subprocess.Popen(
                command,
                env=dict(env),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            ),
        )

    @property
    def keeper_pid(self) -> int:
        return self._keeper.pid

    def child(self) -> ProcessId | None:
        """The child's identity, as soon as the keeper has written it down."""
        if self._child is None:
            record = _read_record(Path(self.orders.record))
            if record and record.keeper.pid == self._keeper.pid:
                self._child = record.child
        return self._child

    async def wait(self) -> int:
        """Blocks until keeper and child are gone; the child's exit code, 128 + n for signal n, negative if the
        keeper itself was killed."""
        if self._keeper.poll() is None:
            await _ended(self._keeper.pid)
        code = self._keeper.wait()
        if self._keeper.stdin:
            self._keeper.stdin.close()
        return code

    def terminate(self) -> None:
        """TERM to the child, KILL after the grace of its orders. A second call ends the grace."""
        if self._keeper.poll() is None:
            self._keeper.terminate()


async def _ended(pid: int) -> None:
    """Waits until a process ends, without a thread and without polling. The pid must be a child or known to live."""
    loop = asyncio.get_running_loop()
    over: asyncio.Future[None] = loop.create_future()
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        loop.add_reader(fd, lambda: None if over.done() else over.set_result(None))
        await over
    finally:
        loop.remove_reader(fd)
        os.close(fd)


async def sweep_orphans(keepers: set[int]) -> None:
    """Kill and reap what killed keepers left to this process, which must be a subreaper.

    The only children this process has by intent are keepers; everything else below it is an orphan.
    """
    patience = iter(range(60))
    segments: set[int] = set()
    while orphans := descendants(os.getpid(), skip=keepers):
        segments |= mapped_segments(orphans)
        cull(orphans, trackers_too=next(patience, None) is None)
        _reap(orphans)
        await asyncio.sleep(SWEEP_PAUSE_S)
    remove_segments(segments, since_s=0.0)


def _reap(pids: set[int]) -> None:
    for pid in pids:
        try:
            os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            continue


def how_ended(code: int) -> str:
    """An exit code of `Kept.wait` in words."""
    number = -code if code < 0 else code - SIGNAL_BASE
    if number <= 0:
        return f"exit code {code}"
    return f"signal {signal.Signals(number).name}" if number in signal.valid_signals() else f"signal {number}"
