"""One keep-alive connection of the load generator: sends a request, reads its answer to the end, has it checked.

The one door to the router under load. It must not know how many there are or what is asked.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from time import perf_counter
from typing import cast

import httptools

from benchmarks.completeness import Exam, Fault
from benchmarks.tally import Tally

OK = 200
SAMPLE_BYTES = 160
# The first content of a stream; the opening chunk of a chat has an empty one.
CONTENT = re.compile(rb'"(?:content|text|reasoning_content)": ?"[^"]')
LENGTH = re.compile(rb"\r\n(?:content-length|transfer-encoding):", re.IGNORECASE)


class Client(asyncio.Protocol):
    """A connection. `free` is called when it can be asked the next, `lost` when it has gone."""

    def __init__(
        self, exam: Exam, tally: Tally, free: Callable[[Client], None], lost: Callable[[Client], None]
    ) -> None:
        self._exam = exam
        self._tally = tally
        self._free = free
        self._lost = lost
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []
        self._head = b""
        self._ends_by_close = False
        self._counts = False
        self._sent_s = self._read_s = 0.0
        self._first_s: float | None = None
        self.is_busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self._free(self)

    def ask(self, request: bytes) -> None:
        """Send a whole request."""
        self._body.clear()
        self._head = b""
        self._first_s = None
        self.is_busy = True
        self._counts = self._tally.is_open
        self._sent_s = perf_counter()
        self._transport.write(request)

    def close(self) -> None:
        """Hang up. An answer under way is not counted."""
        self.is_busy = False
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Bytes of the answer."""
        now_s = perf_counter()
        self._tally.read(data, None if self._first_s is None else now_s - self._read_s)
        self._read_s = now_s
        if not self._head:
            self._head = data
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._fail(Fault.FRAMING)

    def on_headers_complete(self) -> None:
        """From the parser."""
        keeps = self._parser.should_keep_alive()
        self._ends_by_close = not keeps and LENGTH.search(self._head.partition(b"\r\n\r\n")[0]) is None

    def on_body(self, body: bytes) -> None:
        """From the parser: what a chunk holds, or a part of it."""
        self._body.append(body)
        if self._first_s is None and CONTENT.search(body) is not None:
            self._first_s = self._read_s

    def on_message_complete(self) -> None:
        """From the parser: the framing of the body says that it is whole."""
        if not self.is_busy:
            raise httptools.HttpParserError("an answer that nobody asked for")
        self._judge()
        if self._parser.should_keep_alive():
            self._free(self)
        else:
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        """The router has hung up, or we have."""
        if self.is_busy and self._ends_by_close:
            self._judge()
        elif self.is_busy:
            self._count(Fault.FRAMING if self._head else Fault.CONNECTION)
        self._lost(self)

    def _judge(self) -> None:
        status = self._parser.get_status_code()
        fault = Fault.STATUS if status != OK else self._exam.fault(b"".join(self._body))
        if fault is not None:
            self._count(fault)
            return
        self.is_busy = False
        first_s = None if self._first_s is None else self._first_s - self._sent_s
        self._tally.answer(self._read_s - self._sent_s, first_s, counts=self._counts)

    def _fail(self, fault: Fault) -> None:
        if self.is_busy:
            self._count(fault)
        self._transport.abort()

    def _count(self, fault: Fault) -> None:
        self.is_busy = False
        body = b"".join(self._body) or self._head
        shown = body if len(body) <= SAMPLE_BYTES else body[: SAMPLE_BYTES // 2] + b" ... " + body[-SAMPLE_BYTES // 2 :]
        self._tally.fail(fault, f"{fault}: {shown.decode(errors='replace')}")
