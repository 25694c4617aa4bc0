"""Drives small workloads for tests: against the stub engine as a process, or whatever listens at an address."""

from __future__ import annotations

import asyncio
import itertools
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.drive.drive import Drive, drive
from benchmarks.drive.endpoint import endpoint_of
from benchmarks.drive.pacing import Closed, Pacing
from benchmarks.drive.sample import Sample
from benchmarks.workload.arrival import Arrival, Prompt
from tests.stand_ins import StandIn

TOKENS = 8
LONGEST_WAIT_S = 20.0
LOOK_S = 0.002


def chats(count: int | None = None, every_s: float = 0.0, **more: Any) -> Iterator[Arrival]:
    """So many small chats (without `count`: endlessly many), each so long after the one before."""
    numbers = itertools.count() if count is None else range(count)
    asked: dict[str, Any] = {"output_tokens": TOKENS} | more
    return (Arrival(Prompt(f"Question {number}"), at_s=number * every_s, **asked) for number in numbers)


async def driven(
    url: str, arrivals: Iterator[Arrival], pacing: Pacing | None = None, limit_s: float = 20.0, **more: Any
) -> Drive:
    """One run; 1 user where nothing else is said."""
    endpoint = endpoint_of(url, "tiny", limit_s=limit_s, **more.pop("endpoint", {}))
    return await drive(endpoint, arrivals, pacing or Closed(1), **more)


async def only(url: str, **more: Any) -> Sample:
    """The one request of a run."""
    (sample,) = (await driven(url, chats(1), **more)).samples
    return sample


async def come_true(holds: Callable[[], bool]) -> None:
    """Let the run go on until it holds."""
    deadline_s = time.monotonic() + LONGEST_WAIT_S
    while not holds():
        assert time.monotonic() < deadline_s, "it never came true"
        await asyncio.sleep(LOOK_S)


def control(stub: StandIn, *orders: str) -> None:
    """Tell the stub engine, such as `first/50000`."""
    for order in orders:
        urllib.request.urlopen(f"{stub.url}/_stub/{order}", timeout=10).close()
