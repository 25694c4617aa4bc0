"""How soon a preset that is switched counts, while requests come: one line of stack.toml is edited again and again.

Two engines, two presets that name one of them each, an even stream of requests. Measured from the moment at which the
file is saved: until the first request is routed anew, and until none is routed the old way any more. Now and then an
edit is a broken one, which may change nothing. Router and engines are processes of our own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from benchmarks.process import POLL_S, START_S, process
from benchmarks.quantiles import Spread, spread
from benchmarks.stream import Sample, ask, session

PRESETS = {"frugal": "small", "lavish": "big"}
# From edit to edit, of the usual time: the router looks at the file evenly and must not keep step with us.
SHORTEST_SHARE, LONGEST_SHARE = 0.75, 1.25
BREAK_EACH = 4


@dataclass(frozen=True, slots=True)
class Save:
    """One edit: when it was on disk, and which target should serve from then on. `broken`: it must change nothing."""

    at_s: float
    target: str
    broken: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """One request: when it was sent, and what it met."""

    sent_s: float
    sample: Sample


@dataclass(frozen=True, slots=True)
class Found:
    """`anew_s`: from a save until the first request that went the new way was sent; `settled_s`: until the last that
    went the old way was, 0 where none did. `astray` went to neither the one nor the other."""

    switches: int
    broken_edits: int
    requests: int
    failed: int
    astray: int
    anew_s: Spread | None
    anew_longest_s: float | None
    settled_s: Spread | None
    settled_longest_s: float | None


def found_in(saves: Sequence[Save], calls: Sequence[Call]) -> Found:
    """The figures of a run. Raises ValueError for a switch that no request has shown."""
    good = [call for call in calls if call.sample.error is None]
    anew_s, settled_s, astray = [], [], 0
    ends = [*(save.at_s for save in saves[1:]), float("inf")]
    for save, end_s in zip(saves, ends, strict=True):
        during = [call for call in good if save.at_s <= call.sent_s < end_s]
        new = [call.sent_s - save.at_s for call in during if call.sample.target == save.target]
        old = [call.sent_s - save.at_s for call in during if call.sample.target != save.target]
        if save.broken:
            astray += len(old)
            continue
        if not new:
            raise ValueError(f"no request went to {save.target} after the edit: {len(old)} went elsewhere.")
        anew_s.append(min(new))
        settled_s.append(max(old, default=0.0))
    known = set(f"local/{model}" for model in PRESETS.values())
    astray += sum(call.sample.target not in known for call in good)
    return Found(
        switches=len(anew_s),
        broken_edits=sum(save.broken for save in saves),
        requests=len(calls),
        failed=len(calls) - len(good),
        astray=astray,
        anew_s=spread(anew_s),
        anew_longest_s=max(anew_s, default=None),
        settled_s=spread(settled_s),
        settled_longest_s=max(settled_s, default=None),
    )


def stack_of(preset: str, workers: int) -> str:
    """The stack.toml: all that is ever edited is its first line."""
    models = "".join(f'[presets.{name}]\ndefault = "{model}"\n' for name, model in PRESETS.items())
    return f"""active_preset = "{preset}"
{models}
[endpoint]
workers = {workers}
[tiers.standard]
ttft_target_s = 5.0
order = ["local"]
[tasks.work]
tier = "standard"
"""


def save(path: Path, text: str) -> float:
    """Replace the file whole, as editors do; the moment at which the new one is there."""
    beside = path.with_suffix(".new")
    beside.write_text(text)
    beside.replace(path)
    return time.monotonic()


async def run(url: str, path: Path, options: argparse.Namespace) -> tuple[Sequence[Save], Sequence[Call]]:
    """Requests and edits side by side, until all edits have been made."""
    ended, calls, saves = asyncio.Event(), list[Call](), list[Save]()
    async with session(256) as client, asyncio.TaskGroup() as tasks:

        async def one() -> None:
            sent_s = time.monotonic()
            calls.append(Call(sent_s, await ask(client, url, _body(len(calls)))))

        async def send() -> None:
            due_s = time.monotonic()
            while not ended.is_set():
                tasks.create_task(one())
                due_s += 1 / options.requests_per_second
                await asyncio.sleep(max(0.0, due_s - time.monotonic()))

        tasks.create_task(send())
        await _edit(path, options, saves)
        ended.set()
    return saves, calls


async def _edit(path: Path, options: argparse.Namespace, saves: list[Save]) -> None:
    chance, names, at = random.Random(options.seed), list(PRESETS), 0
    await asyncio.sleep(options.each_s)
    while sum(not each.broken for each in saves) < options.switches:
        broken = len(saves) % BREAK_EACH == BREAK_EACH - 1
        at += not broken
        preset = names[at % len(names)]
        # A preset that does not exist, which no router may take for one.
        text = stack_of(preset if not broken else "nowhere", options.workers)
        saves.append(Save(save(path, text), f"local/{PRESETS[preset]}", broken))
        await asyncio.sleep(options.each_s * chance.uniform(SHORTEST_SHARE, LONGEST_SHARE))


def _body(number: int) -> dict[str, Any]:
    words = [{"role": "user", "content": f"Page {number}: what does it say?"}]
    return {"model": "task/work", "messages": words, "max_tokens": 8, "stream": True}


def measured(options: argparse.Namespace) -> Found:
    """One run with processes of its own. Raises ValueError if one does not start, or if an edit has no effect."""
    with ExitStack() as running, tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "SPILLWAY_HOME": folder}
        stubs = {
            model: running.enter_context(process("benchmarks", "stub", "--model", model, environment=environment))
            for model in PRESETS.values()
        }
        path = Path(folder) / "stack.toml"
        save(path, stack_of(next(iter(PRESETS)), options.workers))
        engines = [word for model, url in stubs.items() for word in ("--engine", f"{model}={url}")]
        router = ["router", "--config", str(path), *engines, "--port", "0"]
        url = running.enter_context(process(*router, environment=environment)) + "/v1"
        asyncio.run(_until_served(url))
        return found_in(*asyncio.run(run(url, path, options)))


async def _until_served(url: str) -> None:
    until_s = time.monotonic() + START_S
    async with session(1) as client:
        while time.monotonic() < until_s:
            answers = [await ask(client, url, _body(0) | {"model": model}) for model in PRESETS.values()]
            if all(each.error is None for each in answers):
                return
            await asyncio.sleep(POLL_S)
    raise ValueError(f"the router at {url} did not serve within {START_S:g} s")


def table_of(found: Found, title: str) -> Table:
    """For people."""
    table = Table("", "p50", "p95", "p99", "longest", title=title, box=SIMPLE_HEAD, title_justify="left")
    for name, times_s, longest_s in (
        ("from the save to the first request routed anew", found.anew_s, found.anew_longest_s),
        ("from the save to the last one routed the old way", found.settled_s, found.settled_longest_s),
    ):
        if times_s is not None and longest_s is not None:
            quantiles = (times_s.p50, times_s.p95, times_s.p99, longest_s)
            table.add_row(name, *(f"{each:.3f} s" for each in quantiles))
    return table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    parser.add_argument("--switches", type=int, default=100, help="of the preset (%(default)s)")
    parser.add_argument("--requests-per-second", type=float, default=100.0, help="all the while (%(default)s)")
    parser.add_argument("--each-s", type=float, default=1.7, help="from edit to edit, on average (%(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="processes of the router (%(default)s)")
    parser.add_argument("--seed", type=int, default=7, help="of the moments of the edits (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")


def main(options: argparse.Namespace) -> int:
    """0 when no request failed and none went astray, else 1. Raises ValueError with a sentence."""
    if min(options.switches, options.workers) < 1 or min(options.requests_per_second, options.each_s) <= 0:
        raise ValueError("--switches, --workers, --requests-per-second and --each-s must be above zero.")
    found = measured(options)
    title = f"{found.switches} switches of the preset at {options.requests_per_second:g} requests/s"
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table_of(found, title))
    console.print(
        f"{found.requests} requests, {found.failed} failed; {found.broken_edits} broken edits, after which "
        f"{found.astray} requests went astray",
        highlight=False,
    )
    if options.json is not None:
        options.json.write_text(json.dumps(asdict(found), indent=2) + "\n")
    return 0 if found.failed == found.astray == 0 else 1
