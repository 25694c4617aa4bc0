"""Two reports: is the second worse than the first? Each may be of this harness, `vllm bench serve` or guidellm.

Ends with 1 when any figure is worse, 0 when none is, 2 when they cannot be compared: for CI.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from benchmarks.report.compare import CONFIDENCE, LEAST, Comparison, compared
from benchmarks.report.compare_table import table_of, verdict_of
from benchmarks.report.files import load


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    parser.add_argument("before", type=Path, help="the report to compare with")
    parser.add_argument("after", type=Path, help="the report in question")
    parser.add_argument(
        "--least",
        type=float,
        default=LEAST,
        metavar="SHARE",
        help="smaller changes do not count (default: 0.03 = 3 %%)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the comparison there")


def main(options: argparse.Namespace) -> int:
    """Print the table and the verdict."""
    if not 0 <= options.least < 1:
        raise ValueError(f"--least {options.least:g}: must be at least 0 and below 1, such as 0.03 for 3 %")
    before, samples_before = load(options.before)
    after, samples_after = load(options.after)
    found = compared(before, after, samples_before, samples_after, least=options.least)
    console = Console(highlight=False)
    console.print(table_of(found, str(options.before), str(options.after)))
    for reservation in found.reservations:
        console.print(f"Not the same: {reservation}.", style="yellow", markup=False)
    console.print(f"Together all intervals hold with {CONFIDENCE:.0%}; changes below {options.least:.0%} do not count.")
    console.print(verdict_of(found), style="bold", markup=False)
    if options.json:
        options.json.write_bytes(_written(found))
    return int(found.is_worse)


def _written(found: Comparison) -> bytes:
    body: dict[str, Any] = {
        "schema": "spillway-comparison/1",
        "worse": found.is_worse,
        "verdict": verdict_of(found),
        "not_the_same": found.reservations,
        "changes": found.changes,
    }
    return msgspec.json.format(msgspec.json.encode(body), indent=2) + b"\n"
