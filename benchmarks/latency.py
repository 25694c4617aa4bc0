"""How much the router adds: the same requests, in turns straight to an engine and through the router, in one run.

Blocks of the two sides alternate, so that a slow moment of the machine hits both. A run with a failed request, or one
that left the machine, has no table.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import aiohttp
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from benchmarks.quantiles import Spread, spread
from benchmarks.stream import Sample, ask, session

BLOCKS = 4
STREAMED_TOKENS = 32
SIDES = ("direct", "router")


class Failed(ValueError):
    """A request that makes the run worthless."""


@dataclass(frozen=True, slots=True)
class Case:
    """One row of the table."""

    connections: int
    streamed: bool

    @property
    def tokens(self) -> int:
        """Length of every answer."""
        return STREAMED_TOKENS if self.streamed else 1

    @property
    def label(self) -> str:
        """What the row measures, in words."""
        return f"streamed, {self.tokens} tokens" if self.streamed else "whole, 1 token"


@dataclass(frozen=True, slots=True)
class Side:
    """What one side showed in one case."""

    e2e_s: Spread
    ttft_s: Spread | None
    requests_per_s: float


@dataclass(frozen=True, slots=True)
class Row:
    """A case with both sides; `added_*` are differences of medians."""

    case: Case
    direct: Side
    router: Side

    @property
    def added_e2e_s(self) -> float:
        """What the router adds to the whole answer."""
        return self.router.e2e_s.p50 - self.direct.e2e_s.p50

    @property
    def added_ttft_s(self) -> float | None:
        """What the router adds to the first token."""
        if self.router.ttft_s is None or self.direct.ttft_s is None:
            return None
        return self.router.ttft_s.p50 - self.direct.ttft_s.p50


def side_of(case: Case, samples: list[Sample], wall_s: float) -> Side:
    """The statistics of one side. Raises Failed when an answer failed, came from a cloud or has the wrong length."""
    for sample in samples:
        if sample.error is not None:
            raise Failed(f"A request failed with status {sample.status}: {sample.error}. Nothing is worth a table.")
        if sample.target.startswith("cloud/"):
            raise Failed(f"A request went to {sample.target}: the router must be measured on its local engine.")
        if sample.completion_tokens != case.tokens:
            raise Failed(f"An answer has {sample.completion_tokens} tokens instead of {case.tokens}: not comparable.")
    whole = spread(each.e2e_s for each in samples)
    if whole is None:
        raise Failed("No request was measured.")
    first = spread(each.ttft_s for each in samples if each.ttft_s is not None)
    return Side(whole, first, len(samples) / wall_s)


async def measured(urls: dict[str, str], case: Case, model: str, requests: int, key: str | None) -> Row:
    """Run one case: a warm-up, then blocks in turns."""
    samples: dict[str, list[Sample]] = {side: [] for side in SIDES}
    walls = dict.fromkeys(SIDES, 0.0)
    bodies = _bodies(case, model)
    async with session(case.connections, key) as direct, session(case.connections, key) as router:
        clients = {"direct": direct, "router": router}
        for side in SIDES:
            warm, wall_s = await _block(clients[side], urls[side], bodies, case.connections, case.connections)
            side_of(case, warm, wall_s)
        for _, side in itertools.product(range(BLOCKS), SIDES):
            # Fewer than two requests a connection would measure the burst at the start and little else.
            count = max(requests // BLOCKS, 2 * case.connections)
            block, wall_s = await _block(clients[side], urls[side], bodies, case.connections, count)
            samples[side] += block
            walls[side] += wall_s
    return Row(case, *(side_of(case, samples[side], walls[side]) for side in SIDES))


async def _block(
    client: aiohttp.ClientSession, url: str, bodies: Iterator[dict[str, Any]], connections: int, requests: int
) -> tuple[list[Sample], float]:
    """So many requests over so many connections, each connection sending its next as soon as the last is answered."""
    todo = list(itertools.islice(bodies, requests))
    samples: list[Sample] = []

    async def user() -> None:
        while todo:
            samples.append(await ask(client, url, todo.pop(), {"x-spillway-privacy": "local-only"}))

    started = time.perf_counter()
    await asyncio.gather(*(user() for _ in range(min(connections, requests))))
    return samples, time.perf_counter() - started


def _bodies(case: Case, model: str) -> Iterator[dict[str, Any]]:
    """Requests that differ in their text, so that no cache answers for the engine."""
    for number in itertools.count():
        said = [{"role": "user", "content": f"Question {number}: what are you, and what comes after you?"}]
        body: dict[str, Any] = {"model": model, "messages": said, "max_tokens": case.tokens, "ignore_eos": True}
        if case.streamed:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        yield body


def tables(rows: list[Row]) -> list[Table]:
    """The figures in milliseconds, a table for each kind of request."""
    labels = dict.fromkeys(row.case.label for row in rows)
    return [_table(label, [row for row in rows if row.case.label == label]) for label in labels]


def _table(label: str, rows: list[Row]) -> Table:
    title = f"{label} (ms)"
    made = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    made.add_column("conns", justify="right", no_wrap=True)
    made.add_column("", no_wrap=True)
    for name in ("p50", "p95", "p99", "TTFT p50", "p95", "p99", "req/s"):
        made.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        made.add_row(str(row.case.connections), "direct", *_cells(row.direct))
        made.add_row("", "router", *_cells(row.router))
        ttft = [] if row.added_ttft_s is None or not row.case.streamed else ["", "", _ms(row.added_ttft_s)]
        made.add_row("", "[bold]added", _ms(row.added_e2e_s), *ttft, end_section=True)
    return made


def _cells(side: Side) -> list[str]:
    first = side.ttft_s
    ttft = ["", "", ""] if first is None else [_ms(first.p50), _ms(first.p95), _ms(first.p99)]
    return [_ms(side.e2e_s.p50), _ms(side.e2e_s.p95), _ms(side.e2e_s.p99), *ttft, f"{side.requests_per_s:.1f}"]


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f}"


def as_json(rows: list[Row]) -> list[dict[str, Any]]:
    """The figures for a file, in seconds."""
    added = [{"added_e2e_s": row.added_e2e_s, "added_ttft_s": row.added_ttft_s} for row in rows]
    return [asdict(row) | more for row, more in zip(rows, added, strict=True)]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    parser.add_argument("--direct", required=True, metavar="URL", help="the engine, with or without /v1")
    parser.add_argument("--router", required=True, metavar="URL", help="the router, with or without /v1")
    parser.add_argument("--model", required=True, help="the model's name, the same on both sides")
    parser.add_argument("--connections", default="1,64", help="numbers separated by commas (%(default)s)")
    parser.add_argument("--requests", type=int, default=200, help="at least, for each side of each case (%(default)s)")
    parser.add_argument("--key", help="API key, where the router wants one")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")


def main(options: argparse.Namespace) -> int:
    """Print the table. Raises ValueError with a sentence on bad options and failed requests."""
    counts = _counts(options.connections)
    if options.requests < 1:
        raise ValueError("--requests must be at least 1.")
    urls = {side: f"{vars(options)[side].rstrip('/').removesuffix('/v1')}/v1" for side in SIDES}
    console = Console()
    rows = []
    for connections, streamed in itertools.product(counts, (False, True)):
        case = Case(connections, streamed)
        with console.status(f"{case.label}, {connections} connections"):
            rows.append(asyncio.run(measured(urls, case, options.model, options.requests, options.key)))
    console.print("Straight to the engine, through the router; added is the difference of medians.\n")
    console.print(*tables(rows))
    if options.json:
        options.json.write_text(json.dumps(as_json(rows), indent=1) + "\n")
    return 0


def _counts(text: str) -> list[int]:
    try:
        counts = [int(part) for part in text.split(",")]
    except ValueError:
        counts = []
    if not counts or min(counts) < 1:
        raise ValueError(f"--connections {text!r} must be numbers above zero, such as 1,64.")
    return counts
