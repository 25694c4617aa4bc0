"""What an event of a stream costs each generator in CPU, side by side, against a server that costs them nothing.

Counted while most streams are under way: CPU of the generator's processes, events by the server's own count. So the
start of the process, the making of prompts and the report at the end cost nothing here. Status 1 where ours is not
five times cheaper than each of the others.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from tempfile import mkdtemp

from benchmarks.process import process
from benchmarks.proof.beside import ended
from benchmarks.proof.generators import Generator, Guidellm, Ours, Target, Vllm, turn
from benchmarks.proof.process import cpu_s_of
from benchmarks.proof.server import counts, pace
from benchmarks.proof.work import Work
from benchmarks.workload.lengths import lengths_in

PROMPT_TOKENS = "16"
TIMES_LESS = 5.0
ENDS = 2
BUSY = 0.5


@dataclass(frozen=True, slots=True)
class Mark:
    """What was seen at one moment: the generator's CPU until then, tokens of ended answers, answers under way."""

    cpu_s: float
    tokens: int
    running: int


def main() -> int:
    """Measure."""
    parser = argparse.ArgumentParser("python -m benchmarks.proof.cpu", description=__doc__)
    add = parser.add_argument
    add("--python", help="a Python with vLLM")
    add("--program", help="guidellm, in a virtual environment of its own")
    add("--tokenizer", type=Path, default=Path("engines/smoke/model"), help="folder (%(default)s)")
    add("--users", type=int, default=32, help="streams at a time (%(default)s)")
    add("--requests", type=int, default=512, help="in each run (%(default)s)")
    add("--tokens", type=int, default=64, help="of an answer (%(default)s)")
    add("--gap-ms", type=float, default=20.0, help="between the tokens of a stream (%(default)s)")
    add("--turns", type=int, default=3, help="of each generator (%(default)s)")
    add("--cores", type=int, nargs=2, default=(0, 1), metavar=("GENERATOR", "SERVER"), help="%(default)s")
    add("--folder", type=Path, help="where reports and logs are kept (a temporary one)")
    options = parser.parse_args()
    return ended(lambda: [_is_cheap(_measured(options))])


def _measured(options: argparse.Namespace) -> dict[str, list[float]]:
    """Milliseconds of CPU for 1,000 events, of each turn of each generator."""
    generators: list[Generator] = [Ours()]
    generators += [Vllm(options.python)] if options.python else []
    generators += [Guidellm(options.program)] if options.program else []
    found: dict[str, list[float]] = {generator.name: [] for generator in generators}
    folder = options.folder or Path(mkdtemp(prefix="spillway-proof-"))
    with process("benchmarks", "stub", core=options.cores[1]) as url:
        pace(url, first_s=0.0, gap_s=options.gap_ms / 1000)
        for number in range(options.turns):
            for generator in generators:
                out = folder / f"cpu-{number}-{generator.name.replace(' ', '-')}.json"
                found[generator.name].append(per_thousand_ms(_marks(generator, url, options, out)))
                print(f"{generator.name}: {found[generator.name][-1]:.1f} ms", file=sys.stderr, flush=True)
    return found


def _marks(generator: Generator, url: str, options: argparse.Namespace, out: Path) -> list[Mark]:
    """Of one run, those while most streams were under way."""
    lengths = lengths_in(PROMPT_TOKENS), lengths_in(str(options.tokens))
    work = Work(options.requests, *lengths, users=options.users)
    marks: list[Mark] = []

    def look(pid: int) -> None:
        seen = counts(url)
        marks.append(Mark(cpu_s_of(pid), seen["tokens"], seen["running"]))

    made = turn(generator, Target(url, "tiny", options.tokenizer), work, out, core=options.cores[0], look=look)
    if made.run.summary.errors:
        raise ValueError(f"{generator.name}: {made.run.summary.errors} requests failed; see {out.with_suffix('.log')}")
    return [mark for mark in marks if mark.running >= options.users * BUSY]


def per_thousand_ms(marks: Sequence[Mark]) -> float:
    """CPU milliseconds for 1,000 events, from the first answers that ended to the last.

    Raises ValueError where too little was seen.
    """
    # Tokens count when their answer ends: only where an answer has just ended are both counts of one moment.
    just = [after for before, after in pairwise(marks) if after.tokens > before.tokens]
    if len(just) < ENDS:
        raise ValueError("answers ended in too few moments with most streams under way: ask for more --requests.")
    return (just[-1].cpu_s - just[0].cpu_s) / (just[-1].tokens - just[0].tokens) * 1e6


def _is_cheap(found: dict[str, list[float]]) -> bool:
    """Print the table; whether ours costs so much less than each other."""
    ours = Ours().name
    ours_ms = median(found[ours])
    print("| generator | CPU for 1,000 events | turns | times ours |", "|---|---|---|---|", sep="\n")
    for name, costs_ms in found.items():
        turns = ", ".join(f"{cost_ms:.1f}" for cost_ms in costs_ms)
        print(f"| {name} | {median(costs_ms):.1f} ms | {turns} | {median(costs_ms) / ours_ms:.1f} |")
    return all(median(costs_ms) >= TIMES_LESS * ours_ms for name, costs_ms in found.items() if name != ours)


if __name__ == "__main__":
    sys.exit(main())
