"""A burst of agents against a provider that allows few requests: what clients met, where it ran, how long they waited.

Five agents, two calls each, in ten workflows that begin within ten seconds are 600 requests a minute. The stand-in
provider takes 30 a minute from each key and answers 429 over it; no 429 may reach a client. Router, provider and engine
are processes of our own. It must not know how the router does it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from benchmarks.allowance import Window
from benchmarks.process import got, process, until_ready
from benchmarks.quantiles import Spread, spread
from benchmarks.stream import Sample, ask, session

AGENTS, CALLS = 5, 2
MODEL = "tiny"
KEYS = ("KEY_ONE", "KEY_TWO")
# The longest that a client waits for the end of its answer.
LONGEST_S = 600.0
TOO_MANY = 429


@dataclass(frozen=True, slots=True)
class Case:
    """One row. `keys` are in the pool, `places` the order of the tier, `told`: the limit stands in stack.toml."""

    name: str
    places: tuple[str, ...] = ("cloud", "local")
    keys: int = 1
    told: bool = True


CASES = (
    Case("provider first, then the engine"),
    Case("engine first, then the provider", ("local", "cloud")),
    Case("a pool of two keys, then the engine", keys=2),
    Case("a limit that nobody has written down", told=False),
    Case("no engine: whoever cannot be sent waits", ("cloud",)),
)


@dataclass(frozen=True, slots=True)
class Met:
    """What the clients of one case met, and what the provider counted."""

    case: str
    requests: int
    answered: int
    client_429: int
    client_errors: int
    provider_429: int
    where: Mapping[str, int]
    ttft_s: Spread | None
    longest_ttft_s: float | None
    seconds: float


def arrivals_s(workflows: int, seconds: float) -> Sequence[float]:
    """When each call is sent: workflows begin evenly, the agents of one work side by side, each calls twice."""
    each_s = seconds / workflows
    calls = AGENTS * CALLS
    return [workflow * each_s + call * each_s / calls for workflow in range(workflows) for call in range(calls)]


def stack_of(case: Case, cloud_url: str, most: int, max_wait_s: float) -> str:
    """The stack.toml of a case."""
    limit = f"requests_per_minute = {most}" if case.told else ""
    return f"""
