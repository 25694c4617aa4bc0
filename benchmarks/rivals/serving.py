"""A server that is not ours, as a process: from its command until an address of it answers, and to its end.

The one door to such processes here. It must not know what they serve.
"""

from __future__ import annotations

import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path

from benchmarks.machine import on_core
from benchmarks.process import end_group

START_S = 180.0
STOP_S = 20.0
POLL_S = 0.1
ASK_S = 2.0
LOG_BYTES = 2000


@contextmanager
def serving(
    command: Sequence[str], ready_url: str, log: Path, environment: Mapping[str, str], core: int | None
) -> Iterator[None]:
    """It runs while the block does, on that core. Raises ValueError with the end of its log when it does not start."""
    with log.open("wb") as file:
        with on_core(core):
            try:
                # In a session of its own, so that a Ctrl-C reaches it once, from us.
                started = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    start_new_session=True,
                )
            except OSError as error:
                raise ValueError(f"{command[0]} cannot be run: {error}") from error
        try:
            _wait(started, command[0], ready_url, log)
            yield
        finally:
            end_group(started, STOP_S)


def _wait(started: subprocess.Popen[bytes], program: str, ready_url: str, log: Path) -> None:
    until_s = time.monotonic() + START_S
    while not _is_ready(ready_url):
        if started.poll() is not None or time.monotonic() > until_s:
            said = log.read_bytes()[-LOG_BYTES:].decode(errors="replace").strip() or "nothing"
            ended = "is not ready" if started.poll() is None else f"ended with status {started.returncode}"
            raise ValueError(f"{Path(program).name} {ended}; it said: {said}")
        time.sleep(POLL_S)


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=ASK_S) as response:
            return bool(response.status == HTTPStatus.OK)
    except (OSError, urllib.error.HTTPError):
        return False
