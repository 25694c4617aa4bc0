"""The search for the highest load against trying every load, with the verb `sweep`, at the fake engine.

Status 1 where the knees are more than 5 % apart, or the search took more than a quarter of the time.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from benchmarks.process import process
from benchmarks.proof.beside import ended
from benchmarks.proof.process import run
from benchmarks.report.document import read

WITHIN = 0.05
SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Found:
    """A knee, and what finding it took."""

    load: float
    low: float | None
    high: float | None
    runs: int
    seconds: float


def main() -> int:
    """Search, and try all."""
    parser = argparse.ArgumentParser("python -m benchmarks.proof.knee", description=__doc__)
    add = parser.add_argument
    add("--url", help="an engine (a fake one is started)")
    add("--promise", default="ttft_s=0.2,tpot_s=0.1", help="(%(default)s)")
    add("--loads", default="40:130:2", help="all loads, FROM:TO:STEP (%(default)s)")
    add("--duration", default="5", help="seconds of each run (%(default)s)")
    add("--input-tokens", default="uniform:64-192", help="(%(default)s)")
    add("--output-tokens", default="uniform:8-24", help="(%(default)s)")
    # Answers are short and many, so that a run of seconds has a p95 worth the name.
    add("--engine", nargs="*", default=["--prefill-tokens-per-s=40000", "--step-ms=10", "--max-num-seqs=32"])
    add("--core", type=int, help="where the harness runs; the fake engine has the other of 0 and 1")
    add("--folder", type=Path, help="where reports and logs are kept (a temporary one)")
    options = parser.parse_args()
    return ended(lambda: [_compared(options)])


def _compared(options: argparse.Namespace) -> bool:
    folder = options.folder or Path(mkdtemp(prefix="spillway-proof-"))
    folder.mkdir(parents=True, exist_ok=True)
    if options.url:
        return _both(options, options.url, folder)
    with process(
        "benchmarks", "engine", *options.engine, core=None if options.core is None else 1 - options.core
    ) as url:
        return _both(options, url, folder)


def _both(options: argparse.Namespace, url: str, folder: Path) -> bool:
    searched = _swept(options, url, folder / "searched.json", ())
    tried = _swept(options, url, folder / "tried.json", ("--loads", options.loads))
    for line in table(searched, tried):
        print(line)
    return agrees(searched, tried)


def _swept(options: argparse.Namespace, url: str, out: Path, more: Sequence[str]) -> Found:
    out.unlink(missing_ok=True)
    command = [sys.executable, "-m", "benchmarks", "sweep", "--url", url, "--kind", "completion", *more]
    command += ["--promise", options.promise, "--duration", options.duration, "--json", str(out)]
    command += ["--input-tokens", options.input_tokens, "--output-tokens", options.output_tokens]
    log = out.with_suffix(".log")
    run(command, log, core=options.core, environment={"PYTHONUNBUFFERED": "1"}, statuses=(0, 1))
    knee = read(out.read_bytes(), out.name).knee
    if knee is None or knee["load"] is None:
        raise ValueError(f"no load kept the promise; see {log}")
    print(log.read_text(), file=sys.stderr)
    return found_in(knee)


def found_in(knee: Mapping[str, Any]) -> Found:
    """From the report."""
    return Found(knee["load"], knee["low"], knee["high"], knee["runs"], knee["seconds"])


def agrees(searched: Found, tried: Found) -> bool:
    """Whether the search found the same, in so much less time."""
    return abs(searched.load / tried.load - 1) <= WITHIN and searched.seconds <= SHARE * tried.seconds


def table(searched: Found, tried: Found) -> list[str]:
    """As Markdown, with what it comes to below."""
    lines = ["| | knee | interval | runs | seconds |", "|---|---|---|---|---|"]
    for name, found in (("search", searched), ("every load", tried)):
        ends = " to ".join("-" if end is None else f"{end:.3g}" for end in (found.low, found.high))
        lines.append(f"| {name} | {found.load:.3g} | {ends} | {found.runs} | {found.seconds:.0f} |")
    apart, share = searched.load / tried.load - 1, searched.seconds / tried.seconds
    return [*lines, "", f"the knees are {apart:+.1%} apart; the search took {share:.0%} of the time"]


if __name__ == "__main__":
    sys.exit(main())
