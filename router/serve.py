"""Open the doors, listen, and serve until told to stop. The only place where the router's parts are put together."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from engines.snapshot import ModelView
from router.app import create_app
from router.cloud import Clouds
from router.config import Endpoint, Keys, Rules
from router.feed import follow_supervisor, poll_engines
from router.ledger import Ledger, LedgerError
from router.metrics import Metrics
from router.served import Doors
from router.upstream import Upstream
from router.watch import Watch

# What runs may finish within this time after TERM.
DRAIN_S = 10
# Longer than the usual clients keep a connection (aiohttp 15 s, Go 90 s), so that it is they who close it.
IDLE_S = 120


@dataclass(frozen=True, slots=True)
class Alone:
    """Engines that run elsewhere (name -> URL), and locked facts of models, for a router without a supervisor."""

    engines: Mapping[str, str]
    models: tuple[ModelView, ...]


def serve(rules: Rules, keys: Keys, alone: Alone, home: Path) -> int:
    """Serve until TERM or INT; returns the exit code. Without engines in `alone`, `home` has a supervisor."""
    try:
        listening = _listen(rules.endpoint)
        ledger = Ledger(home / "ledger.sqlite3")
    except (OSError, LedgerError) as error:
        print(_why_not(error, rules.endpoint), file=sys.stderr)
        return 1
    host, port = listening.getsockname()[:2]
    rules = rules.model_copy(update={"endpoint": rules.endpoint.model_copy(update={"port": port})})
    watch = Watch(rules)
    clouds = Clouds(rules.clouds)
    watch.cloud_off = clouds.off
    metrics = Metrics(watch.now, lambda: ledger.spent_today_usd)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        doors = Doors(watch, Upstream(rules.limits.silence_s), clouds, ledger, metrics)
        app.state.doors = doors
        tasks = [asyncio.create_task(_feed(alone, home, doors)), asyncio.create_task(_warm(clouds, watch))]
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await doors.upstream.close()
        await clouds.close()
        ledger.close()

    app = create_app(keys, lifespan)
    print(f"router at http://{f'[{host}]' if ':' in host else host}:{port}/v1", flush=True)
    # uvicorn drains, then sends itself the signal once more to end the way it was told to; an ordered stop ends with 0.
    signal.signal(signal.SIGTERM, lambda *_: None)
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        log_level="warning",
        timeout_graceful_shutdown=DRAIN_S,
        timeout_keep_alive=IDLE_S,
        server_header=False,
    )
    uvicorn.Server(config).run(sockets=[listening])
    return 0


async def _feed(alone: Alone, home: Path, doors: Doors) -> None:
    if alone.engines:
        await poll_engines(alone.engines, alone.models, doors.upstream, doors.watch)
    else:
        await follow_supervisor(home, doors.watch)


async def _warm(clouds: Clouds, watch: Watch) -> None:
    await clouds.warm()
    watch.cloud_off = clouds.off


def _listen(endpoint: Endpoint) -> socket.socket:
    family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((endpoint.host, endpoint.port))
    listening.listen(2048)
    return listening


def _why_not(error: Exception, endpoint: Endpoint) -> str:
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        place = f"{endpoint.host}:{endpoint.port}"
        return f"port {place} is taken by another program; stop it, or set another port in [endpoint] of stack.toml"
    if isinstance(error, OSError):
        return f"cannot listen on {endpoint.host}:{endpoint.port}: {os.strerror(error.errno or 0)}"
    return str(error)
