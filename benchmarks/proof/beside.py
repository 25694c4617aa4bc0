"""Two generators in turns at one server, and their figures side by side: what beside_vllm and beside_guidellm share."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

from benchmarks.proof.compared import rows, table
from benchmarks.proof.generators import Generator, Ours, Target, Turn, turn
from benchmarks.proof.work import Work

AGREED, APART, UNUSABLE = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Contest:
    """`turns` of each, on `core`; reports are kept in `folder`."""

    target: Target
    theirs: Generator
    turns: int
    core: int | None
    folder: Path
    within: float


def add_arguments(parser: argparse.ArgumentParser, *, within: float) -> None:
    """The options that `contest_in` reads."""
    parser.add_argument("--url", required=True, help="a running engine, without /v1")
    parser.add_argument("--model", default="smoke", help="the name that it serves (%(default)s)")
    parser.add_argument("--tokenizer", type=Path, default=Path("engines/smoke/model"), help="folder (%(default)s)")
    parser.add_argument("--turns", type=int, default=3, help="of each generator (%(default)s)")
    parser.add_argument("--core", type=int, help="where the generators run; give the engine the others")
    parser.add_argument("--folder", type=Path, help="where reports and logs are kept (a temporary one)")
    parser.add_argument("--within", type=float, default=within, help="the share that is agreement (%(default)s)")


def contest_in(options: argparse.Namespace, theirs: Generator) -> Contest:
    """Raises ValueError with a sentence."""
    if options.turns < 1:
        raise ValueError("--turns must be at least 1")
    folder = options.folder or Path(mkdtemp(prefix="spillway-proof-"))
    target = Target(options.url.rstrip("/").removesuffix("/v1"), options.model, options.tokenizer)
    return Contest(target, theirs, options.turns, options.core, folder, options.within)


def held(contest: Contest, work: Work, name: str) -> bool:
    """Take turns, print the table; whether all figures agree."""
    print(f"\n### {work}\n", flush=True)
    ours: list[Turn] = []
    theirs: list[Turn] = []
    for number in range(contest.turns):
        # Each begins as often as the other: what warms up or tires would favour one of them.
        pair: list[tuple[Generator, list[Turn]]] = [(Ours(), ours), (contest.theirs, theirs)]
        for generator, turns in pair if number % 2 == 0 else reversed(pair):
            out = contest.folder / f"{name}-{number}-{generator.name.replace(' ', '-')}.json"
            turns.append(turn(generator, contest.target, work, out, core=contest.core))
            print(_line(generator.name, turns[-1]), file=sys.stderr, flush=True)
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


def _line(name: str, turned: Turn) -> str:
    summary, load = turned.run.summary, os.getloadavg()[0]
    notes = "; ".join([*turned.run.invalid, *turned.run.notes])
    return (
        f"{name}: {summary.requests} requests, {summary.errors} failed, {summary.output_tokens_per_s:.1f} tokens/s, "
        f"{turned.spent.cpu_s:.1f} s of CPU in {turned.spent.seconds:.0f} s, load average {load:.1f} {notes}"
    )
