"""One GET, on the loop that makes the load: the one door of the figures to the network.

A client library would cost more than the page. A connection each, because what is asked may be killed in between.
"""

from __future__ import annotations

import asyncio
import ssl
from http import HTTPStatus
from typing import cast
from urllib.parse import urlsplit

import httptools

LIMIT_S = 5.0
LENGTHS = (b"content-length", b"transfer-encoding")
MOST_BYTES = 16 * 1024 * 1024


async def page_of(url: str, limit_s: float = LIMIT_S) -> bytes | None:
    """The body of a 200; None of any other answer, of none, and of one that takes longer than `limit_s`."""
    parts = urlsplit(url)
    secure = ssl.create_default_context() if parts.scheme == "https" else None
    port = parts.port or (443 if secure else 80)
    loop = asyncio.get_running_loop()
    whole: asyncio.Future[bytes | None] = loop.create_future()
    transport: asyncio.BaseTransport | None = None
    try:
        async with asyncio.timeout(limit_s):
            transport, _ = await loop.create_connection(
                lambda: _Get(f"{parts.path or '/'}", parts.netloc, whole), parts.hostname or "", port, ssl=secure
            )
            return await whole
    except (OSError, TimeoutError):
        return None
    finally:
        whole.cancel()
        if transport is not None:
            cast(asyncio.Transport, transport).abort()


class _Get(asyncio.Protocol):
    """Asks when it is connected, and tells the future what came."""

    def __init__(self, path: str, host: str, whole: asyncio.Future[bytes | None]) -> None:
        self._request = f"GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n".encode()
        self._whole = whole
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []
        self._bytes = 0
        self._ends_by_close = True
        self._has_head = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        cast(asyncio.Transport, transport).write(self._request)

    def data_received(self, data: bytes) -> None:
        """Bytes of the answer."""
        self._bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._end(None)
        if self._bytes > MOST_BYTES:
            self._end(None)

    def on_header(self, name: bytes, value: bytes) -> None:
        """From the parser: a length of any kind says where the body ends."""
        if name.lower() in LENGTHS:
            self._ends_by_close = False

    def on_headers_complete(self) -> None:
        """From the parser."""
        self._has_head = True

    def on_body(self, body: bytes) -> None:
        """From the parser."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """From the parser."""
        self._end(b"".join(self._body) if self._parser.get_status_code() == HTTPStatus.OK else None)

    def connection_lost(self, error: Exception | None) -> None:
        """Hung up, which is how a body without a length ends."""
        if self._has_head and self._ends_by_close and error is None and not self._whole.done():
            self.on_message_complete()
        self._end(None)

    def _end(self, body: bytes | None) -> None:
        if not self._whole.done():
            self._whole.set_result(body)
