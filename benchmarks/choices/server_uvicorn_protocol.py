# /// script
# requires-python = ">=3.11"
# dependencies = ["fastapi==0.165.0", "httptools==0.9.0", "uvicorn==0.54.0", "uvloop==0.23.0"]
# ///
"""uvicorn with a protocol class of one's own: the hot URL goes to the bare protocols, every other to FastAPI."""

import asyncio
from typing import Any

from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from benchmarks.choices.engine_line import Lines
from benchmarks.choices.exchange import Exchange
from benchmarks.choices.shell import serve_app

LINES = Lines()
HOT = b"/v1/chat/completions"


class HotProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which keeps the connection, its idle timeout and every URL but the hot one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._hot = False
        self._body: list[bytes] = []
        self._exchange: Exchange | None = None

    # uvicorn's scope is a dict of ten entries that the hot URL does not need; it is built once the URL is known.
    def on_message_begin(self) -> None:
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def on_headers_complete(self) -> None:
        self._hot = self.url == HOT and self.parser.get_method() == b"POST"
        if self._exchange is not None:
            self.transport.abort()
        elif not self._hot:
            url, headers, expect = self.url, self.headers, self.expect_100_continue
            super().on_message_begin()
            self.url, self.expect_100_continue = url, expect
            self.headers.extend(headers)
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self._hot:
            self._body.append(body)
        elif self.cycle is not None:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if not self._hot:
            if self.cycle is not None:
                super().on_message_complete()
            return
        body = b"".join(self._body)
        self._body.clear()
        if not self.transport.is_closing():
            self._exchange = Exchange(self.transport, LINES, self._ended)
            self._exchange.ask(body)

    # on_response_complete counts the request and starts the idle timeout, as after an answer of uvicorn's own.
    def _ended(self) -> None:
        self._exchange = None
        self.on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._exchange is not None:
            self._exchange.leave()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        if self._exchange is None:
            super().shutdown()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._exchange is not None:
            self._exchange.pause()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._exchange is not None:
            self._exchange.resume()


app = FastAPI()


@app.get("/health")
async def health() -> dict[str, str]:
    await asyncio.sleep(0)
    return {"status": "ok"}


if __name__ == "__main__":
    serve_app(app, HotProtocol)
