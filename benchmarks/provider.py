"""A provider's outage under load: it answers 503, then hangs, then cuts its streams, and is well in between.

Two stand-in clouds, of which the first is preferred and fails, and a router are processes of our own. It says what
clients met: requests that failed without a token, streams that broke after it, and the time that was added to the
first token. It must not know how the router does it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import aiohttp
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from benchmarks.process import process, until_ready
from benchmarks.quantiles import Spread, spread
from benchmarks.stream import Sample, ask, session

MODEL = "large"
KEY = "STAND_IN_KEY"
FIRST_TOKEN_S = 2.0
LIMIT_S = 60.0
# Of a spell, by the share of its requests whose first token may come late without a word of it.
MODES = ("ok", "503", "ok", "timeout", "ok", "cut", "ok")
NAMES = {"ok": "well", "503": "answers 503", "timeout": "hangs", "cut": "cuts streams"}
WIDTH = 140


@dataclass(frozen=True, slots=True)
class Met:
    """What clients met while the provider was in one state. `lost`: no token came and none will; `broken`: some came.

    `asked` counts what the provider itself was asked; `added_p95_s` is against the first spell, None where nothing was
    answered.
    """

    state: str
    seconds: float
    requests: int
    lost: int
    broken: int
    where: Mapping[str, int]
    asked: int
    ttft_s: Spread | None
    longest_ttft_s: float | None
    added_p95_s: float | None = None


def stack_of(first_url: str, second_url: str) -> str:
    """The stack.toml: one provider, and another for when it fails."""
    clouds = "".join(
        f"""
[clouds.{name}]
model = "openai/stand-in"
key_env = "{KEY}"
base_url = "{url}/v1"
serves = ["{MODEL}"]
input_usd_per_mtok = 0.15
output_usd_per_mtok = 0.60
context_tokens = 128000
capabilities = ["chat"]
"""
        for name, url in (("first", first_url), ("second", second_url))
    )
    tier = '[tiers.standard]\nttft_target_s = 2.0\norder = ["cloud/first", "cloud/second"]\n'
    return f"[limits]\nfirst_token_s = {FIRST_TOKEN_S}\ncloud_usd_per_day = 1000.0\n{tier}{clouds}"


async def taken(url: str, first_url: str, rate: float, each_s: float) -> tuple[Sequence[Met], Sequence[str]]:
    """Spell by spell, at so many requests a second whether or not those before have been answered."""
    async with session(4096, limit_s=LIMIT_S) as client, _switch(first_url) as switch:
        began_s, tasks, asked = time.monotonic(), list[list[asyncio.Task[Sample]]](), list[int]()
        for number, mode in enumerate(MODES):
            await switch(mode)
            before = await _asked(client, first_url)
            starts = [began_s + number * each_s + at / rate for at in range(int(each_s * rate))]
            tasks.append([asyncio.create_task(_one(client, url, at_s)) for at_s in starts])
            await asyncio.sleep(max(0.0, began_s + (number + 1) * each_s - time.monotonic()))
            asked.append(await _asked(client, first_url) - before)
        found = [await asyncio.gather(*spell) for spell in tasks]
    mets = [
        met_by(NAMES[mode], each_s, samples, tries) for mode, samples, tries in zip(MODES, found, asked, strict=True)
    ]
    errors = Counter(each.error or "" for samples in found for each in samples if each.error is not None)
    return added(mets), [f"{count}x {error}" for error, count in errors.most_common(5)]


async def _one(client: aiohttp.ClientSession, url: str, at_s: float) -> Sample:
    await asyncio.sleep(max(0.0, at_s - time.monotonic()))
    words = [{"role": "user", "content": "Where does the water go when the river is full?"}]
    usage = {"include_usage": True}
    body = {"model": MODEL, "messages": words, "max_tokens": 32, "stream": True, "stream_options": usage}
    return await ask(client, f"{url}/v1", body)


@asynccontextmanager
async def _switch(url: str) -> AsyncIterator[Any]:
    async with aiohttp.ClientSession() as client:

        async def to(mode: str) -> None:
            async with client.post(f"{url}/_switch", json={"mode": mode}) as answer:
                answer.raise_for_status()

        yield to


async def _asked(client: aiohttp.ClientSession, url: str) -> int:
    async with client.get(f"{url}/_stats") as answer:
        return int((await answer.json())["requests"])


def met_by(state: str, seconds: float, samples: Sequence[Sample], asked: int) -> Met:
    """The figures of one spell."""
    ttft_s = [each.ttft_s for each in samples if each.ttft_s is not None]
    failed = [each for each in samples if each.error is not None]
    return Met(
        state,
        seconds,
        len(samples),
        sum(each.ttft_s is None for each in failed),
        sum(each.ttft_s is not None for each in failed),
        dict(Counter(each.target.removeprefix("cloud/") for each in samples if each.error is None)),
        asked,
        spread(ttft_s),
        max(ttft_s, default=None),
    )


def added(mets: Sequence[Met]) -> Sequence[Met]:
    """With what each spell adds to the first one's p95."""
    usual = mets[0].ttft_s
    return [_with_added(each, usual) for each in mets]


