"""The load generator: keeps so many connections busy with one kind of request and checks every answer completely.

As a process of its own it prints a line of JSON when its window opens, one when it closes, and its figures.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import time
from collections.abc import Callable

import uvloop

from benchmarks.client import Client
from benchmarks.completeness import Exam, Fault
from benchmarks.job import Job, address_of, requests_of
from benchmarks.tally import Summary, Tally

RETRY_S = 0.05
LOOK_S = 0.05


class Load:
    """Runs one Job. The one writer of its clients."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._exam = Exam(stream=job.stream, tokens=job.tokens if job.numbered else None)
        self._request = requests_of(job)
        self._clients: set[Client] = set()
        self._asked = 0
        self._is_over = False
        self._over = asyncio.Event()
        self._dials: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self.tally = Tally(job.mark)

    async def run(self, opened: Callable[[], None], closed: Callable[[], None]) -> Summary:
        """The whole job. `opened` and `closed` are called at the ends of the window."""
        job = self._job
        for number in range(job.connections):
            self._loop.call_later(job.ramp_s * number / job.connections, self._dial)
        await asyncio.sleep(0.0 if job.requests else job.warm_s)
        self.tally.is_open = True
        opened()
        began_s, cpu_s = time.perf_counter(), time.process_time()
        await self._until_over()
        self.tally.is_open = False
        closed()
        seconds, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_s
        unfinished = await self._drained()
        return self.tally.summary(seconds, unfinished, cpu_s)

    async def _until_over(self) -> None:
        try:
            await asyncio.wait_for(self._over.wait(), None if self._job.requests else self._job.seconds)
        except TimeoutError:
            self._is_over = True

    async def _drained(self) -> int:
        """Wait for what is under way and hang up; how many answers never ended."""
        until_s = time.perf_counter() + self._job.drain_s
        while any(each.is_busy for each in self._clients) and time.perf_counter() < until_s:
            await asyncio.sleep(LOOK_S)
        unfinished = sum(each.is_busy for each in self._clients)
        for each in list(self._clients):
            each.close()
        for dial in list(self._dials):
            dial.cancel()
        while self._clients:
            # Hanging up takes a turn of the event loop.
            await asyncio.sleep(0)
        return unfinished

    def _dial(self) -> None:
        if not self._is_over:
            dial = self._loop.create_task(self._connect())
            self._dials.add(dial)
            dial.add_done_callback(self._dials.discard)

    async def _connect(self) -> None:
        address = self._job.address
        try:
            await self._loop.create_connection(self._made, address.host, address.port)
        except OSError as error:
            self.tally.fail(Fault.CONNECTION, f"{Fault.CONNECTION}: {error}")
            self._loop.call_later(RETRY_S, self._dial)

    def _made(self) -> Client:
        client = Client(self._exam, self.tally, self._next, self._lost)
        self._clients.add(client)
        return client

    def _next(self, client: Client) -> None:
        """The client is free."""
        if self._job.requests and self.tally.ended >= self._job.requests:
            self._is_over = True
            self._over.set()
        if not self._is_over and (not self._job.requests or self._asked < self._job.requests):
            self._asked += 1
            client.ask(self._request(self._asked))

    def _lost(self, client: Client) -> None:
        self._clients.discard(client)
        self._loop.call_later(RETRY_S if self.tally.faults else 0.0, self._dial)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    defaults = Job(address_of("http://127.0.0.1"), "")
    parser.add_argument("--url", required=True, help="the endpoint, with or without /v1")
    parser.add_argument("--path", default="/v1/chat/completions", help="(%(default)s)")
    parser.add_argument("--header", action="append", default=[], metavar="'NAME: VALUE'", help="sent with each request")
    parser.add_argument("--model", default="tiny", help="(%(default)s)")
    parser.add_argument("--connections", type=int, default=defaults.connections, help="(%(default)s)")
    parser.add_argument("--stream", action="store_true")
    parser.add_argument("--tokens", type=int, default=defaults.tokens, help="length of an answer (%(default)s)")
    parser.add_argument("--plain", action="store_true", help="the engine is not `stub`: its tokens have no numbers")
    parser.add_argument("--warm-s", type=float, default=defaults.warm_s, help="before the window (%(default)s)")
    parser.add_argument("--seconds", type=float, default=defaults.seconds, help="the window (%(default)s)")
    parser.add_argument("--ramp-s", type=float, default=defaults.ramp_s, help="to the last connection (%(default)s)")
    parser.add_argument("--requests", type=int, default=0, help="end after so many instead")
    parser.add_argument("--drain-s", type=float, default=defaults.drain_s, help="wait for the rest (%(default)s)")


def job_in(options: argparse.Namespace) -> Job:
    """Raises ValueError with a sentence on bad options."""
    if options.connections < 1 or options.tokens < 1 or options.seconds <= 0:
        raise ValueError("--connections, --tokens and --seconds must be above zero.")
    return Job(
        address=address_of(options.url, options.path, tuple(options.header)),
        model=options.model,
        connections=options.connections,
        stream=options.stream,
        tokens=options.tokens,
        numbered=not options.plain,
        warm_s=options.warm_s,
        seconds=options.seconds,
        ramp_s=options.ramp_s,
        requests=options.requests,
        drain_s=options.drain_s,
    )


async def loaded(job: Job) -> Summary:
    """Run the job and print its lines."""
    load = Load(job)
    # What lives now lives for ever: the collector need not look at it in the middle of a measurement.
    gc.freeze()
    summary = await load.run(lambda: _say({"window": "open"}), lambda: _say({"window": "closed"}))
    _say({"summary": summary.as_json()})
    return summary


def _say(line: dict[str, object]) -> None:
    print(json.dumps(line), flush=True)


def main(options: argparse.Namespace) -> int:
    """Status 1 when an answer was not complete. Raises ValueError with a sentence on bad options."""
    summary = uvloop.run(loaded(job_in(options)))
    return 0 if summary.is_complete else 1
