"""The parent of a router's workers, `python -m router.workers ORDERS`: keeps them running and answers nothing itself.

Each worker has a socket of its own at the shared port, which the parent keeps open: what waits in the queue of a dead
worker waits for its successor. The first worker goes ahead, so that whatever stops it (a ledger that cannot be
opened) is said once and ends the parent too. A dead worker's rows are cleared as soon as the parent has reaped it.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from socket import socket

from router.port import PortError, address, open_shared_port
from router.rows import clear_rows, open_rows
from router.seat import Place
from router.shown import open_shown

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 8.0
# A worker that lived this long is well: its next death counts as the first.
WELL_AFTER_S = 30.0
# What a worker may take beyond its own limit to drain before it is killed.
KILL_AFTER_S = 4.0


@dataclass(frozen=True, slots=True)
class Orders:
    """What the parent must know. `arguments` is the command line of `python -m router`; `rules_fd` goes to workers."""

    arguments: list[str]
    workers: int
    host: str
    port: int
    drain_s: float
    rules_fd: int


def become_parent(orders: Orders) -> None:
    """Turn this process into the parent. A new program, because reading stack.toml takes more memory than its whole
    work."""
    os.set_inheritable(orders.rules_fd, True)
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "router.workers", json.dumps(asdict(orders))])


def pause_s(deaths: int) -> float:
    """How long to wait before a worker is started again that has died so many times in a row."""
    return 0.0 if deaths <= 1 else min(FIRST_PAUSE_S * 2.0 ** min(deaths - 2, 10), LONGEST_PAUSE_S)


@dataclass(slots=True, eq=False)
class _Worker:
    """One seat and the process that has it now, if any. Written by the parent's loop only."""

    place: Place
    process: subprocess.Popen[bytes] | None = None
    started_at_s: float = 0.0
    due_at_s: float = 0.0
    deaths: int = 0


class Parent:
    """The workers of one port, from the first start to the end of the last."""

    def __init__(self, orders: Orders, sockets: Sequence[socket]) -> None:
        self._orders = orders
        self._sockets = sockets
        self._rows_fd = open_rows(orders.workers)
        self._ready_fd, told_fd = os.pipe()
        self._wake_fd = _signals_to_pipe()
        fds = (self._rows_fd, open_shown(), orders.rules_fd, told_fd)
        self._workers = [
            _Worker(Place(number, orders.workers, os.getpid(), each.fileno(), *fds))
            for number, each in enumerate(sockets)
        ]
        self._announced = False
        self._stopping = False
        self._kill_at_s: float | None = None
        self._code = 0

    def run(self) -> int:
        """Until TERM or INT, or until the first worker cannot start; the exit code."""
        while not (self._stopping and all(worker.process is None for worker in self._workers)):
            self._start_due()
            self._turn()
        return self._code

    def _turn(self) -> None:
        """Wait for one thing to happen and deal with it."""
        poll = select.poll()
        poll.register(self._wake_fd, select.POLLIN)
        poll.register(self._ready_fd, select.POLLIN)
        ready = {fd for fd, _ in poll.poll(self._wait_ms())}
        if self._wake_fd in ready:
            for number in os.read(self._wake_fd, 256):
                if number in {signal.SIGTERM, signal.SIGINT}:
                    self._stop(number)
        if self._ready_fd in ready:
            os.read(self._ready_fd, 256)
            self._announce()
        for worker in self._workers:
            if worker.process is not None and (code := worker.process.poll()) is not None:
                self._ended(worker, code)
        if self._kill_at_s is not None and time.monotonic() >= self._kill_at_s:
            self._send(signal.SIGKILL)
            self._kill_at_s = None

    def _wait_ms(self) -> float | None:
        times_s = [worker.due_at_s for worker in self._wanted() if worker.process is None]
        if self._kill_at_s is not None:
            times_s.append(self._kill_at_s)
        return max(0.0, min(times_s) - time.monotonic()) * 1000 + 1 if times_s else None

    def _wanted(self) -> Sequence[_Worker]:
        if self._stopping:
            return ()
        return self._workers if self._announced else self._workers[:1]

    def _start_due(self) -> None:
        now_s = time.monotonic()
        for worker in self._wanted():
            if worker.process is None and worker.due_at_s <= now_s:
                self._start(worker, now_s)

    def _start(self, worker: _Worker, now_s: float) -> None:
        command = [sys.executable, "-m", "router", *self._orders.arguments, "--seat", worker.place.text()]
        worker.started_at_s = now_s
        try:
            # A process group of its own: what the terminal sends goes to the parent alone, which passes it on once.
            worker.process = subprocess.Popen(command, pass_fds=worker.place.fds, process_group=0)
        except OSError as error:
            self._lost(worker, f"cannot be started ({error.strerror})", 1)

    def _announce(self) -> None:
        if not self._announced:
            print(f"router at {address(self._sockets[0])}", flush=True)
        self._announced = True

    def _ended(self, worker: _Worker, code: int) -> None:
        worker.process = None
        clear_rows(self._rows_fd, worker.place.number)
        if not self._stopping:
            self._lost(worker, f"ended with {how_ended(code)}", code)

    def _lost(self, worker: _Worker, what: str, code: int) -> None:
        if not self._announced:
            # The first one has said why, and the others would say the same.
            self._stopping, self._code = True, max(code, 1)
            _say(f"the router does not start: its first worker {what}")
            return
        now_s = time.monotonic()
        worker.deaths = 1 if now_s - worker.started_at_s >= WELL_AFTER_S else worker.deaths + 1
        wait_s = pause_s(worker.deaths)
        worker.due_at_s = now_s + wait_s
        again = f"again in {wait_s:g} s" if wait_s else "again at once"
        _say(f"worker {worker.place.number} {what}; it is started {again}")

    def _stop(self, number: int) -> None:
        if not self._stopping:
            self._stopping = True
            self._kill_at_s = time.monotonic() + self._orders.drain_s + KILL_AFTER_S
            # Nothing new is to wait in queues that nobody will read.
            for each in self._sockets:
                each.close()
        self._send(number)

    def _send(self, number: int) -> None:
        for worker in self._workers:
            if worker.process is not None:
                worker.process.send_signal(number)


def how_ended(code: int) -> str:
    """An exit code of subprocess in words."""
    if code >= 0:
        return f"exit code {code}"
    return f"signal {signal.Signals(-code).name if -code in signal.valid_signals() else -code}"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _signals_to_pipe() -> int:
    """Signals arrive as bytes on the returned pipe: TERM and INT to stop, CHLD when a worker ended."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    return reader


def main(orders: Orders) -> int:
    """The parent's whole life."""
    try:
        sockets = open_shared_port(orders.host, orders.port, orders.workers)
    except PortError as error:
        _say(str(error))
        return 1
    return Parent(orders, sockets).run()


if __name__ == "__main__":
    sys.exit(main(Orders(**json.loads(sys.argv[1]))))
