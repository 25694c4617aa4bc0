"""What is reported of a server whose truth is known: the stub engine with a clock of its own, by the verb `load`.

Each token is due at a moment that the stub knows beforehand. Status 1 where p50, p95 or p99 of the time to first token,
of the gaps or of the time per token is wrong by more than 1 ms and 1 %. A run of 30 s and more has its beginning cut
off, where connections are opened: that takes longer than the stub's own lateness, and is not of the stub.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

from benchmarks.process import process
from benchmarks.proof.beside import ended
from benchmarks.proof.process import run
from benchmarks.proof.server import pace
from benchmarks.report.document import Figure, read

STATISTICS = ("p50", "p95", "p99")
WITHIN_S = 0.001
WITHIN = 0.01


@dataclass(frozen=True, slots=True)
class Truth:
    """What the stub does: seconds to the first token, and from token to token."""

    first_s: float
    gap_s: float

    @property
    def by_figure(self) -> Mapping[str, float]:
        """What is to be reported, whichever statistic."""
        return {"ttft_s": self.first_s, "itl_s": self.gap_s, "tpot_s": self.gap_s}


TRUTHS = (Truth(0.010, 0.005), Truth(0.050, 0.020), Truth(0.200, 0.050))


def main() -> int:
    """Measure it."""
    parser = argparse.ArgumentParser("python -m benchmarks.proof.known", description=__doc__)
    add = parser.add_argument
    add("--rate", type=float, default=60.0, help="requests per second (%(default)s)")
    add("--tokens", type=int, default=32, help="of an answer (%(default)s)")
    add("--duration", type=float, default=32.0, help="seconds, for each truth (%(default)s)")
    add("--cores", type=int, nargs=2, default=(0, 1), metavar=("GENERATOR", "SERVER"), help="%(default)s")
    add("--folder", type=Path, help="where reports and logs are kept (a temporary one)")
    options = parser.parse_args()
    return ended(lambda: _measured(options))


def _measured(options: argparse.Namespace) -> list[bool]:
    folder = options.folder or Path(mkdtemp(prefix="spillway-proof-"))
    folder.mkdir(parents=True, exist_ok=True)
    print("| figure | truth | p50 | p95 | p99 | exact |", "|---|---|---|---|---|---|", sep="\n")
    found = []
    with process("benchmarks", "stub", core=options.cores[1]) as url:
        for number, truth in enumerate(TRUTHS):
            pace(url, first_s=truth.first_s, gap_s=truth.gap_s)
            out = folder / f"known-{number}.json"
            out.unlink(missing_ok=True)
            command = [sys.executable, "-m", "benchmarks", "load", "--url", url, "--kind", "completion"]
            command += ["--rate", str(options.rate), "--duration", str(options.duration), "--input-tokens", "16"]
            command += ["--output-tokens", str(options.tokens), "--json", str(out)]
            run(command, out.with_suffix(".log"), core=options.cores[0], environment={}, statuses=(0, 1))
            summary = read(out.read_bytes(), out.name).runs[0].summary
            for name, truth_s in truth.by_figure.items():
                figure: Figure | None = getattr(summary, name)
                if figure is None:
                    raise ValueError(f"no {name} is reported; see {out.with_suffix('.log')}")
                print(row(name, truth_s, figure), flush=True)
                found.append(is_exact(truth_s, figure))
    return found


def is_exact(truth_s: float, figure: Figure) -> bool:
    """Whether each statistic is the truth, within 1 ms or 1 %."""
    most_s = max(WITHIN_S, WITHIN * truth_s)
    return all(abs(getattr(figure, name) - truth_s) <= most_s for name in STATISTICS)


def row(name: str, truth_s: float, figure: Figure) -> str:
    """A line of the table, in milliseconds."""
    values = " | ".join(f"{getattr(figure, statistic) * 1000:.2f}" for statistic in STATISTICS)
    label = {"ttft_s": "TTFT", "itl_s": "gap", "tpot_s": "TPOT"}[name]
    return f"| {label} (ms) | {truth_s * 1000:g} | {values} | {'yes' if is_exact(truth_s, figure) else 'no'} |"


if __name__ == "__main__":
    sys.exit(main())
