"""An engine that does what a test tells it to, byte by byte, on bare sockets. It lists the model `tiny`."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

from tests.test_sse import ROLE, USAGE, chunk
from tests.unread import unread_bytes

PATIENCE_S = 20.0
MODELS = b'{"data":[{"id":"tiny","max_model_len":512}]}'
DONE = b"data: [DONE]\n\n"
HI, STOP = chunk(content="Hi"), chunk(finish="stop")
WHOLE = (
    b'{"object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},'
    b'"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":3}}'
)
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
LAST = b"0\r\n\r\n"


def framed(*events: bytes) -> bytes:
    """Each event as a chunk of its own."""
    return b"".join([b"%x\r\n%b\r\n" % (len(event), event) for event in events])


def answered(body: bytes = WHOLE, status: str = "200 OK", *lines: str) -> bytes:
    """A whole answer."""
    fields = (f"HTTP/1.1 {status}", "content-type: application/json", *lines, f"content-length: {len(body)}", "", "")
    return "\r\n".join(fields).encode("latin-1") + body


STREAM = STREAM_HEAD + framed(ROLE, HI, STOP, USAGE, DONE) + LAST


@dataclass(frozen=True, slots=True)
class Question:
    """A request as the engine got it; names of header fields in lower case."""

    line: str
    fields: dict[str, str]
    body: bytes


class Line:
    """One connection of the router's, while a script answers on it."""

    def __init__(self, accepted: socket.socket) -> None:
        self.socket = accepted
        self.asked: list[Question] = []
        self.polls = 0
        self.closed_at_s: float | None = None
        self._file = accepted.makefile("rb")

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def until_read(self) -> None:
        """Until the router has taken all that was sent: what is sent next comes to it as a piece of its own."""
        deadline_s = time.monotonic() + PATIENCE_S
        while unread_bytes(self.socket):
            assert time.monotonic() < deadline_s, "the router does not read"

    def listen(self, for_s: float) -> bool:
        """Whether the router says anything, or hangs up, within this time."""
        self.socket.settimeout(for_s)
        try:
            if self.socket.recv(1, socket.MSG_PEEK) == b"":
                self.closed_at_s = time.monotonic()
        except TimeoutError:
            return False
        except ConnectionResetError:
            self.closed_at_s = time.monotonic()
        finally:
            self.socket.settimeout(PATIENCE_S)
        return True

    def close(self) -> None:
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    def reset(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self._file.close()
        self.socket.close()

    def is_closed(self) -> bool:
        """Whether the router has hung up."""
        return self.closed_at_s is not None

    def until_closed(self) -> float:
        """When the router hung up, by `time.monotonic()`."""
        with suppress(ConnectionResetError):
            assert self._file.read(1) == b"", "the router goes on talking"
        self.closed_at_s = time.monotonic()
        return self.closed_at_s

    def question(self) -> Question | None:
        """The next request on this connection; None when the router has closed it."""
        first = self._file.readline()
        if not first:
            self.closed_at_s = time.monotonic()
            return None
        fields = {}
        while (field := self._file.readline().decode("latin-1").strip()) != "":
            name, _, value = field.partition(": ")
            fields[name.lower()] = value
        return Question(first.decode().strip(), fields, self._file.read(int(fields.get("content-length", "0"))))

    def drop(self) -> None:
        self._file.close()
        self.socket.close()


Script = Callable[[Line], None]


def says(data: bytes) -> Script:
    """Answers with these bytes and keeps the connection."""
    return lambda line: line.send(data)


def polite(line: Line) -> None:
    """Answers as it was asked: with a stream or whole."""
    line.send(STREAM if json.loads(line.asked[-1].body).get("stream") else answered())


def closes(line: Line) -> None:
    line.until_read()
    line.close()


def resets(line: Line) -> None:
    line.until_read()
    line.reset()


class ScriptedEngine:
    """Each request but those for its models is answered by `script`, which a test may change at any time."""

    def __init__(self, port: int = 0) -> None:
        self.script: Script = polite
        self.asked: list[Question] = []
        self.lines: list[Line] = []
        # Takes a connection and throws it away at once.
        self.is_rude = False
        # Hangs up, instead of answering, on who asks for the models on a connection that was used before.
        self.hides_models = False
        self.hidden = 0
        # So many questions for its models it takes and leaves unanswered, until the router hangs up.
        self.unheeded = 0
        self._is_deaf = False
        self._polled = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", port))
        self.port = int(self._listening.getsockname()[1])
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def last_line(self) -> Line:
        """The connection with the newest question."""
        return next(line for line in self.lines if line.asked and line.asked[-1] is self.asked[-1])

    @property
    def open_lines(self) -> int:
        """Connections that the router has not closed."""
        return sum(not line.is_closed() for line in self.lines)

    def until_polled(self) -> None:
        """Until the router has asked for the models once more."""
        self._polled.clear()
        assert self._polled.wait(PATIENCE_S)

    @contextmanager
    def deaf(self) -> Iterator[None]:
        """The router has just heard that all is well. Now its connections are closed, and no new one is taken, nor
        refused: the queue of those that wait is full. It stays like this."""
        self.until_polled()
        self._is_deaf = True
        with ExitStack() as stack:
            stack.enter_context(socket.create_connection(self._listening.getsockname()))
            self._threads[0].join(PATIENCE_S)
            self._listening.listen(0)
            for _ in range(4):
                waiting = stack.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex(self._listening.getsockname())
            self.hang_up()
            yield

    def hang_up(self) -> None:
        """On every connection that is kept: whoever asks next must make a new one."""
        for line in self.lines:
            line.close()

    def close(self) -> None:
        """As if its process had ended. May be said twice."""
        if self._listening.fileno() < 0:
            return
        # Closing alone would leave the thread that accepts where it is.
        self._listening.shutdown(socket.SHUT_RDWR)
        self._threads[0].join(PATIENCE_S)
        self._listening.close()
        self.hang_up()
        for thread in self._threads:
            thread.join(PATIENCE_S)

    def _accept(self) -> None:
        while True:
            try:
                accepted, _ = self._listening.accept()
            except OSError:
                return
            if self._is_deaf:
                accepted.close()
                return
            if self.is_rude:
                accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                accepted.close()
                continue
            accepted.settimeout(PATIENCE_S)
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            line = Line(accepted)
            self.lines.append(line)
            thread = threading.Thread(target=self._serve, args=(line,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, line: Line) -> None:
        try:
            while (question := line.question()) is not None:
                if question.line.startswith("GET /v1/models "):
                    if self.unheeded:
                        line.until_closed()
                        self.unheeded -= 1
                        continue
                    if self.hides_models and line.polls:
                        self.hidden += 1
                        line.close()
                    line.polls += 1
                    line.send(answered(MODELS))
                    self._polled.set()
                    continue
                self.asked.append(question)
                line.asked.append(question)
                self.script(line)
        except (OSError, ValueError):
            # The router hung up, or the script has closed the socket.
            line.closed_at_s = line.closed_at_s or time.monotonic()
        finally:
            line.drop()


@contextmanager
def scripted_engine(port: int = 0) -> Iterator[ScriptedEngine]:
    engine = ScriptedEngine(port)
    try:
        yield engine
    finally:
        engine.close()
