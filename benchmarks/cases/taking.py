"""One load measured in company: faults strike, the targets are watched, and the ledger is asked what it all cost.

How a load is measured is given: `Measure`. It must not know which way or phase it is about.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from msgspec.structs import replace

from benchmarks.cases.fault import Fault
from benchmarks.cases.ledger import priced, usd_by_request
from benchmarks.cases.outcome import CLOUD_PREFIX
from benchmarks.cases.stack import Stack
from benchmarks.cases.start import Start
from benchmarks.cases.states import watch_states
from benchmarks.cases.strike import carry_out, mend_all
from benchmarks.drive.sample import Sample
from benchmarks.figures.dollars import Prices, costs_of
from benchmarks.measure import Measured
from benchmarks.report.document import Run
from benchmarks.workload.arrival import Arrival

# The ledger's clock is that of this machine: a request cannot have arrived before it was sent.
CLOCK_S = 1.0


Measure = Callable[[str, Iterator[Arrival]], Awaitable[Measured]]


@dataclass(frozen=True, slots=True)
class Taken:
    """What a load met. `tiers` are those that its requests asked for, by number, before a pass changed them."""

    run: Run
    samples: tuple[Sample, ...]
    tiers: tuple[str, ...]
    was_stopped: bool = False


@dataclass(frozen=True, slots=True)
class Load:
    """What is sent: `change` makes of each arrival what this pass sends of it."""

    name: str
    arrivals: Iterable[Arrival]
    change: Callable[[Arrival], Arrival] = lambda arrival: arrival


async def taken(
    load: Load, stack: Stack, measure: Measure, faults: Sequence[Fault] = (), prices: Prices | None = None
) -> Taken:
    """Measure a load on this stack while the faults strike; afterwards everything is mended.

    Events are in the run's order of time; a fault that could not be carried out makes the run invalid.
    """
    start, events, tiers = Start(), list[tuple[float, str]](), list[str]()
    began_unix_s = time.time() - CLOCK_S

    def note(at_s: float, text: str) -> None:
        events.append((round(at_s, 3), text))

    watching = asyncio.create_task(watch_states(stack, start, note))
    striking = asyncio.create_task(carry_out(faults, stack, start, note))
    try:
        found = await measure(load.name, start.beginning(_changed(load, stack, tiers)))
    finally:
        failures = [*await _ended(striking), *await mend_all(faults, stack)]
        await _ended(watching)
    samples = await _with_dollars(found.samples, stack, began_unix_s)
    costs = costs_of(samples, found.meters, prices or Prices())
    run = replace(found.run, costs=costs, events=sorted(events), invalid=[*found.run.invalid, *failures])
    return Taken(run, samples, tuple(tiers), found.was_stopped)


def _changed(load: Load, stack: Stack, tiers: list[str]) -> Iterator[Arrival]:
    for arrival in load.arrivals:
        tiers.append(arrival.tier or stack.task_tiers.get(arrival.task, ""))
        yield load.change(arrival)


async def _ended(task: asyncio.Task[list[str]] | asyncio.Task[None]) -> list[str]:
    """What a task that is no longer needed came to; nothing if it had to be cancelled."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        return await task or []
    return []


async def _with_dollars(samples: Sequence[Sample], stack: Stack, since_unix_s: float) -> tuple[Sample, ...]:
    if stack.ledger is None:
        return tuple(samples)
    wanted = [sample.request_id for sample in samples if sample.target.startswith(CLOUD_PREFIX)]
    return priced(samples, await asyncio.to_thread(usd_by_request, stack.ledger, since_unix_s, wanted))
