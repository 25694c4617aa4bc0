"""Open the doors, listen, and serve until told to stop. The only place where the router's parts are put together."""

from __future__ import annotations

import asyncio
import gc
import math
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from socket import socket
from types import FrameType

import structlog
import uvicorn
from starlette.applications import Starlette

from engines.snapshot import ModelView
from router.app import create_app
from router.basin import Basin
from router.books import read_wanted
from router.clouds.cloud import Clouds
from router.edits import Edits
from router.feed import Line, poll_engines
from router.foresight import line_gauges
from router.front import Front
from router.health.retries import Budget
from router.ledger import Ledger, LedgerError
from router.lobby import Lobby
from router.metrics import Metrics
from router.outbox import Outbox
from router.pacing import Pacing
from router.port import PortError, open_port, port_of
from router.quotas.quotas import Quotas
from router.report import Reports
from router.rows import Rows
from router.seat import ALONE, Seat, announce
from router.served import Doors
from router.tables.keys import Keys
from router.tables.rules import Rules
from router.upstream import Upstream
from router.watch import Watch

# Clouds are let go of by tasks, which need a moment and a few turns of the loop.
LAST_WORDS_S = 2.0
TURN_S = 0.01
# New objects before the young, runs before the middle and the old generation are searched for garbage.
COLLECT_EACH = (50_000, 20, 100)
# How long to wait for the first Snapshot before requests are taken, and how often to look.
HEAR_S = 1.0
HEAR_EACH_S = 0.01
# How often targets are compared with their like.
COMPARE_EACH_S = 5.0
LEDGER = "ledger.sqlite3"
# Longer than the usual clients keep a connection (aiohttp 15 s, Go 90 s), so that it is they who close it.
IDLE_S = 120


@dataclass(frozen=True, slots=True)
class Alone:
    """Engines that run elsewhere (name -> URL), and locked facts of models, for a router without a supervisor."""

    engines: Mapping[str, str]
    models: tuple[ModelView, ...]


# Plain tracebacks. Pretty ones tell what variables hold, which is keys and prompts, and take seconds in which no stream
# goes on.
structlog.configure(
    processors=[
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper("iso"),
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ],
    logger_factory=structlog.PrintLoggerFactory(sys.stderr),
)


def serve(rules: Rules, keys: Keys, alone: Alone, home: Path, seat: Seat = ALONE, config: Path | None = None) -> int:
    """Serve until TERM or INT; returns the exit code. Without engines in `alone`, `home` has a supervisor. The rules
    are read again from `config` when that changes."""
    try:
        listening = seat.listening or open_port(rules.endpoint.host, rules.endpoint.port)
        ledger = Ledger(home / LEDGER, worker=seat.number)
    except (PortError, LedgerError) as error:
        print(error, file=sys.stderr)
        return 1
    kept = _Kept(ledger, Pacing(ledger, partial(read_wanted, home / LEDGER)), Quotas(home / "quotas"))
    doors = _open(_at_port(rules, port_of(listening)), keys, kept, seat, config, bool(alone.engines))

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[dict[str, object]]:
        loops = (
            _feed(alone, home, doors),
            _warm(doors),
            doors.edits.keep(),
            doors.reports.keep(),
            keep_comparing(doors.watch),
            doors.pacing.keep(),
        )
        tasks = [asyncio.create_task(each) for each in loops]
        await _hear(doors.watch)
        yield {"doors": doors}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await _stop(doors.outbox)
        await doors.upstream.close()
        await doors.clouds.close()
        await doors.counter.close()
        doors.quotas.close()
        ledger.close()
        doors.reports.show()

    server = _Server(_config(create_app(lifespan), rules.limits.drain_s), doors.lobby)
    # A signal before uvicorn listens to it counts too.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, server.handle_exit)
    announce(seat, listening)
    server.run(sockets=[listening])
    return 0


@dataclass(frozen=True, slots=True)
class _Kept:
    """What outlives the process, in its home."""

    ledger: Ledger
    pacing: Pacing
    quotas: Quotas


