"""The same requests by this harness and by `vllm bench serve`, in turns: do they report the same?

--users makes a closed loop, --rate an open one whose arrivals are the same to the millisecond; both may be given, one
after the other. Status 1 where a figure differs by more than --within.
"""

from __future__ import annotations

import argparse
import sys

from benchmarks.proof.beside import add_arguments, contest_in, ended, held
from benchmarks.proof.generators import Vllm
from benchmarks.proof.work import add_arguments as add_work
from benchmarks.proof.work import work_in


def main() -> int:
    """Compare."""
    parser = argparse.ArgumentParser("python -m benchmarks.proof.beside_vllm", description=__doc__)
    parser.add_argument("--python", required=True, help="a Python with vLLM")
    parser.add_argument("--users", type=int, help="closed loop")
    parser.add_argument("--rate", type=float, help="open loop, requests per second")
    add_arguments(parser, within=0.03)
    add_work(parser, requests=128, input_tokens="uniform:64-256", output_tokens="uniform:48-80")
    options = parser.parse_args()
    return ended(lambda: _compared(options))


def _compared(options: argparse.Namespace) -> list[bool]:
    if options.users is None and options.rate is None:
        raise ValueError("give --users, --rate or both")
    contest = contest_in(options, Vllm(options.python))
    works = []
    if options.users is not None:
        works.append(("closed", work_in(options, options.users, None)))
    if options.rate is not None:
        works.append(("open", work_in(options, None, options.rate)))
    return [held(contest, work, name) for name, work in works]


if __name__ == "__main__":
    sys.exit(main())
