"""The same requests by this harness and by guidellm, at several rates: do they report the same?

Arrivals are Poisson and the same to the millisecond. Answers have one length: guidellm's means count an answer by its
tokens. Status 1 where a figure differs by more than --within.
"""

from __future__ import annotations

import argparse
import sys

from benchmarks.proof.beside import add_arguments, contest_in, ended, held
from benchmarks.proof.generators import Guidellm
from benchmarks.proof.work import add_arguments as add_work
from benchmarks.proof.work import work_in


def main() -> int:
    """Compare."""
    parser = argparse.ArgumentParser("python -m benchmarks.proof.beside_guidellm", description=__doc__)
    parser.add_argument("--program", required=True, help="guidellm, in a virtual environment of its own")
    parser.add_argument("--rates", default="1,2,3", help="requests per second, in commas (%(default)s)")
    add_arguments(parser, within=0.05)
    add_work(parser, requests=60, input_tokens="uniform:64-256", output_tokens="64")
    options = parser.parse_args()
    return ended(lambda: _compared(options))


def _compared(options: argparse.Namespace) -> list[bool]:
    contest = contest_in(options, Guidellm(options.program))
    rates = [float(rate) for rate in options.rates.split(",")]
    return [held(contest, work_in(options, None, rate), f"rate-{rate:g}") for rate in rates]


if __name__ == "__main__":
    sys.exit(main())
