"""Where Snapshots come from: the supervisor's socket, or, without a supervisor, the engines' own model lists.

Both are endless loops that put what they hear into the Watch and survive whatever happens on the other side.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from itertools import count
from pathlib import Path

import structlog

from engines.snapshot import (
    LONGEST_LINE_BYTES,
    EngineState,
    EngineView,
    HostView,
    ModelView,
    Snapshot,
    feed_address,
    from_json,
)
from router.errors import TargetUnavailable
from router.lobby import Lobby
from router.routing.fleet import EXTERNAL
from router.upstream import SILENT, ServedModel, Upstream
from router.watch import Watch

RETRY_S = 0.25
# A supervisor that does not read is not written to either.
MOST_UNREAD_BYTES = 1024 * 1024
POLL_S = 1.0
# An engine that does not say how long its context is refuses what is too long by itself.
UNKNOWN_CONTEXT_TOKENS = 1_000_000
NO_HOST = HostView(total_bytes=0, available_bytes=0)

log = structlog.get_logger()


class Line:
    """The connection to the supervisor: Snapshots in, Reports out. Without a supervisor what is said goes nowhere."""

    def __init__(self, watch: Watch, lobby: Lobby) -> None:
        self._watch = watch
        self._lobby = lobby
        self._writer: asyncio.StreamWriter | None = None
        # Models that the supervisor was told of since its last Snapshot: once is enough.
        self._told: set[str] = set()

    async def follow(self, home: Path) -> None:
        """Put every Snapshot of the supervisor in `home` into the Watch; reconnect for ever when it is away."""
        heard_last_time = True
        while True:
            try:
                await self._read(home)
            except (OSError, ValueError) as error:
                if heard_last_time:
                    log.warning("supervisor not heard", home=str(home), error=str(error))
                heard_last_time = False
            except Exception:
                # Whatever it says, a router that does not listen any more would be worse.
                log.exception("what the supervisor said could not be used")
            else:
                heard_last_time = True
            await asyncio.sleep(RETRY_S)

    async def _read(self, home: Path) -> None:
        with feed_address(home) as address:
            reader, self._writer = await asyncio.open_unix_connection(address, limit=LONGEST_LINE_BYTES)
        try:
            while line := await reader.readline():
                self._watch.heard(from_json(line), time.monotonic())
                self._told.clear()
                self._report()
        finally:
            self._writer.close()
            self._writer = None

    def want(self, model: str) -> None:
        """A sleeping engine of this model was passed over for a cloud."""
        self._watch.want(model)
        self.tell(model)

    def tell(self, model: str) -> None:
        """Report now, and not only after the next Snapshot, that a model is wanted. In the next turn of the loop, for
        who waits must have sat down by then."""
        if self._writer is not None and model not in self._told:
            self._told.add(model)
            asyncio.get_running_loop().call_soon(self._report)

    def _report(self) -> None:
        writer = self._writer
        if writer is not None and writer.transport.get_write_buffer_size() < MOST_UNREAD_BYTES:
            writer.write(self._watch.report(time.monotonic(), self._lobby.wanted()).to_json())


async def poll_engines(
    engines: Mapping[str, str], models: tuple[ModelView, ...], upstream: Upstream, watch: Watch
) -> None:
    """Ask each engine (name -> URL) what it serves, once a second: its names, its context and that it is there.

    `models` are locked facts, for the twins of what the engines serve.
    """
    polled = [_Polled(name, url) for name, url in engines.items()]
    for sequence in count(1):
        await asyncio.gather(*(each.ask(upstream) for each in polled))
        views = [view for each in polled for view in each.views()]
        watch.heard(Snapshot(sequence, 0, tuple(views), models, (), NO_HOST), time.monotonic())
        await asyncio.sleep(POLL_S)


class _Polled:
    """An engine, what it served when it answered last, and why it cannot serve now."""

    def __init__(self, name: str, url: str) -> None:
        self._name, self._url = name, url
        self._served: tuple[ServedModel, ...] = (ServedModel(name, None),)
        self._error: str | None = "it has not answered yet"
        self._was_silent = False

    async def ask(self, upstream: Upstream) -> None:
        """One that takes the question and says nothing may have much to do: it is gone if it does so twice in a row.

        What it served is kept all the while, so that its models stay known.
        """
        try:
            self._served, self._error = await upstream.models(self._url), None
            self._was_silent = False
        except TargetUnavailable as error:
            is_silent = error.cause == SILENT
            if self._was_silent or not is_silent:
                self._error = f"{error.cause}: {error.message}"
            self._was_silent = is_silent

    def views(self) -> list[EngineView]:
        of_many = len(self._served) > 1
        return [_external(self._name, self._url, model, self._error, of_many) for model in self._served]


def _external(name: str, url: str, model: ServedModel, error: str | None, one_of_many: bool) -> EngineView:
    return EngineView(
        name=f"{name}-{model.name}" if one_of_many else name,
        model=model.name,
        kind=EXTERNAL,
        state=EngineState.READY if error is None else EngineState.FAILED,
        url=url,
        device="elsewhere",
        context_tokens=model.context_tokens or UNKNOWN_CONTEXT_TOKENS,
        pid=None,
        in_state_s=0.0,
        restarts=0,
        last_error=error,
        load=None,
    )
