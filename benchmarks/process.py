"""Processes of our own that say in their first line where they listen, and what one hears there before a run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from benchmarks.machine import on_core

START_S = 60.0
STOP_S = 10.0
POLL_S = 0.05


@contextmanager
def process(*command: str, environment: Mapping[str, str] | None = None, core: int | None = None) -> Iterator[str]:
    """`python -m COMMAND` while the block runs; its address, without `/v1`. Raises ValueError if it does not start.

    In a session of its own, so that a Ctrl-C reaches it once, from us.
    """
    with on_core(core):
        started = subprocess.Popen(
            [sys.executable, "-m", *command], stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True
        )
    try:
        line = started.stdout.readline() if started.stdout else ""
        if " at " not in line:
            raise ValueError(f"{' '.join(command[:2])} did not start; its reason stands above.")
        yield line.split(" at ")[-1].strip().removesuffix("/v1")
    finally:
        started.terminate()
        try:
            started.communicate(timeout=STOP_S)
        except subprocess.TimeoutExpired:
            # With all that it has started.
            os.killpg(started.pid, signal.SIGKILL)
            started.communicate()


def end_group(started: subprocess.Popen[str] | subprocess.Popen[bytes], stop_s: float) -> None:
    """Its whole process group, which began with it; what has not ended after `stop_s` seconds is killed."""
    for wanted in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(started.pid, wanted)
            started.wait(stop_s)
        except ProcessLookupError:
            break
        except subprocess.TimeoutExpired:
            continue
    started.wait()


def until_ready(url: str) -> None:
    """Until no target of the router is on its way."""
    until_s = time.monotonic() + START_S
    while time.monotonic() < until_s:
        targets = got(f"{url}/readyz")["targets"]
        if len(targets) > 1 and not any("starting" in state for state in targets.values()):
            return
        time.sleep(POLL_S)
    raise ValueError(f"the router at {url} was not ready in {START_S:g} s")


def got(url: str) -> Any:
    """What is at an address, JSON, whatever its status."""
    try:
        with urllib.request.urlopen(url, timeout=START_S) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        return json.load(error)
