"""What does the router's rule pay and keep, on every trace of a folder and at several loads? In reckoned time.

Load 1 is the highest rate at which the engines alone keep the promise, found first; of a long trace its busiest hours
are taken. Beside the rule stand the best limit of requests in flight, found for each row anew (a gateway tuned for this
very load), and the bill that no rule can be below that keeps the promise, which is proved. Each row is printed as soon
as it is known, a line of a Markdown table. Status 1 where the rule breaks a promise that can be kept, or spills though
the engines alone keep it.

    python -m benchmarks spill --traces FOLDER --jobs 2
    python -m benchmarks spill --traces conv.csv.gz code.csv.gz --engines 1 --loads 1.8,3.0 --without-count
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TypeVar

from benchmarks.report.place import check_place
from benchmarks.simulator.cloud_times import cloud_in
from benchmarks.simulator.options import add_places, add_promise, engine_in, promise_in
from benchmarks.simulator.scaling import Scaling
from benchmarks.simulator.survey import Capacity, Ground, Row, capacity_of, row_of
from benchmarks.simulator.survey_table import capacity_line, heading, row_line
from benchmarks.workload.trace import Sampling

Asked = TypeVar("Asked")
Said = TypeVar("Said")
KEPT, BROKEN = 0, 1
SUFFIXES = (".csv", ".jsonl", ".csv.gz", ".jsonl.gz")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument_group("rows").add_argument
    add("--traces", type=Path, nargs="+", required=True, metavar="PATH", help="folders of traces, or traces")
    add("--engines", default="1,4", metavar="N,N", help="how many engines (default 1,4)")
    add("--loads", default="1.0,1.3,1.8,3.0", metavar="L,L", help="of what they keep alone (default 1.0,1.3,1.8,3.0)")
    add("--hours", type=float, default=4.0, help="of a longer trace, its busiest (default 4)")
    add("--stretch", action="store_true", help="make the loads by stretching time, bursts included: all requests come")
    add("--sessions-per-h", type=float, default=60.0, help="how many sessions of an agentic trace begin (default 60)")
    add("--without-count", action="store_true", help="leave the best count of requests in flight out: it is slow")
    add("--seed", type=int, default=0, help="of the cloud's times and of thinning (default 0)")
    add("--jobs", type=int, default=1, metavar="N", help="rows at a time, at most one a core (default 1)")
    add("--json", type=Path, metavar="FILE", help="and all figures there")
    add_places(parser)
    add_promise(parser)


def main(options: argparse.Namespace) -> int:
    """Raises ValueError with a sentence where there is nothing to do, OSError where there is no such file."""
    check_place(options.json)
    grounds, loads = grounds_in(options), _numbers(options.loads, "--loads")
    rows, capacities = list[Row](), list[Capacity]()
    jobs = min(options.jobs, len(os.sched_getaffinity(0)))
    with ProcessPoolExecutor(jobs) if jobs > 1 else nullcontext() as pool:
        for capacity in _each(pool, capacity_of, grounds):
            print(capacity_line(capacity), flush=True)
            capacities.append(capacity)
        asked = [(each, load) for each in capacities if each.per_s is not None for load in loads]
        print("", *heading(), sep="\n", flush=True)
        for row in _each(pool, partial(_row, is_alone=options.without_count), asked):
            print(row_line(row), flush=True)
            rows.append(row)
    if options.json is not None:
        options.json.write_text(json.dumps([each.document() for each in rows], indent=1) + "\n")
    return KEPT if rows and not any(each.is_broken or each.is_needless for each in rows) else BROKEN


def _each(
    pool: ProcessPoolExecutor | None, function: Callable[[Asked], Said], asked: Sequence[Asked]
) -> Iterator[Said]:
    """Answers in order, each as soon as it is there."""
    return map(function, asked) if pool is None else pool.map(function, asked)


def _row(asked: tuple[Capacity, float], *, is_alone: bool) -> Row:
    return row_of(*asked, is_alone=is_alone)


def grounds_in(options: argparse.Namespace) -> list[Ground]:
    """Each trace with each number of engines. Raises ValueError with a sentence, OSError on no file."""
    if options.jobs < 1 or not options.hours > 0:
        raise ValueError("--jobs must be 1 at least, and --hours above 0")
    counts = [int(each) for each in _numbers(options.engines, "--engines") if each == int(each)]
    if len(counts) < len(options.engines.split(",")):
        raise ValueError(f"--engines {options.engines}: write whole numbers, such as 1,4")
    sampling = Sampling(sessions_per_h=options.sessions_per_h, seed=options.seed)
    kind, cloud, promise = engine_in(options), cloud_in(options.cloud), promise_in(options)
    way = Scaling.STRETCH if options.stretch else Scaling.OVERLAY
    return [
        Ground(path, options.hours, sampling, kind, count, cloud, promise, way)
        for path in _traces(options.traces)
        for count in counts
    ]


def _traces(paths: Sequence[Path]) -> list[Path]:
    found = list[Path]()
    for path in paths:
        inside = sorted(each for each in path.iterdir() if each.name.endswith(SUFFIXES)) if path.is_dir() else [path]
        if not inside:
            raise ValueError(f"--traces {path}: there is no file that ends in {', '.join(SUFFIXES)}")
        if not path.exists():
            raise ValueError(f"--traces {path}: there is no such file or folder")
        found += inside
    return found


def _numbers(text: str, option: str) -> list[float]:
    try:
        found = [float(each) for each in text.split(",")]
    except ValueError:
        found = []
    if not found or not all(0 < each < float("inf") for each in found):
        raise ValueError(f"{option} {text}: write numbers above 0 with commas between them")
    return found
