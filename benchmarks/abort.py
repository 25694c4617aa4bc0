"""How soon an engine is free of a request whose client has left: its running count, read from its own metrics page.

One request at a time: the client leaves after the first token of a stream, or once the engine runs a request that does
not stream. The clock starts when the client's connection is closed, and ends with the first page that counts nobody.
An engine moves its count only when it finishes a step, so a step is part of what is measured.
"""

from __future__ import annotations

import argparse
import http.client
import json
import re
import socket
import time
from urllib.parse import SplitResult, urlsplit

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from benchmarks.quantiles import quantile

RUNNING = re.compile(rb"^vllm:num_requests_running\{[^}]*\} (\S+)$", re.MULTILINE)
LONGEST_WAIT_S = 10.0
ANSWER_TOKENS = 3000


class Engine:
    """The metrics page of an engine, over one kept connection."""

    def __init__(self, url: str) -> None:
        at = _address(url)
        self._http = http.client.HTTPConnection(at.hostname or "", at.port, timeout=LONGEST_WAIT_S)

    def running(self) -> int:
        self._http.request("GET", "/metrics")
        counts = RUNNING.findall(self._http.getresponse().read())
        if not counts:
            raise ValueError("the engine's /metrics has no vllm:num_requests_running; name an engine with --engine")
        return sum(int(float(count)) for count in counts)

    def wait_until(self, busy: bool) -> float:
        """Seconds until the engine runs something, or nothing any more."""
        begun_s = time.monotonic()
        while (self.running() > 0) != busy:
            if time.monotonic() - begun_s > LONGEST_WAIT_S:
                raise ValueError(f"the engine was not {'busy' if busy else 'free'} within {LONGEST_WAIT_S:.0f} s")
        return time.monotonic() - begun_s


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", default="http://127.0.0.1:4000", help="the router")
    parser.add_argument("--engine", required=True, help="the engine behind it, which nobody else may use meanwhile")
    parser.add_argument("--model", default="auto")
    parser.add_argument("--times", type=int, default=30, help="requests of each kind")


def main(options: argparse.Namespace) -> int:
    engine = Engine(options.engine)
    table = Table("the client leaves", "times", "p50 ms", "p95 ms", "slowest ms", box=SIMPLE_HEAD)
    for stream, when in ((True, "after the first token of a stream"), (False, "while a whole answer is made")):
        times_s = [_leave(options, engine, stream) for _ in range(options.times)]
        figures = (quantile(times_s, 0.5), quantile(times_s, 0.95), max(times_s))
        table.add_row(when, str(len(times_s)), *(f"{1000 * each:.1f}" for each in figures))
    Console().print(table)
    return 0


def _leave(options: argparse.Namespace, engine: Engine, stream: bool) -> float:
    """Seconds from the client's leaving until the engine runs nothing."""
    engine.wait_until(busy=False)
    with _ask(options.url, options.model, stream) as client:
        if stream:
            _read_first_token(client)
        else:
            engine.wait_until(busy=True)
    return engine.wait_until(busy=False)


def _ask(url: str, model: str, stream: bool) -> socket.socket:
    at = _address(url)
    messages = [{"role": "user", "content": "Where does the water go?"}]
    limits = {"max_tokens": ANSWER_TOKENS, "ignore_eos": True}
    body = json.dumps({"model": model, "messages": messages, "stream": stream} | limits).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: {at.netloc}\r\ncontent-length: {len(body)}\r\n"
    client = socket.create_connection((at.hostname or "", at.port or 80), timeout=LONGEST_WAIT_S)
    client.sendall(f"{head}x-spillway-privacy: local-only\r\n\r\n".encode() + body)
    return client


def _read_first_token(client: socket.socket) -> None:
    read = b""
    while b"data: " not in read:
        piece = client.recv(65536)
        if not piece:
            raise ValueError(f"the router answered without a token: {read[:500].decode(errors='replace')}")
        read += piece


def _address(url: str) -> SplitResult:
    at = urlsplit(url)
    if at.scheme != "http" or at.hostname is None:
        raise ValueError(f"{url}: not a plain URL; write http://127.0.0.1:4000")
    return at
