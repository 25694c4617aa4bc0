"""Open the doors, listen, and serve until told to stop. The only place where the router's parts are put together."""

from __future__ import annotations

import asyncio
import errno
import gc
import math
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from engines.snapshot import ModelView
from router.app import create_app
from router.cloud import Clouds
from router.config import Endpoint, Keys, Rules
from router.exchange import Exchange
from router.feed import follow_supervisor, poll_engines
from router.front import Front
from router.ledger import Ledger, LedgerError
from router.metrics import Metrics
from router.seat import ALONE, Seat
from router.served import Doors
from router.upstream import Upstream
from router.watch import Watch

# Clouds are let go of by tasks, which need a moment and a few turns of the loop.
LAST_WORDS_S = 2.0
TURN_S = 0.01
# New objects before the young, runs before the middle and the old generation are searched for garbage.
COLLECT_EACH = (50_000, 20, 100)
# Longer than the usual clients keep a connection (aiohttp 15 s, Go 90 s), so that it is they who close it.
IDLE_S = 120


@dataclass(frozen=True, slots=True)
class Alone:
    """Engines that run elsewhere (name -> URL), and locked facts of models, for a router without a supervisor."""

    engines: Mapping[str, str]
    models: tuple[ModelView, ...]


def serve(rules: Rules, keys: Keys, alone: Alone, home: Path, seat: Seat = ALONE) -> int:
    """Serve until TERM or INT; returns the exit code. Without engines in `alone`, `home` has a supervisor."""
    try:
        listening = seat.listening or listen(rules.endpoint)
        ledger = Ledger(home / "ledger.sqlite3")
    except (OSError, LedgerError) as error:
        print(why_not(error, rules.endpoint), file=sys.stderr)
        return 1
    host, port = listening.getsockname()[:2]
    rules = rules.model_copy(update={"endpoint": rules.endpoint.model_copy(update={"port": port})})
    watch = Watch(rules)
    clouds = Clouds(rules.clouds)
    watch.cloud_off = clouds.off
    metrics = Metrics(watch.now, lambda: ledger.spent_today_usd)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[dict[str, object]]:
        doors = Doors(keys, watch, Upstream(rules.limits), clouds, ledger, metrics)
        tasks = [asyncio.create_task(_feed(alone, home, doors)), asyncio.create_task(_warm(clouds, watch))]
        _spare_the_collector()
        running: set[Exchange] = set()
        yield {"doors": doors, "running": running}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await _stop(running)
        await doors.upstream.close()
        await clouds.close()
        ledger.close()

    server = uvicorn.Server(_config(create_app(lifespan), rules.limits.drain_s))
    if seat.workers == 1:
        print(f"router at {url_of(host, port)}/v1", flush=True)
    # uvicorn drains, then sends itself the signal once more to end the way it was told to; an ordered stop ends with 0.
    signal.signal(signal.SIGTERM, lambda *_: None)
    server.run(sockets=[listening])
    return 0


async def _stop(running: set[Exchange]) -> None:
    """End what outlived the drain: each still tells its client, lets go of its target and settles what it cost."""
    for exchange in list(running):
        exchange.stop()
    with suppress(TimeoutError):
        async with asyncio.timeout(LAST_WORDS_S):
            while running:
                await asyncio.sleep(TURN_S)


def _config(app: FastAPI, drain_s: float) -> uvicorn.Config:
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
        await follow_supervisor(home, doors.watch)


async def _warm(clouds: Clouds, watch: Watch) -> None:
    await clouds.warm()
    watch.cloud_off = clouds.off


def url_of(host: str, port: int) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def listen(endpoint: Endpoint) -> socket.socket:
    family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((endpoint.host, endpoint.port))
    listening.listen(2048)
    return listening


def why_not(error: Exception, endpoint: Endpoint) -> str:
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        place = f"{endpoint.host}:{endpoint.port}"
        return f"port {place} is taken by another program; stop it, or set another port in [endpoint] of stack.toml"
    if isinstance(error, OSError):
        return f"cannot listen on {endpoint.host}:{endpoint.port}: {os.strerror(error.errno or 0)}"
    return str(error)
