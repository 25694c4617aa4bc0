"""How much one core of this generator can drive: many streams at once, many events a second, against the stub engine.

Status 1 where it was late, an answer failed, or it stayed below what was asked for.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from tempfile import mkdtemp

import msgspec

from benchmarks.process import process
from benchmarks.proof.beside import ended
from benchmarks.proof.process import run
from benchmarks.proof.server import pace
from benchmarks.report.document import Run, read

KEPT = 0.95


def main() -> int:
    """Drive it."""
    parser = argparse.ArgumentParser("python -m benchmarks.proof.ceiling", description=__doc__)
    add = parser.add_argument
    add("--streams", type=int, default=3200, help="at a time (%(default)s)")
    add("--events-per-s", type=float, default=21000.0, help="of all streams together (%(default)s)")
    add("--tokens", type=int, default=50, help="of an answer (%(default)s)")
    add("--duration", type=float, default=40.0, help="seconds (%(default)s)")
    add("--cores", type=int, nargs=2, default=(0, 1), metavar=("GENERATOR", "SERVER"), help="%(default)s")
    add("--folder", type=Path, help="where report and log are kept (a temporary one)")
    options = parser.parse_args()
    return ended(lambda: [_driven(options)])


def _driven(options: argparse.Namespace) -> bool:
    folder = options.folder or Path(mkdtemp(prefix="spillway-proof-"))
    folder.mkdir(parents=True, exist_ok=True)
    out = folder / "ceiling.json"
    out.unlink(missing_ok=True)
    with process("benchmarks", "stub", core=options.cores[1]) as url:
        pace(url, first_s=0.0, gap_s=options.streams / options.events_per_s)
        command = [sys.executable, "-m", "benchmarks", "load", "--url", url, "--kind", "completion"]
        # An open loop at the rate that keeps so many under way: users who begin together go on asking together.
        rate = options.events_per_s / options.tokens
        command += ["--rate", f"{rate:.6g}", "--duration", str(options.duration), "--input-tokens", "16"]
        command += ["--output-tokens", str(options.tokens), "--json", str(out)]
        spent = run(command, out.with_suffix(".log"), core=options.cores[0], environment={}, statuses=(0, 1))
    if not out.exists():
        raise ValueError(f"no report was written; see {out.with_suffix('.log')}")
    (found,) = read(out.read_bytes(), out.name).runs
    for line in said(found):
        print(line)
    print(f"the whole process took {spent.cpu_s:.1f} s of CPU in {spent.seconds:.1f} s")
    return is_reached(found, options.streams, options.events_per_s)


def said(found: Run) -> list[str]:
    """What was driven. A token of the stub is an event."""
    summary = found.summary
    lag = summary.lag_s
    late = f"sent late by {lag.p50 * 1000:.2f} ms (p50), {lag.p99 * 1000:.2f} ms (p99)" if lag else "nothing sent"
    return [
        f"{summary.mean_concurrency:.0f} streams at a time, {summary.output_tokens_per_s:.0f} events/s, {late}",
        f"{summary.requests} requests, {summary.errors} failed; valid: {not found.invalid}",
        *found.invalid,
        f"gaps: {msgspec.json.encode(summary.itl_s).decode()}",
    ]


def is_reached(found: Run, streams: int, events_per_s: float) -> bool:
    """Whether it drove what was asked for, in time and without a failure."""
    summary = found.summary
    enough = summary.mean_concurrency >= KEPT * streams and summary.output_tokens_per_s >= KEPT * events_per_s
    return enough and not summary.errors and not found.invalid


if __name__ == "__main__":
    sys.exit(main())
