"""What the verbs of cases share: a stack, a promise, a way to measure, and Ctrl-C that still leaves a report."""

from __future__ import annotations

import argparse
import asyncio
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, TypeVar

import uvloop
from rich.console import Console

from benchmarks.cases.fault import Fault
from benchmarks.cases.measuring import Measuring, pacing_of
from benchmarks.cases.options import MODEL, promises_at
from benchmarks.cases.promises import Promises
from benchmarks.cases.stack import Stack
from benchmarks.cases.taking import Load, Taken, taken
from benchmarks.drive.endpoint import endpoint_of
from benchmarks.drive.probe import probe
from benchmarks.drive.progress import Progress
from benchmarks.figures.dollars import Prices, prices_in
from benchmarks.figures.places import places_of
from benchmarks.figures.promise import promise_in
from benchmarks.workload.spec import Spec, described

Found = TypeVar("Found")
INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Session:
    """All that a case needs. `tiers` are those of `/spillway/status`, empty where an engine is asked directly."""

    stack: Stack
    spec: Spec
    promises: Promises
    tiers: Sequence[Mapping[str, Any]]
    measuring: Measuring
    prices: Prices
    console: Console

    async def take(self, load: Load, faults: Sequence[Fault] = ()) -> Taken:
        """Measure one load here."""
        return await taken(load, self.stack, self.measuring, faults, self.prices)


def run_session(
    options: argparse.Namespace,
    spec: Spec,
    opened: AbstractContextManager[Stack],
    case: Callable[[Session], Awaitable[Found]],
) -> Found:
    """Open the stack, run the case, take the stack down. Raises ValueError with a sentence, or KeyboardInterrupt
    where there is nothing to report yet."""
    # A plain kill or a closed terminal ends it as Ctrl-C does: the stack is taken down first.
    for each in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.default_int_handler)
    console = Console()
    with opened as stack:
        console.print(f"stack: {stack.url}" + (f", stand-in cloud: {stack.cloud_url}" if stack.cloud_url else ""))
        return uvloop.run(_within(options, spec, stack, console, case))


async def _within(
    options: argparse.Namespace,
    spec: Spec,
    stack: Stack,
    console: Console,
    case: Callable[[Session], Awaitable[Found]],
) -> Found:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(each, stop.set)
    key = stack.key or None
    server = await probe(stack.url, options.model, key)
    model = options.model or (MODEL if server.is_spillway else server.model)
    promises, tiers = await asyncio.to_thread(promises_at, stack, options, server.is_spillway)
    prices = prices_in(options, (await places_of(stack.url)).cloud_price)

    console.print(f"promised: {promises}", markup=False, highlight=False)

    def say(name: str, _progress: Progress) -> None:
        console.print(f"  {name} ...", highlight=False)

    measuring = Measuring(
        endpoint=endpoint_of(stack.url, model, key=key, limit_s=options.limit_s),
        pacing=pacing_of(spec),
        load=described(spec) | {"model": model},
        promise=promise_in(options.promise) if options.promise else None,
        prices=prices,
        stop=stop,
        say=say,
    )
    return await case(Session(stack, spec, promises, tiers, measuring, prices, console))
