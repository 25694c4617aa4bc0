"""One connection of the stub engine: reads a request, writes its answer when the engine says, reads the next.

It must not know what an answer consists of.
"""

from __future__ import annotations

import asyncio
from typing import cast

import httptools
import msgspec

from benchmarks.exposition import CONTENT_TYPE
from benchmarks.numbered import MAX_TOKENS
from benchmarks.stub_answer import Script, whole
from benchmarks.stub_engine import StubEngine, now_s
from benchmarks.wire import Json, Kind, encoded, error_json, models_json

DEFAULT_TOKENS = 16
GENERATES = {b"/v1/chat/completions": Kind.CHAT, b"/v1/completions": Kind.TEXT}
NOT_FOUND = whole(encoded({"detail": "Not Found"}), b"404 Not Found")


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class _Body(msgspec.Struct):
    """What the stub reads of a request; everything else in it is ignored."""

    stream: bool | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stream_options: _StreamOptions | None = None


_read_body = msgspec.json.Decoder(_Body).decode


class StubConnection(asyncio.Protocol):
    """A client's connection. `open_connections` is shared with all others."""

    def __init__(self, engine: StubEngine, open_connections: set[StubConnection]) -> None:
        self._engine = engine
        self._open = open_connections
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._body: list[bytes] = []
        self._script: Script | None = None
        self._written = 0
        self._due_s = 0.0
        self._is_blocked = False
        self._early = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A router has connected."""
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self._open.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        """The router has gone; an answer under way is aborted."""
        self._open.discard(self)
        if self._script is not None:
            tokens, self._script = self._written, None
            self._engine.ended(tokens, complete=False)

    def pause_writing(self) -> None:
        """The router does not read as fast as we write."""
        self._is_blocked = True

    def resume_writing(self) -> None:
        """It reads again."""
        self._is_blocked = False

    def close_if_idle(self) -> None:
        """End a connection that carries no answer."""
        if self._script is None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Part of a request, or of the one after it."""
        if self._script is not None:
            self._early += data
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.close()

    def on_url(self, url: bytes) -> None:
        """From the parser."""
        self._url += url

    def on_body(self, body: bytes) -> None:
        """From the parser."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """From the parser: a whole request."""
        path, body = self._url.partition(b"?")[0], b"".join(self._body)
        self._url = b""
        self._body.clear()
        kind = GENERATES.get(path)
        if kind is None:
            self._transport.write(self._page(path.decode("latin-1")))
            return
        try:
            asked = _read_body(body)
        except msgspec.DecodeError as error:
            refusal = error_json(f"The request body is not what it should be: {error}.", "Bad Request", 400)
            self._transport.write(whole(encoded(refusal), b"400 Bad Request"))
            return
        self._generate(kind, asked)

    def _generate(self, kind: Kind, asked: _Body) -> None:
        wanted = asked.max_tokens or asked.max_completion_tokens or DEFAULT_TOKENS
        tokens = max(1, min(wanted, MAX_TOKENS))
        usage = asked.stream_options is not None and asked.stream_options.include_usage is True
        engine, stream = self._engine, asked.stream is True
        self._script = engine.answer(kind, tokens, stream=stream, include_usage=usage)
        self._written = 0
        speed = engine.speed
        # A whole answer takes as long as its tokens would.
        wait_s = speed.first_s + (0.0 if stream else speed.delay_s * tokens)
        self._due_s = now_s() + wait_s
        if wait_s:
            engine.pace.at(self._due_s, self._say)
        else:
            self._say()

    def _say(self) -> None:
        """The write that is due; then wait for the next one's time or turn."""
        if not self._step():
            return
        delay_s = self._engine.speed.delay_s
        if not delay_s:
            self._engine.flood(self._step)
            return
        self._due_s += delay_s
        self._engine.pace.at(self._due_s, self._say)

    def _step(self) -> bool:
        """Make the next write unless the router is slow; whether more are to come."""
        script = self._script
        if script is None:
            return False
        if self._is_blocked:
            return True
        if self._written < len(script.writes):
            self._transport.write(script.writes[self._written])
            self._written += 1
        if self._written < len(script.writes):
            return True
        self._script = None
        self._engine.ended(script.tokens, complete=not script.hangs_up)
        if script.hangs_up:
            self._transport.close()
        elif self._early:
            early, self._early = self._early, b""
            self.data_received(early)
        return False

    def _page(self, path: str) -> bytes:
        engine = self._engine
        if path in {"/health", "/ping"}:
            return whole(b"", content_type=b"text/plain")
        if path == "/version":
            return whole(encoded({"version": "0.0.0-stub"}))
        if path == "/metrics":
            return whole(engine.metrics().encode(), content_type=CONTENT_TYPE.encode())
        if path == "/v1/models":
            return whole(encoded(models_json([engine.model], "vllm", root=engine.model, max_model_len=MAX_TOKENS)))
        if path.startswith("/_stub/"):
            return self._control(path.removeprefix("/_stub/"))
        return NOT_FOUND

    def _control(self, order: str) -> bytes:
        engine = self._engine
        verb, _, number = order.partition("/")
        facts: Json = {name: getattr(engine.counts, name) for name in engine.counts.__slots__}
        if verb in {"delay", "first"} and number.isdigit():
            setattr(engine.speed, f"{verb}_s", int(number) / 1e6)
        elif verb == "close-idle":
            for each in list(self._open - {self}):
                each.close_if_idle()
        elif verb != "stats":
            return NOT_FOUND
        return whole(encoded(facts | {"connections": len(self._open)}))