def _open(rules: Rules, keys: Keys, kept: _Kept, seat: Seat, config: Path | None, is_open: bool) -> Doors:
    """All doors, none of which needs the loop yet. `is_open`: engines are used that no table names."""
    ledger, pacing, quotas = kept.ledger, kept.pacing, kept.quotas
    watch = Watch(rules, None if seat.rows_fd is None else Rows(seat.rows_fd, seat.number, seat.workers))
    watch.retries = Budget(seat.workers)
    clouds = Clouds(watch.deployed.all)
    watch.cloud_off = clouds.off
    quotas.obey(watch.deployed.all)
    watch.deployed.on_change, watch.rooms = quotas.obey, quotas.rooms
    lobby, outbox = Lobby(), Outbox()
    basin = Basin(watch)

    def stir() -> None:
        lobby.tell()
        basin.stir()

    watch.on_change = stir
    upstream = Upstream(rules.limits, outbox)
    metrics = Metrics(
        watch.now,
        lambda: ledger.spent,
        seat.workers,
        watch.newest,
        lambda: pacing.now(watch.rules),
        lambda: line_gauges(watch.pools, time.monotonic()),
    )
    reports = Reports(seat, watch, metrics, ledger)
    edits = Edits(config, watch, clouds, upstream, seat.rules_fd, is_open)
    line = Line(watch, lobby)
    return Doors(
        keys, watch, line, lobby, outbox, upstream, clouds, quotas, ledger, pacing, metrics, reports, edits, seat, basin
    )


class _Server(uvicorn.Server):
    """The first TERM or INT begins the drain, which has an end of its own. Another one changes nothing: uvicorn's would
    leave requests without an answer and their money without a row. An ordered stop ends with 0. Who waits for an engine
    to come is not waited for; who waits for room at one that is there gets it."""

    def __init__(self, config: uvicorn.Config, lobby: Lobby) -> None:
        super().__init__(config)
        self._lobby = lobby

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        self._lobby.close()
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.should_exit = True


async def _stop(outbox: Outbox) -> None:
    """End what outlived the drain: each still tells its client, lets go of its target and settles what it cost."""
    for request in list(outbox.running):
        request.stop()
    with suppress(TimeoutError):
        async with asyncio.timeout(LAST_WORDS_S):
            while outbox.running:
                await asyncio.sleep(TURN_S)


def _config(app: Starlette, drain_s: float) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="uvloop",
        http=Front,
        ws="none",
        log_level="warning",
        timeout_graceful_shutdown=math.ceil(drain_s),
        timeout_keep_alive=IDLE_S,
        server_header=False,
    )


def _spare_the_collector() -> None:
    """What is loaded by now stays for ever, so the garbage collector need not look at it again.

    Requests free what they use by themselves; the collector only finds what an error left in a cycle. Looking for that
    after each 700 objects, as is the default, stops all streams for tens of milliseconds now and then.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_EACH)


async def _feed(alone: Alone, home: Path, doors: Doors) -> None:
    if alone.engines:
        await poll_engines(alone.engines, alone.models, doors.upstream, doors.watch)
    else:
        await doors.line.follow(home)


async def _hear(watch: Watch) -> None:
    """Wait a moment for the first news of the engines: who is answered before would be told that there are none."""
    for _ in range(round(HEAR_S / HEAR_EACH_S)):
        if watch.snapshot is not None:
            return
        await asyncio.sleep(HEAR_EACH_S)


async def keep_comparing(watch: Watch) -> None:
    """Targets with their like, for ever: also where nobody tells of engines, because there are only clouds."""
    while True:
        await asyncio.sleep(COMPARE_EACH_S)
        watch.compare(time.monotonic())


async def _warm(doors: Doors) -> None:
    await doors.clouds.warm()
    doors.watch.cloud_off = doors.clouds.off
    _spare_the_collector()


def _at_port(rules: Rules, port: int) -> Rules:
    return rules.model_copy(update={"endpoint": rules.endpoint.model_copy(update={"port": port})})