[limits]
max_wait_s = {max_wait_s}
[tiers.standard]
ttft_target_s = 2.0
order = {json.dumps(case.places)}
[providers.stand-in]
key_env = {json.dumps(KEYS[: case.keys])}
base_url = "{cloud_url}/v1"
{limit}
[clouds.burst]
model = "openai/stand-in"
provider = "stand-in"
serves = ["{MODEL}"]
input_usd_per_mtok = 0.15
output_usd_per_mtok = 0.60
context_tokens = 128000
capabilities = ["chat"]
"""


async def burst(url: str, sent_s: Sequence[float]) -> Sequence[Sample]:
    """All calls, each at its moment, whether or not those before it have been answered."""
    async with session(len(sent_s), limit_s=LONGEST_S) as client:
        began_s = time.monotonic()

        async def one(number: int, at_s: float) -> Sample:
            await asyncio.sleep(max(0.0, began_s + at_s - time.monotonic()))
            return await ask(client, url, _body(number))

        return await asyncio.gather(*[one(number, at_s) for number, at_s in enumerate(sent_s)])


def _body(number: int) -> dict[str, Any]:
    words = [{"role": "user", "content": f"Step {number}: what does the next page of the site offer?"}]
    usage = {"include_usage": True}
    return {"model": MODEL, "messages": words, "max_tokens": 48, "stream": True, "stream_options": usage}


def met_by(case: Case, samples: Sequence[Sample], provider_429: int, seconds: float) -> Met:
    """The figures of one case."""
    good = [each for each in samples if each.error is None]
    ttft_s = [each.ttft_s for each in good if each.ttft_s is not None]
    refused = sum(each.status == TOO_MANY for each in samples)
    return Met(
        case.name,
        len(samples),
        len(good),
        refused,
        len(samples) - len(good) - refused,
        provider_429,
        dict(Counter(each.target for each in good)),
        spread(ttft_s),
        max(ttft_s, default=None),
        seconds,
    )


def measured(case: Case, options: argparse.Namespace) -> Met:
    """One case with processes of its own. Raises ValueError if one does not start."""
    keys = {name: f"sk-{name.lower()}" for name in KEYS}
    with ExitStack() as running, tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, **keys, "SPILLWAY_HOME": folder}
        limits = ["--requests-per-minute", str(options.requests_per_minute), "--window", options.window]
        accepted = [word for key in keys.values() for word in ("--key", key)]
        cloud_url = running.enter_context(process("benchmarks", "cloud", *limits, *accepted, environment=environment))
        # One at a time: enough for a router that wants an engine, and no more, where the case has none.
        at_once = options.engine_at_once if "local" in case.places else 1
        engine = ["benchmarks", "engine", "--model", MODEL, "--max-num-seqs", str(at_once)]
        engine_url = running.enter_context(process(*engine, environment=environment))
        config = Path(folder) / "stack.toml"
        config.write_text(stack_of(case, cloud_url, options.requests_per_minute, options.max_wait_s))
        router = ["router", "--config", str(config), "--engine", f"{MODEL}={engine_url}", "--port", "0"]
        url = running.enter_context(process(*router, environment=environment))
        until_ready(url)
        began_s = time.monotonic()
        samples = asyncio.run(burst(f"{url}/v1", arrivals_s(options.workflows, options.seconds)))
        seconds = time.monotonic() - began_s
        refused = got(f"{cloud_url}/_stats")["by_status"].get(str(TOO_MANY), 0)
    return met_by(case, samples, refused, seconds)


def table_of(found: Sequence[Met], title: str) -> Table:
    """For people."""
    table = Table(title=title, box=SIMPLE_HEAD, title_justify="left")
    for name in ("Case", "Answered", "429 to clients", "other errors", "429 by provider", "where", "first token p50"):
        table.add_column(name, justify="left" if name in {"Case", "where"} else "right")
    table.add_column("p95", justify="right")
    table.add_column("longest", justify="right")
    for met in found:
        where = ", ".join(f"{count} {target}" for target, count in sorted(met.where.items()))
        waits = (met.ttft_s.p50, met.ttft_s.p95, met.longest_ttft_s or 0.0) if met.ttft_s else ()
        counts = (f"{met.answered}/{met.requests}", met.client_429, met.client_errors, met.provider_429, where)
        table.add_row(met.case, *[str(each) for each in counts], *[f"{each:.1f} s" for each in waits])
    return table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    parser.add_argument("--workflows", type=int, default=10, help="of five agents with two calls each (%(default)s)")
    parser.add_argument("--seconds", type=float, default=10.0, help="in which they all begin (%(default)s)")
    parser.add_argument("--requests-per-minute", type=int, default=30, help="that each key allows (%(default)s)")
    parser.add_argument("--window", choices=list(Window), default=Window.BUCKET, help="how it counts (%(default)s)")
    parser.add_argument("--engine-at-once", type=int, default=8, help="requests that the engine runs (%(default)s)")
    parser.add_argument("--max-wait-s", type=float, default=240.0, help="the router's longest wait (%(default)s)")
    parser.add_argument("--case", action="append", help="only cases with these words in their names")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")


def main(options: argparse.Namespace) -> int:
    """0 when no client met a 429 or another error, else 1. Raises ValueError with a sentence."""
    if min(options.workflows, options.requests_per_minute, options.engine_at_once) < 1 or options.seconds <= 0:
        raise ValueError("--workflows, --requests-per-minute, --engine-at-once and --seconds must be above zero.")
    wanted = options.case or [""]
    cases = [case for case in CASES if any(words in case.name for words in wanted)]
    if not cases:
        raise ValueError(f"--case: no case has these words; there are: {'; '.join(case.name for case in CASES)}.")
    found = [measured(case, options) for case in cases]
    calls = options.workflows * AGENTS * CALLS
    allows = f"{options.requests_per_minute} a minute ({options.window})"
    title = f"{calls} requests in {options.seconds:g} s, a provider that allows {allows} for each key"
    Console(width=None if sys.stdout.isatty() else 170).print(table_of(found, title))
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(met) for met in found], indent=2) + "\n")
    return 0 if all(met.answered == met.requests for met in found) else 1