def _with_added(met: Met, usual: Spread | None) -> Met:
    facts = asdict(met) | {"ttft_s": met.ttft_s}
    if met.ttft_s is None or usual is None:
        return met
    return Met(**(facts | {"added_p95_s": met.ttft_s.p95 - usual.p95}))


def measured(rate: float, each_s: float) -> tuple[Sequence[Met], Sequence[str]]:
    """With processes of our own. Raises ValueError if one does not start."""
    with ExitStack() as running, tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, KEY: "sk-test", "SPILLWAY_HOME": folder}
        cloud = ["benchmarks", "cloud", "--ttft-s", "0.2", "--tokens-per-s", "100"]
        first, second = (running.enter_context(process(*cloud, environment=environment)) for _ in range(2))
        # A router wants an engine; nothing asks for this one.
        engine = running.enter_context(process("benchmarks", "engine", "--model", "idle", environment=environment))
        config = Path(folder) / "stack.toml"
        config.write_text(stack_of(first, second))
        router = ["router", "--config", str(config), "--engine", f"idle={engine}", "--port", "0"]
        url = running.enter_context(process(*router, environment=environment))
        until_ready(url)
        asyncio.run(_warm(url))
        return asyncio.run(taken(url, first, rate, each_s))


async def _warm(url: str) -> None:
    """The first calls load what the SDK loads late."""
    async with session(4, limit_s=LIMIT_S) as client:
        for _ in range(3):
            await _one(client, url, 0.0)


def table_of(mets: Sequence[Met], title: str) -> Table:
    """For people."""
    made = Table(title=title, box=SIMPLE_HEAD, title_justify="left")
    made.add_column("the first provider")
    for name in (
        "asked",
        "without a token",
        "broken off",
        "served by",
        "asked there",
        "first token p50",
        "p95",
        "added",
    ):
        made.add_column(name, justify="left" if name == "served by" else "right")
    made.add_column("longest", justify="right")
    for met in mets:
        where = ", ".join(f"{count} {name}" for name, count in sorted(met.where.items()))
        waits = (
            (met.ttft_s.p50, met.ttft_s.p95, met.added_p95_s or 0.0, met.longest_ttft_s or 0.0) if met.ttft_s else ()
        )
        counts = (met.requests, met.lost, met.broken, where, met.asked)
        made.add_row(met.state, *[str(each) for each in counts], *[f"{each:.2f} s" for each in waits])
    return made


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    parser.add_argument("--rate", type=float, default=20.0, help="requests a second (%(default)g)")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each of the seven spells (%(default)g)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")


def main(options: argparse.Namespace) -> int:
    """0 when every request got a first token, else 1. Raises ValueError with a sentence."""
    if options.rate <= 0 or options.seconds <= 0:
        raise ValueError("--rate and --seconds must be above zero.")
    mets, errors = measured(options.rate, options.seconds)
    console = Console(width=WIDTH, highlight=False)
    console.print(table_of(mets, f"A provider fails at {options.rate:g} requests/s, another one stands behind it"))
    for error in errors:
        console.print(f"- {error}", markup=False)
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(met) for met in mets], indent=2) + "\n")
    return 0 if not any(met.lost for met in mets) else 1
