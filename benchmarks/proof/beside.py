"""Two generators at one server, and their figures side by side: what beside_vllm and beside_guidellm share.

In turns, or both at the same time: the speed of a shared machine changes from minute to minute by more than two
generators may differ, and those that ask at the same time meet the same server.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from threading import Event

from benchmarks.proof.compared import rows, table
from benchmarks.proof.generators import Generator, Ours, Target, Turn, turn
from benchmarks.proof.work import Work

AGREED, APART, UNUSABLE = 0, 1, 2
PROMPTS = re.compile(rb"^vllm:prompt_tokens_total(?:\{[^}]*\})? (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Contest:
    """`turns` of each, on `core`; reports are kept in `folder`. `together`: both at the same time in each turn."""

    target: Target
    theirs: Generator
    turns: int
    core: int | None
    folder: Path
    within: float
    together: bool


def add_arguments(parser: argparse.ArgumentParser, *, within: float) -> None:
    """The options that `contest_in` reads."""
    parser.add_argument("--url", required=True, help="a running engine, without /v1")
    parser.add_argument("--model", default="smoke", help="the name that it serves (%(default)s)")
    parser.add_argument("--tokenizer", type=Path, default=Path("engines/smoke/model"), help="folder (%(default)s)")
    parser.add_argument("--turns", type=int, default=3, help="of each generator (%(default)s)")
    parser.add_argument("--together", action="store_true", help="both at the same time, each with the whole load")
    parser.add_argument("--core", type=int, help="where the generators run; give the engine the others")
    parser.add_argument("--folder", type=Path, help="where reports and logs are kept (a temporary one)")
    parser.add_argument("--within", type=float, default=within, help="the share that is agreement (%(default)s)")


def contest_in(options: argparse.Namespace, theirs: Generator) -> Contest:
    """Raises ValueError with a sentence."""
    if options.turns < 1:
        raise ValueError("--turns must be at least 1")
    folder = options.folder or Path(mkdtemp(prefix="spillway-proof-"))
    target = Target(options.url.rstrip("/").removesuffix("/v1"), options.model, options.tokenizer)
    return Contest(target, theirs, options.turns, options.core, folder, options.within, options.together)


def held(contest: Contest, work: Work, name: str) -> bool:
    """Take turns, print the table; whether all figures agree."""
    print(f"\n### {work}{', of each at the same time' if contest.together else ', in turns'}\n", flush=True)
    ours: list[Turn] = []
    theirs: list[Turn] = []
    for number in range(contest.turns):
        turned = (_together if contest.together else _one_by_one)(contest, work, name, number)
        for generator, turns, one in zip((Ours(), contest.theirs), (ours, theirs), turned, strict=True):
            turns.append(one)
            print(_line(generator.name, one), file=sys.stderr, flush=True)
    found = rows([each.run.summary for each in ours], [each.run.summary for each in theirs])
    for line in table(found, (Ours().name, contest.theirs.name), contest.within):
        print(line, flush=True)
    return all(row.agrees(contest.within) for row in found)


def ended(run: Callable[[], Sequence[bool]]) -> int:
    """The exit status: 0 where all agreed, 2 with a sentence where nothing could be compared."""
    try:
        return AGREED if all(run()) else APART
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return UNUSABLE


def _one_by_one(contest: Contest, work: Work, name: str, number: int) -> tuple[Turn, Turn]:
    """Each begins as often as the other: what warms up or tires would favour one of them."""
    if number % 2 == 0:
        return _turn(contest, Ours(), work, name, number), _turn(contest, contest.theirs, work, name, number)
    theirs = _turn(contest, contest.theirs, work, name, number)
    return _turn(contest, Ours(), work, name, number), theirs


def _together(contest: Contest, work: Work, name: str, number: int) -> tuple[Turn, Turn]:
    """Ours begins as soon as the other's first request has reached the engine."""
    begun, before = Event(), _prompt_tokens(contest.target.url)

    def look(_pid: int) -> None:
        if not begun.is_set() and _prompt_tokens(contest.target.url) > before:
            begun.set()

    with ThreadPoolExecutor(1) as pool:
        theirs = pool.submit(_turn, contest, contest.theirs, work, name, number, look)
        # Where it fails before it asks anything, ours need not begin.
        theirs.add_done_callback(lambda _: begun.set())
        begun.wait()
        if theirs.done():
            theirs.result()
        ours = _turn(contest, Ours(), work, name, number)
        return ours, theirs.result()


def _turn(
    contest: Contest,
    generator: Generator,
    work: Work,
    name: str,
    number: int,
    look: Callable[[int], None] = lambda _pid: None,
) -> Turn:
    out = contest.folder / f"{name}-{number}-{generator.name.replace(' ', '-')}.json"
    return turn(generator, contest.target, work, out, core=contest.core, look=look)


def _prompt_tokens(url: str) -> float:
    """All that the engine has counted until now. Raises ValueError where it does not say."""
    with urllib.request.urlopen(f"{url}/metrics") as answer:
        counts = PROMPTS.findall(answer.read())
    if not counts:
        raise ValueError(f"{url}/metrics has no vllm:prompt_tokens_total: --together needs an engine that counts.")
    return sum(map(float, counts))


def _line(name: str, turned: Turn) -> str:
    summary, load = turned.run.summary, os.getloadavg()[0]
    notes = "; ".join([*turned.run.invalid, *turned.run.notes])
    return (
        f"{name}: {summary.requests} requests, {summary.errors} failed, {summary.output_tokens_per_s:.1f} tokens/s, "
        f"{turned.spent.cpu_s:.1f} s of CPU in {turned.spent.seconds:.0f} s, load average {load:.1f} {notes}"
    )
