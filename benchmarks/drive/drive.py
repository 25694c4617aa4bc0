"""The run: sends a workload to an endpoint at its pace and hands back a Sample of every request that ended.

It draws arrivals one ahead, so that drawing one must be quick: thousands of answers wait meanwhile.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic

from benchmarks.drive.endpoint import Endpoint
from benchmarks.drive.exchange import Exchange
from benchmarks.drive.feed import Feed, Ready
from benchmarks.drive.lag import Lag, lag_of
from benchmarks.drive.loops import loop_of
from benchmarks.drive.outcome import sample_of
from benchmarks.drive.pacing import Closed, Pacing
from benchmarks.drive.pool import Pool, make_room, place_of
from benchmarks.drive.progress import Progress
from benchmarks.drive.request import Requests
from benchmarks.drive.sample import Sample
from benchmarks.figures.errors import Failure
from benchmarks.pace import Pace
from benchmarks.workload.arrival import Arrival

Sink = Callable[[Sample], None]
# How often it is looked whether a request has taken too long, and the event loop's own lateness is measured.
BEAT_S = 0.05


@dataclass(frozen=True, slots=True)
class Drive:
    """`seconds` from the start to the last answer, `sending_s` to the last request.

    `samples` are ordered by number. `unfinished` requests were under way when the run was stopped, and have no sample.
    """

    # Whoever ends an event loop has its result written out for a message that nobody sees: millions of numbers.
    samples: list[Sample] = field(repr=False)
    seconds: float
    sending_s: float
    began_unix_s: float
    cpu_s: float
    events: int
    lag: Lag
    unfinished: int
    was_stopped: bool


async def drive(
    endpoint: Endpoint,
    arrivals: Iterator[Arrival],
    pacing: Pacing,
    *,
    progress: Progress | None = None,
    sinks: Sequence[Sink] = (),
    stop: asyncio.Event | None = None,
) -> Drive:
    """Run a workload to its end: nothing is sent after the pacing's, and all answers are waited for.

    `progress` can be read meanwhile; each sink gets each Sample as its request ends; `stop` ends the run early.
    Raises ValueError with a sentence where nothing listens or too many files would be open, and whatever `arrivals`
    raises.
    """
    make_room(pacing.users if isinstance(pacing, Closed) else 0)
    place = await place_of(endpoint)
    requests = Requests(endpoint)
    feed = Feed(arrivals, requests.encoded, pacing.requests)
    progress = progress or Progress()
    driver = Driver(endpoint, feed, pacing, progress, sinks)
    with _undisturbed():
        driver.pool = Pool(place, progress, driver.fail)
        return await driver.run(stop or asyncio.Event())


class Driver:
    """One run. The one writer of its samples and its progress."""

    pool: Pool

    def __init__(
        self, endpoint: Endpoint, feed: Feed, pacing: Pacing, progress: Progress, sinks: Sequence[Sink]
    ) -> None:
        self._endpoint = endpoint
        self._feed = feed
        self._progress = progress
        self._sinks = sinks
        self._pace = Pace(asyncio.get_running_loop())
        self._loop = loop_of(pacing, feed, self._pace, self._send)
        # In the order of sending, so that the one that has waited longest is the first.
        self._under_way: dict[int, Exchange] = {}
        self._samples: list[Sample] = []
        self._beats_s: list[float] = []
        self._error: Exception | None = None
        self._over = asyncio.Event()
        self._began_s = self._last_sent_s = self._last_ended_s = 0.0

    async def run(self, stop: asyncio.Event) -> Drive:
        """The whole of it."""
        began_unix_s, cpu_s = time.time(), time.process_time()
        self._began_s = self._last_sent_s = self._last_ended_s = self._progress.began_s = monotonic()
        try:
            self._loop.begin(self._began_s)
            self._beat(self._began_s)
            await self._until_over(stop)
            unfinished = len(self._under_way)
            ended_s = monotonic() if unfinished else self._last_ended_s
            seconds, cpu_s = ended_s - self._began_s, time.process_time() - cpu_s
        finally:
            self._under_way.clear()
            self._progress.in_flight = 0
            self._pace.close()
            await self.pool.close()
        error = self._error or self._feed.error
        if error is not None:
            raise error
        if not self._progress.sent and not stop.is_set():
            raise ValueError("Nothing was sent: the workload is empty, or its first request is due after the end.")
        samples = sorted(self._samples, key=lambda sample: sample.number)
        return Drive(
            samples=samples,
            seconds=seconds,
            sending_s=self._last_sent_s - self._began_s,
            began_unix_s=began_unix_s,
            cpu_s=cpu_s,
            events=self._progress.events,
            lag=lag_of(samples, self._beats_s, cpu_s / seconds if seconds else 0.0),
            unfinished=unfinished,
            was_stopped=stop.is_set(),
        )

    def fail(self, error: Exception) -> None:
        """The whole run has failed."""
        self._error = self._error or error
        self._over.set()

    async def _until_over(self, stop: asyncio.Event) -> None:
        self._look()
        waits = [asyncio.ensure_future(each.wait()) for each in (self._over, stop)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._loop.is_over = True
            self._progress.is_sending = False
            for wait in waits:
                wait.cancel()

    def _send(self, ready: Ready, due_s: float) -> None:
        number = self._progress.sent
        exchange = Exchange(number, ready.arrival, ready.raw, due_s, self._ended)
        exchange.needs_usage = self._endpoint.needs_usage
        self._under_way[number] = exchange
        self._progress.sent += 1
        self._progress.in_flight += 1
        exchange.sent_s = self._last_sent_s = monotonic()
        self.pool.send(exchange)

    def _ended(self, exchange: Exchange) -> None:
        if self._under_way.pop(exchange.number, None) is None:
            # The run was stopped before.
            return
        sample = sample_of(exchange, self._began_s)
        self._last_ended_s = exchange.ended_s
        self._samples.append(sample)
        self._count(sample)
        for sink in self._sinks:
            sink(sample)
        self._loop.answered(sample.ok)
        self._look()

    def _count(self, sample: Sample) -> None:
        progress = self._progress
        progress.in_flight -= 1
        progress.prompt_tokens += sample.prompt_tokens
        progress.output_tokens += sample.completion_tokens
        if sample.error is None:
            progress.done += 1
            progress.recent_ttft_s.append(sample.e2e_s if sample.ttft_s is None else sample.ttft_s)
        else:
            progress.errors[sample.error] += 1

    def _look(self) -> None:
        """Is it over?"""
        if self._loop.is_over:
            self._progress.is_sending = False
            if not self._under_way:
                self._over.set()

    def _beat(self, due_s: float) -> None:
        now_s = monotonic()
        self._beats_s.append(now_s - due_s)
        self._expire(now_s)
        self._look()
        self._pace.at(now_s + BEAT_S, lambda: self._beat(now_s + BEAT_S))

    def _expire(self, now_s: float) -> None:
        limit_s = self._endpoint.limit_s
        while self._under_way:
            oldest = next(iter(self._under_way.values()))
            if now_s - oldest.sent_s < limit_s:
                return
            abandon = oldest.abandon
            oldest.fail(now_s, Failure.TIMEOUT, f"not complete within {limit_s:g} s")
            abandon()


@contextmanager
def _undisturbed() -> Iterator[None]:
    """No garbage collector: nothing here is a cycle, and a collection stops everything for tens of milliseconds."""
    was_enabled = gc.isenabled()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
        gc.unfreeze()
