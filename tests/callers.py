"""A client on a bare socket: it may send what no library would, and sees each byte that comes back."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from tests.routers import CHAT, asked

PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Heard:
    """One response as it came. `fields` are the names (in lower case) and values of its header, in order."""

    status: int
    fields: tuple[tuple[str, str], ...]
    body: bytes

    def all(self, name: str) -> list[str]:
        return [value for each, value in self.fields if each == name]

    def one(self, name: str) -> str:
        (value,) = self.all(name)
        return value

    @property
    def names(self) -> set[str]:
        return {name for name, _ in self.fields}

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """Of the error in the OpenAI envelope, which has just these fields."""
        error = self.json["error"]
        assert error.keys() == {"message", "type", "param", "code"}
        return str(error["code"])


def request(
    body: bytes | None = None, *lines: str, method: str = "POST", path: str = CHAT, version: str = "1.1"
) -> bytes:
    """A whole request with the length of its body (a small question, where none is given)."""
    told = asked() if body is None else body
    return head(f"content-length: {len(told)}", *lines, method=method, path=path, version=version) + told


def head(*lines: str, method: str = "POST", path: str = CHAT, version: str = "1.1") -> bytes:
    first = f"{method} {path} HTTP/{version}"
    return "".join(f"{line}\r\n" for line in (first, "host: router", *lines, "")).encode("latin-1")


def chunks(body: bytes, size: int = 7) -> bytes:
    """The body as a client sends it that does not know its length."""
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join([b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces]) + b"0\r\n\r\n"


class Caller:
    """One connection to a router."""

    def __init__(self, url: str, receive_bytes: int | None = None) -> None:
        parts = urlsplit(url)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if receive_bytes is not None:
            # Before it is connected, so that no more than this is ever announced to the other side.
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(PATIENCE_S)
        try:
            self.socket.connect((parts.hostname, parts.port))
        except OSError:
            self.socket.close()
            raise
        self._unread = bytearray()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def leave(self) -> None:
        self.socket.close()

    def reset(self) -> None:
        """Leave without good-bye: what is under way is thrown away and the other side gets an error."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.leave()

    def heard(self, without_body: bool = False) -> Heard:
        """The next response, whole."""
        begun = self.begun()
        if without_body:
            return begun
        named = dict(begun.fields)
        if named.get("transfer-encoding") == "chunked":
            assert "content-length" not in named
            return replace(begun, body=b"".join(self.pieces()))
        if "content-length" in named:
            return replace(begun, body=self.exactly(int(named["content-length"])))
        return replace(begun, body=self.rest())

    def informed(self) -> int:
        """The status of an informational response."""
        begun = self.begun()
        assert begun.fields == ()
        return begun.status

    def begun(self) -> Heard:
        """The head of a response; of a stream, `pieces` are the chunks that follow."""
        line = self._line()
        assert line.startswith("HTTP/1.1 "), f"not the start of a response: {line!r}"
        fields = []
        while field := self._line():
            name, separator, value = field.partition(": ")
            assert separator, f"not a header field: {field!r}"
            fields.append((name.lower(), value))
        return Heard(int(line.split(" ")[1]), tuple(fields), b"")

    def pieces(self) -> Iterator[bytes]:
        while size := int(self._line(), 16):
            yield self.exactly(size)
            assert self.exactly(2) == b"\r\n"
        assert self._line() == ""

    def exactly(self, size: int) -> bytes:
        while len(self._unread) < size:
            assert self._read(), f"the connection was closed after {len(self._unread)} of {size} bytes"
        data = bytes(self._unread[:size])
        del self._unread[:size]
        return data

    def rest(self) -> bytes:
        """All until the connection is closed; a connection that stays open fails by its time limit."""
        while self._read():
            pass
        return self.exactly(len(self._unread))

    def is_closed(self) -> bool:
        """Wait for the end of the connection: true if nothing came before it."""
        with suppress(ConnectionResetError):
            self._read()
        return not self._unread

    def is_quiet(self, for_s: float = 0.2) -> bool:
        """Whether the connection stays open, and nothing comes, for a while."""
        self.socket.settimeout(for_s)
        try:
            assert not self._unread
            self._read()
            return False
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(PATIENCE_S)

    def _line(self) -> str:
        while (end := self._unread.find(b"\r\n")) < 0:
            assert self._read(), f"the connection was closed after {bytes(self._unread[:200])!r}"
        return self.exactly(end + 2)[:-2].decode("latin-1")

    def _read(self) -> bool:
        """Whether there was more before the end."""
        data = self.socket.recv(65536)
        self._unread += data
        return bool(data)


@contextmanager
def calling(url: str, receive_bytes: int | None = None) -> Iterator[Caller]:
    caller = Caller(url, receive_bytes)
    try:
        yield caller
    finally:
        caller.leave()


def heard(url: str, data: bytes) -> Heard:
    """The response to this on a connection of its own."""
    with calling(url) as caller:
        caller.send(data)
        return caller.heard()
