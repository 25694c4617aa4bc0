"""The processes of a measurement: the stub engine, and a router that a command starts in front of it.

The one door to starting and stopping them. It must not know what is measured.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

from benchmarks.job import Address, Job, requests_of
from benchmarks.machine import on_core
from benchmarks.numbered import FIRST
from benchmarks.process import end_group

START_S = 120.0
STOP_S = 8.0
POLL_S = 0.02
ASK_S = 10.0
LOG_BYTES = 2000

# Loopback is never asked through a proxy.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True, slots=True)
class Stub:
    """The running stub engine; `url` has no `/v1`."""

    url: str
    pid: int

    def set_speed(self, first_s: float, delay_s: float) -> None:
        """From now on: seconds before the first token, and between tokens."""
        self._get(f"first/{round(first_s * 1e6)}")
        self._get(f"delay/{round(delay_s * 1e6)}")

    def stats(self) -> Mapping[str, int]:
        """Its counts."""
        return self._get("stats")

    def close_idle(self) -> None:
        """End every connection to it that carries no answer."""
        self._get("close-idle")

    def _get(self, order: str) -> Mapping[str, int]:
        with _opener.open(f"{self.url}/_stub/{order}", timeout=ASK_S) as response:
            return dict(json.load(response))


@contextmanager
def running_stub(port: int, model: str, core: int | None) -> Iterator[Stub]:
    """The stub engine while the block runs. Raises ValueError when it cannot start."""
    command = [sys.executable, "-m", "benchmarks", "stub", "--port", str(port), "--model", model]
    with on_core(core):
        # In a session of its own, so that a Ctrl-C reaches it once, from us.
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        line = process.stdout.readline() if process.stdout else ""
        if " at " not in line:
            raise ValueError("The stub engine did not start; its reason stands above.")
        yield Stub(line.split(" at ")[-1].strip().removesuffix("/v1"), process.pid)
    finally:
        end_group(process, STOP_S)
        if process.stdout is not None:
            process.stdout.close()


@contextmanager
def running_router(command: str, address: Address, model: str, stub: Stub, core: int | None) -> Iterator[int]:
    """The pid of the router that this shell command runs in the foreground, once it answers.

    Raises ValueError with the end of its log when it does not come up.
    """
    port = stub.url.rsplit(":", 1)[1]
    environment = {**os.environ, "STUB_URL": stub.url, "STUB_PORT": port, "MODEL": model, "PORT": str(address.port)}
    with tempfile.TemporaryFile() as log:
        with on_core(core):
            process = subprocess.Popen(
                ["bash", "-c", command],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            _wait_for(process, Job(address, model, tokens=1), log)
            yield process.pid
        finally:
            end_group(process, STOP_S)


def _wait_for(process: subprocess.Popen[bytes], job: Job, log: IO[bytes]) -> None:
    until_s = time.monotonic() + START_S
    while answered(job) is None:
        if process.poll() is not None or time.monotonic() > until_s:
            log.seek(max(0, log.seek(0, os.SEEK_END) - LOG_BYTES))
            said = log.read().decode(errors="replace").strip() or "nothing"
            ended = "did not answer" if process.poll() is None else f"ended with status {process.returncode}"
            raise ValueError(f"The router {ended} at {job.address.host}:{job.address.port}; it said: {said}")
        time.sleep(POLL_S)


def answered(job: Job) -> bytes | None:
    """The body of the answer to one small request, None when there is none yet."""
    head, _, body = requests_of(job)(0).partition(b"\r\n\r\n")
    lines = [line.split(": ", 1) for line in head.decode().split("\r\n")[1:]]
    url = f"http://{job.address.host}:{job.address.port}{job.address.path}"
    try:
        with _opener.open(urllib.request.Request(url, body, dict(lines)), timeout=ASK_S) as response:
            return bytes(response.read())
    except (OSError, urllib.error.HTTPError):
        return None


def is_numbered(answer: bytes) -> bool:
    """Whether it comes from the stub engine."""
    return FIRST in answer
