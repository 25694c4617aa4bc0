"""What a strategy does to the prefix caches of several engines: the share of prompt tokens that they found there.

For each strategy a router of its own is started in front of the same engines, and the same kind of conversations is
sent through it. What was found in caches is read from the engines' own counters (vLLM's prefix_cache_hits_total and
prefix_cache_queries_total). Without --engine two fake engines are started for it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from itertools import chain, count
from pathlib import Path

import aiohttp
from prometheus_client.parser import text_string_to_metric_families
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from benchmarks.prefix_cache import PrefixCache
from benchmarks.process import POLL_S, START_S, process
from benchmarks.quantiles import quantile
from benchmarks.stream import Sample, ask, session
from benchmarks.talks import Message, Talks, rounds

STRATEGIES = ("least_busy=1", "round_robin=1", "least_busy=1,affinity=0.5")
FAKE = ("--prefix-cache-tokens", "32768", "--kv-tokens", "65536", "--prefill-tokens-per-s", "4000", "--step-ms", "5")
FAKE_ENGINES = 2
HITS, QUERIES = "vllm:prefix_cache_hits_total", "vllm:prefix_cache_queries_total"
ENDLESS = 10**9
# Of what is not a terminal.
WIDTH = 120


@dataclass(frozen=True, slots=True)
class Found:
    """What one strategy came to, and of how many prompt tokens.

    `most_share` is what one endless cache for all engines would have found, `requests` how many each engine got, the
    most first.
    """

    strategy: str
    hit_share: float
    most_share: float
    queried_tokens: int
    ttft_p50_s: float
    ttft_p95_s: float
    requests: Sequence[int]
    failed: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    add = parser.add_argument
    add("--engine", action="append", default=[], metavar="URL", help="an engine with a prefix cache; give two or more")
    add("--model", default="tiny", help="the name that all of them serve (%(default)s)")
    add("--strategy", action="append", default=[], metavar="NAME=WEIGHT,...", help="default: " + "; ".join(STRATEGIES))
    add("--conversations", type=int, default=24, help="(%(default)s)")
    add("--turns", type=int, default=5, help="(%(default)s)")
    add("--users", type=int, default=4, help="requests at once (%(default)s)")
    add("--shared-words", type=int, default=100, help="instructions that all conversations have (%(default)s)")
    add("--question-words", type=int, default=80, help="(%(default)s)")
    add("--answer-words", type=int, default=40, help="(%(default)s)")
    add("--seed", type=int, default=int(time.time()), help="another one makes other conversations (the time)")
    add("--json", type=Path, metavar="FILE", help="write the figures there as well")


def main(options: argparse.Namespace) -> int:
    """Print the table; 1 where requests failed. Raises ValueError or OSError with a sentence."""
    if len(options.engine) == 1:
        raise ValueError("--engine: one engine leaves nothing to choose; give two or more")
    weights = [_weights(text) for text in options.strategy or STRATEGIES]
    sizes = (options.conversations, options.turns, options.shared_words, options.question_words, options.answer_words)
    if min(*sizes, options.users) < 1:
        raise ValueError("--conversations, --turns, --users and all words must be at least 1")
    found = []
    with ExitStack() as stack:
        engines = options.engine or [
            stack.enter_context(process("benchmarks", "engine", *FAKE)) for _ in range(FAKE_ENGINES)
        ]
        for run, each in zip(count(options.seed), weights, strict=False):
            with _router(engines, each) as url:
                found.append(asyncio.run(_measured(url, engines, options, Talks(*sizes), (each, run))))
    Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False).print(_table(found))
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(each) for each in found], indent=1))
    return 1 if any(each.failed for each in found) else 0


def _weights(text: str) -> Mapping[str, float]:
    """Raises ValueError. The router knows the names."""
    weights = {}
    for part in text.split(","):
        name, is_given, weight = part.partition("=")
        try:
            weights[name.strip()] = float(weight) if is_given else 1.0
        except ValueError as error:
            raise ValueError(f'--strategy "{text}": "{weight}" is no number; write it like {STRATEGIES[-1]}') from error
    return weights


@contextmanager
def _router(engines: Sequence[str], weights: Mapping[str, float]) -> Iterator[str]:
    """A router that obeys this strategy, in a home of its own."""
    strategy = ", ".join(f"{name} = {weight}" for name, weight in weights.items())
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "stack.toml"
        config.write_text(
            "[endpoint]\nport = 0\n[tiers.standard]\nttft_target_s = 30.0\n"
            f'order = ["local"]\nstrategy = {{ {strategy} }}\n'
        )
        named = [option for number, url in enumerate(engines) for option in ("--engine", f"engine-{number}={url}")]
        with process("router", "--config", str(config), "--home", folder, *named) as url:
            yield url


async def _measured(
    url: str, engines: Sequence[str], options: argparse.Namespace, talks: Talks, what: tuple[Mapping[str, float], int]
) -> Found:
    weights, run = what
    async with session(options.users) as client:
        await _until_there(client, url, len(engines))
        before = [await _counters(client, engine) for engine in engines]
        samples: list[Sample] = []
        for sent in rounds(talks, run):
            samples += await _round(client, url, sent, options)
        after = [await _counters(client, engine) for engine in engines]
    gained = Counter[str]()
    for now, then in zip(after, before, strict=True):
        gained.update({name: round(now[name] - then[name]) for name in now})
    first = [each.ttft_s for each in samples if each.ttft_s is not None]
    if not first or not gained[QUERIES]:
        raise ValueError("nothing was measured: " + str(next((each.error for each in samples), "no request was sent")))
    return Found(
        " + ".join(f"{name} {weight:g}" for name, weight in weights.items()),
        gained[HITS] / gained[QUERIES],
        _most_share(talks, run),
        gained[QUERIES],
        quantile(first, 0.5),
        quantile(first, 0.95),
        sorted(Counter(each.target for each in samples).values(), reverse=True),
        sum(each.error is not None for each in samples),
    )


def _most_share(talks: Talks, run: int) -> float:
    cache = PrefixCache(ENDLESS)
    for messages in chain.from_iterable(rounds(talks, run)):
        cache.read(json.dumps(messages))
    return cache.hit_tokens / cache.queried_tokens


async def _round(
    client: aiohttp.ClientSession, url: str, sent: list[list[Message]], options: argparse.Namespace
) -> list[Sample]:
    """One turn of all conversations, so many at once."""
    samples: list[Sample] = []

    async def user() -> None:
        while sent:
            more = {"max_tokens": 8, "stream": True, "stream_options": {"include_usage": True}}
            samples.append(await ask(client, f"{url}/v1", {"model": options.model, "messages": sent.pop(), **more}))

    await asyncio.gather(*(user() for _ in range(options.users)))
    return samples


async def _until_there(client: aiohttp.ClientSession, url: str, engines: int) -> None:
    """Until the router has heard of all engines. Raises ValueError after a minute."""
    until_s = time.monotonic() + START_S
    ready = 0
    while ready < engines:
        if time.monotonic() > until_s:
            raise ValueError(f"only {ready} of {engines} engines can be reached")
        await asyncio.sleep(POLL_S)
        async with client.get(f"{url}/readyz") as response:
            states = (await response.json())["targets"]
        ready = sum(state == "ready" for state in states.values())


async def _counters(client: aiohttp.ClientSession, engine: str) -> Mapping[str, float]:
    """Those of the prefix cache. Raises ValueError where the engine has none."""
    async with client.get(f"{engine}/metrics") as response:
        page = await response.text()
    samples = (each for family in text_string_to_metric_families(page) for each in family.samples)
    found = {each.name: each.value for each in samples if each.name in (HITS, QUERIES)}
    if len(found) < len((HITS, QUERIES)):
        raise ValueError(f"{engine}/metrics says nothing of a prefix cache")
    return found


def _table(found: Sequence[Found]) -> Table:
    table = Table(box=SIMPLE_HEAD)
    table.add_column("strategy", no_wrap=True)
    for heading in ("in caches", "at most", "tokens", "TTFT p50", "p95", "requests", "failed"):
        table.add_column(heading, justify="right")
    for each in found:
        table.add_row(
            each.strategy,
            f"{each.hit_share:.1%}",
            f"{each.most_share:.1%}",
            f"{each.queried_tokens}",
            f"{each.ttft_p50_s * 1000:.0f} ms",
            f"{each.ttft_p95_s * 1000:.0f} ms",
            " / ".join(map(str, each.requests)),
            str(each.failed),
        )
    return table
