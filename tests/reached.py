"""Reaches the workers of a router one by one, for tests: the kernel picks who takes a connection, so one asks again."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any

import psutil

from tests.routers import CHAT, Router, asked, until

WORKERS = 3


@dataclass(frozen=True, slots=True)
class Worker:
    """One worker, through a connection that it took and keeps."""

    number: int
    pid: int
    connection: HTTPConnection

    def get(self, path: str) -> Any:
        self.connection.request("GET", path)
        return json.load(self.connection.getresponse())

    def counted(self) -> float:
        """How many requests the metrics of all workers know, as this one tells."""
        self.connection.request("GET", "/metrics")
        text = self.connection.getresponse().read().decode()
        return sum(float(number) for number in re.findall(r"^spillway_requests_total\{.*\} (\S+)$", text, re.MULTILINE))

    def target(self, name: str) -> Any:
        return next(each for each in self.get("/spillway/status")["targets"] if each["name"] == name)

    def in_flight(self) -> int:
        return int(self.target("local/slow")["in_flight"]["requests"])

    def ask(self, model: str = "tiny") -> tuple[int, str | None, str]:
        """(status, target, request id) of a small request, once its answer is read."""
        self.connection.request("POST", CHAT, asked(model))
        response = self.connection.getresponse()
        response.read()
        return response.status, response.headers["x-spillway-target"], response.headers["x-request-id"]


def connect(router: Router) -> Worker:
    """Whichever worker the kernel picks."""
    connection = HTTPConnection(router.url.removeprefix("http://"), timeout=20)
    connection.request("GET", "/spillway/status")
    found = json.load(connection.getresponse())["worker"]
    return Worker(found["number"], found["pid"], connection)


@contextmanager
def reached(router: Router, number: int, not_pid: int | None = None) -> Iterator[Worker]:
    """A connection to one worker, by its number; if asked for, to another process than the one that had it."""
    with ExitStack() as opened:
        found: list[Worker] = []

        def is_there() -> bool:
            worker = connect(router)
            opened.enter_context(closing(worker.connection))
            found.append(worker)
            return worker.number == number and worker.pid != not_pid

        until(is_there)
        yield found[-1]


@contextmanager
def all_of(router: Router, workers: int = WORKERS) -> Iterator[list[Worker]]:
    with ExitStack() as opened:
        yield [opened.enter_context(reached(router, number)) for number in range(workers)]


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer of four hundred tokens that has begun; it ends by itself after about forty seconds."""

    connection: HTTPConnection
    lines: Iterator[bytes]

    def next_chunk(self) -> bytes:
        return next(line for line in self.lines if line.startswith(b"data: "))


@contextmanager
def streaming(router: Router, number: int) -> Iterator[Stream]:
    with reached(router, number) as worker:
        worker.connection.request("POST", CHAT, asked("slow", stream=True, max_tokens=400))
        stream = Stream(worker.connection, iter(worker.connection.getresponse()))
        assert b"chat.completion.chunk" in stream.next_chunk()
        yield stream


def tells(worker: Worker, latest: list[str]) -> bool:
    """Whether the latest requests that were decided, by their ids, are these."""
    rows = worker.get("/spillway/decisions")["decisions"]
    return [row["request_id"] for row in rows[: len(latest)]] == latest


def is_gone(pid: int) -> bool:
    """Nothing runs there any more: an orphan's body may wait for whoever buries the dead on this machine."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
