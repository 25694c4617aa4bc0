"""The requests of a comparison, in the one form of a trace that all generators read: Mooncake's. Pure, but for `write`.

No two prompts share a block, so that no prefix cache answers.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from random import Random

from benchmarks.workload.lengths import Lengths, lengths_in

BLOCK_TOKENS = 512
MS_PER_S = 1000


@dataclass(frozen=True, slots=True)
class Work:
    """`requests` with lengths drawn by `seed`, by `users` who wait for their answers or at `rate`, Poisson."""

    requests: int
    input_tokens: Lengths
    output_tokens: Lengths
    users: int | None = None
    rate: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if (self.users is None) == (self.rate is None):
            raise ValueError("give --users or --rate, one of them")
        if self.requests < 1 or (self.users or 1) < 1 or not (self.rate or 1) > 0:
            raise ValueError("--requests, --users and --rate must be above 0")

    def __str__(self) -> str:
        load = f"{self.users} users" if self.rate is None else f"{self.rate:g} requests/s"
        return f"{load}, {self.requests} requests, {self.input_tokens} tokens in, {self.output_tokens} out"


def add_arguments(parser: argparse.ArgumentParser, *, requests: int, input_tokens: str, output_tokens: str) -> None:
    """The options that `work_in` reads, but for --users and --rate."""
    parser.add_argument("--requests", type=int, default=requests, help="in each turn (%(default)s)")
    parser.add_argument("--input-tokens", default=input_tokens, metavar="LENGTHS", help="(%(default)s)")
    parser.add_argument("--output-tokens", default=output_tokens, metavar="LENGTHS", help="(%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of lengths and arrivals (%(default)s)")


def work_in(options: argparse.Namespace, users: int | None, rate: float | None) -> Work:
    """Raises ValueError with a sentence."""
    lengths = lengths_in(options.input_tokens), lengths_in(options.output_tokens)
    return Work(options.requests, *lengths, users, rate, options.seed)


def rows(work: Work) -> list[dict[str, object]]:
    """One for each request. Users have no moments of their own: theirs are all 0."""
    rng, at_s, made, block = Random(work.seed), 0.0, [], 0
    for _ in range(work.requests):
        tokens = work.input_tokens.draw(rng)
        blocks = -(-tokens // BLOCK_TOKENS)
        made.append(
            {
                "timestamp": round(at_s * MS_PER_S),
                "input_length": tokens,
                "output_length": work.output_tokens.draw(rng),
                "hash_ids": list(range(block, block + blocks)),
            }
        )
        block += blocks
        at_s += rng.expovariate(work.rate) if work.rate else 0.0
    return made


def write(work: Work, path: Path) -> None:
    """As JSON lines."""
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows(work)))
