"""Proves what the harness reports: drives the stub engine, whose time to first token and gap are set, and compares.

`python -m benchmarks.drive.truth` prints p5, p50, p95 and p99 of each figure beside the truth. Status 1 where one is
off by more than 1 ms and more than 1 %. What the machine was late with is in the figures: on a busy one they cannot be
exact.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass

import uvloop

from benchmarks.drive.drive import Drive, drive
from benchmarks.drive.endpoint import endpoint_of
from benchmarks.drive.lag import late
from benchmarks.drive.pacing import Open
from benchmarks.process import process
from benchmarks.quantiles import quantile
from benchmarks.workload.arrival import Arrival, Prompt

SHARES = (0.05, 0.50, 0.95, 0.99)
WITHIN_S = 0.001
WITHIN_SHARE = 0.01
# That is, two gaps.
LEAST_TOKENS = 3


@dataclass(frozen=True, slots=True)
class Truth:
    """What the stub engine is told to do; it does it on a timer of microseconds."""

    first_s: float = 0.2
    gap_s: float = 0.02
    tokens: int = 32

    @property
    def values_s(self) -> dict[str, float]:
        """Each figure of every request."""
        whole_s = self.first_s + self.gap_s * (self.tokens - 1)
        return {"ttft_s": self.first_s, "tpot_s": self.gap_s, "itl_s": self.gap_s, "e2e_s": whole_s}


@dataclass(frozen=True, slots=True)
class Found:
    """One quantile of one figure beside the truth."""

    name: str
    share: float
    measured_s: float
    true_s: float

    @property
    def is_exact(self) -> bool:
        """Within 1 ms or 1 %."""
        return abs(self.measured_s - self.true_s) <= max(WITHIN_S, WITHIN_SHARE * self.true_s)

    def __str__(self) -> str:
        off_s = self.measured_s - self.true_s
        return (
            f"p{self.share * 100:<2.0f} {self.name:<6} {self.measured_s * 1000:10.3f} ms, "
            f"truth {self.true_s * 1000:8.3f} ms, off by {off_s * 1000:+7.3f} ms {'' if self.is_exact else ' TOO MUCH'}"
        )


def compared(run: Drive, truth: Truth) -> list[Found]:
    """All quantiles of all figures. Raises ValueError where a request failed."""
    failed = next((sample for sample in run.samples if not sample.ok), None)
    if failed is not None:
        raise ValueError(f"Request {failed.number} failed, {failed.error}: {failed.message}.")
    values = {
        "ttft_s": [sample.ttft_s for sample in run.samples if sample.ttft_s is not None],
        "tpot_s": [sample.tpot_s for sample in run.samples if sample.tpot_s is not None],
        "itl_s": [gap_s for sample in run.samples for gap_s in sample.gaps_s],
        "e2e_s": [sample.e2e_s for sample in run.samples],
    }
    true_s = truth.values_s
    return [
        Found(name, share, quantile(each, share), true_s[name]) for name, each in values.items() for share in SHARES
    ]


async def measured(url: str, truth: Truth, rate: float, requests: int) -> Drive:
    """Poisson arrivals at a stub engine that has been told the truth."""
    await asyncio.to_thread(_tell, url, truth)
    gaps_s, at_s, arrivals = random.Random(4), 0.0, []
    for number in range(requests):
        arrivals.append(Arrival(Prompt(f"Question {number}"), at_s=at_s, output_tokens=truth.tokens))
        at_s += gaps_s.expovariate(rate)
    return await drive(endpoint_of(url, "tiny"), iter(arrivals), Open())


def _tell(url: str, truth: Truth) -> None:
    for order in (f"first/{truth.first_s * 1e6:.0f}", f"delay/{truth.gap_s * 1e6:.0f}"):
        urllib.request.urlopen(f"{url}/_stub/{order}", timeout=10).close()


def shown(run: Drive, found: Sequence[Found]) -> str:
    """A table, and whether the generator was late."""
    lines = [str(each) for each in found]
    why = late(run.lag)
    lines.append(f"{len(run.samples)} requests, {run.events} events, {run.lag.busy:.1%} of a core")
    return "\n".join(lines if why is None else [*lines, f"not valid: {why}"])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    truth = Truth()
    parser.add_argument("--first-ms", type=float, default=truth.first_s * 1000, help="to the first token (%(default)g)")
    parser.add_argument("--gap-ms", type=float, default=truth.gap_s * 1000, help="between tokens (%(default)g)")
    parser.add_argument("--tokens", type=int, default=truth.tokens, help="of an answer (%(default)s)")
    parser.add_argument("--rate", type=float, default=40.0, help="requests per second (%(default)g)")
    parser.add_argument("--requests", type=int, default=400, help="(%(default)s)")


def main(options: argparse.Namespace) -> int:
    """Status 1 where a quantile is not exact. Raises ValueError with a sentence on bad options."""
    truth = Truth(options.first_ms / 1000, options.gap_ms / 1000, options.tokens)
    if min(truth.first_s, truth.gap_s, options.rate) <= 0 or truth.tokens < LEAST_TOKENS or options.requests < 1:
        raise ValueError("--first-ms, --gap-ms, --rate and --requests must be above 0, --tokens at least 3.")
    with process("benchmarks", "stub") as url:
        run = uvloop.run(measured(url, truth, options.rate, options.requests))
    found = compared(run, truth)
    print(shown(run, found))
    return 0 if all(each.is_exact for each in found) else 1


if __name__ == "__main__":
    _parser = argparse.ArgumentParser("python -m benchmarks.drive.truth", description=__doc__)
    add_arguments(_parser)
    sys.exit(main(_parser.parse_args()))
