"""What an event of a stream costs each generator in CPU, side by side, against a server that costs them nothing.

Each is run twice with answers of different length, all else equal; the difference in CPU by the difference in events
is what an event costs, without the start of the process, the making of prompts and the connections.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from tempfile import mkdtemp

from benchmarks.proof.beside import ended
from benchmarks.proof.generators import Generator, Guidellm, Ours, Target, Vllm, turn
from benchmarks.proof.server import pace, stand_in
from benchmarks.proof.work import Work
from benchmarks.workload.lengths import lengths_in

PROMPT_TOKENS = "16"
TIMES_LESS = 5.0


def main() -> int:
    """Measure. Status 1 where ours is not so many times cheaper than the others."""
    parser = argparse.ArgumentParser("python -m benchmarks.proof.cpu", description=__doc__)
    add = parser.add_argument
    add("--python", help="a Python with vLLM")
    add("--program", help="guidellm, in a virtual environment of its own")
    add("--tokenizer", type=Path, default=Path("engines/smoke/model"), help="folder (%(default)s)")
    add("--users", type=int, default=32, help="streams at a time (%(default)s)")
    add("--requests", type=int, default=128, help="in each run (%(default)s)")
    add("--tokens", type=int, nargs=2, default=(64, 320), metavar=("FEW", "MANY"), help="of an answer %(default)s")
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
    with stand_in("stub", core=options.cores[1]) as url:
        pace(url, first_s=0.0, gap_s=options.gap_ms / 1000)
        for number in range(options.turns):
            for generator in generators:
                costs = [_cost(generator, url, options, tokens, folder, number) for tokens in options.tokens]
                found[generator.name].append(per_thousand_ms(costs))
                print(f"{generator.name}: {found[generator.name][-1]:.1f} ms", file=sys.stderr, flush=True)
    return found


def _cost(
    generator: Generator, url: str, options: argparse.Namespace, tokens: int, folder: Path, number: int
) -> tuple[int, float]:
    """Events and seconds of CPU of one run."""
    work = Work(options.requests, lengths_in(PROMPT_TOKENS), lengths_in(str(tokens)), users=options.users)
    out = folder / f"cpu-{number}-{tokens}-{generator.name.replace(' ', '-')}.json"
    made = turn(generator, Target(url, "tiny", options.tokenizer), work, out, core=options.cores[0])
    if made.run.summary.errors:
        raise ValueError(f"{generator.name}: {made.run.summary.errors} requests failed; see {out.with_suffix('.log')}")
    return made.run.summary.requests * tokens, made.spent.cpu_s


def per_thousand_ms(costs: Sequence[tuple[int, float]]) -> float:
    """CPU milliseconds for 1,000 events, from a run with few events and one with many."""
    (few, few_s), (many, many_s) = costs
    return (many_s - few_s) / (many - few) * 1e6


def _is_cheap(found: dict[str, list[float]]) -> bool:
    """Print the table; whether ours costs so much less than each other."""
    ours_ms = median(found[Ours().name])
    print("| generator | CPU for 1,000 events | turns | times ours |", "|---|---|---|---|", sep="\n")
    for name, costs_ms in found.items():
        turns = ", ".join(f"{cost_ms:.1f}" for cost_ms in costs_ms)
        print(f"| {name} | {median(costs_ms):.1f} ms | {turns} | {median(costs_ms) / ours_ms:.1f} |")
    return all(median(costs_ms) >= TIMES_LESS * ours_ms for name, costs_ms in found.items() if name != Ours().name)


if __name__ == "__main__":
    sys.exit(main())
