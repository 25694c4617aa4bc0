# /// script
# requires-python = ">=3.11"
# dependencies = ["httptools==0.9.0", "uvloop==0.23.0"]
# ///
"""A pair of bare asyncio protocols on uvloop: no server, no framework, no coroutine per request."""

import asyncio
from typing import cast

import httptools
import uvloop

from benchmarks.choices.engine_line import Lines
from benchmarks.choices.exchange import Exchange
from benchmarks.choices.relay import PORT


class Front(asyncio.Protocol):
    """One client. It answers one request at a time; a client that does not wait for its answer is cut off."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._parser = httptools.HttpRequestParser(self)
        self._body: list[bytes] = []
        self._exchange: Exchange | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._exchange is not None:
            self._exchange.leave()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.close()

    def on_message_begin(self) -> None:
        if self._exchange is not None:
            self._transport.abort()

    # httptools calls only what is there, and the bare relay reads neither the URL nor a header.
    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        body = b"".join(self._body)
        self._body.clear()
        if not self._transport.is_closing():
            self._exchange = Exchange(self._transport, self._lines, self._ended)
            self._exchange.ask(body)

    def _ended(self) -> None:
        self._exchange = None

    def pause_writing(self) -> None:
        if self._exchange is not None:
            self._exchange.pause()

    def resume_writing(self) -> None:
        if self._exchange is not None:
            self._exchange.resume()


async def main() -> None:
    lines = Lines()
    server = await asyncio.get_running_loop().create_server(lambda: Front(lines), "127.0.0.1", PORT, backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
