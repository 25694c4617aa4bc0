"""The end of a connection whose client does not do its part: it goes on sending, or it does not read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

# Long enough for the last words to arrive and be read.
LINGER_S = 2.0


class Linger(asyncio.Protocol):
    """Takes the place of the connection's protocol when its last words are written; `lost` hears of its end.

    A socket that is closed while something lies in it unread resets the connection, and the client may lose the last
    words over that. So it says that nothing more will come, and reads on without listening until the client is gone.
    """

    def __init__(self, transport: asyncio.Transport, lost: Callable[[Exception | None], None]) -> None:
        self._lost = lost
        self._timer = asyncio.get_running_loop().call_later(LINGER_S, transport.abort)
        transport.set_protocol(self)
        transport.write_eof()
        transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """Of no interest any more."""

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        self._lost(exc)


class Unread:
    """Cuts a connection off when nothing is read of what was written last: closing it would wait for that for ever.

    To be told to `watch` when an answer is complete, and to `forget` when the next one begins.
    """

    __slots__ = ("_patience_s", "_transport", "timer")

    def __init__(self, transport: asyncio.Transport, patience_s: float) -> None:
        self._transport = transport
        self._patience_s = patience_s
        self.timer: asyncio.TimerHandle | None = None

    def watch(self) -> None:
        unread_bytes = self._transport.get_write_buffer_size()
        if unread_bytes and self.timer is None:
            loop = asyncio.get_running_loop()
            self.timer = loop.call_later(self._patience_s, self._look, unread_bytes)

    def forget(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def _look(self, unread_bytes: int) -> None:
        self.timer = None
        if self._transport.get_write_buffer_size() == unread_bytes:
            self._transport.abort()
        else:
            self.watch()
