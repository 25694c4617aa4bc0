"""What is asked of the ledger's file: sums first, then the rows of the hours that are looked at closely.

A month of a busy router has more rows than memory is for.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.cases.ledger import selected
from benchmarks.whatifs.hours import SLOT_S, Window
from benchmarks.whatifs.row import Block, Row

DAY_S = 86_400.0
# A row is written when its answer has ended.
ARRIVED = "at_unix_s - e2e_s"
# What failed has no lengths, and embeddings have no answer that streams.
ANSWERED = "prompt_tokens > 0 AND completion_tokens > 0"
NEWEST = "SELECT max(at_unix_s) FROM outcome"
BLOCKS = f"""SELECT CAST(({ARRIVED}) / {SLOT_S} AS INTEGER), target, model, tier, reason, count(*), sum(prompt_tokens),
    sum(completion_tokens), sum(usd) FROM outcome WHERE at_unix_s >= ? AND {ANSWERED} GROUP BY 1, 2, 3, 4, 5"""
UNANSWERED = f"SELECT count(*) FROM outcome WHERE at_unix_s >= ? AND NOT ({ANSWERED})"
SPAN = f"SELECT min({ARRIVED}), max({ARRIVED}) FROM outcome WHERE at_unix_s >= ? AND {ANSWERED}"
# For who has no ledger to speak of.
ELSE = "a --trace FILE with --engine and --cloud"
# An answer may end after its window has; no request of a router takes longer than this.
LONGEST_S = 3600.0
ROWS = f"""SELECT {ARRIVED}, target, model, tier, reason, tenant, prompt_tokens, completion_tokens, ttft_s, e2e_s,
    usd
    FROM outcome WHERE at_unix_s >= ?1 AND at_unix_s < ?2 + {LONGEST_S} AND {ARRIVED} >= ?1 AND {ARRIVED} < ?2
    AND {ANSWERED} ORDER BY 1"""


def since_s(path: Path, days: float) -> float:
    """So many days before its newest row. Raises ValueError where there is no row, or no such file."""
    if not path.is_file():
        raise ValueError(f"{path}: there is no ledger; name one with --ledger FILE or SPILLWAY_HOME, or name {ELSE}")
    newest = selected(path, NEWEST)[0][0]
    if newest is None:
        raise ValueError(f"{path}: the ledger is empty; send requests through the router first, or name {ELSE}")
    return float(newest) - days * DAY_S


def blocks_in(path: Path, since_unix_s: float) -> list[Block]:
    """Of what was answered since then."""
    return [Block(*row) for row in selected(path, BLOCKS, (since_unix_s,))]


def unanswered_in(path: Path, since_unix_s: float) -> int:
    """How many have no answer with tokens: refused, failed, embeddings."""
    return int(selected(path, UNANSWERED, (since_unix_s,))[0][0])


def span_in(path: Path, since_unix_s: float) -> tuple[float, float]:
    """When the first and the last of those that were answered came."""
    first_s, last_s = selected(path, SPAN, (since_unix_s,))[0]
    return float(first_s or 0.0), float(last_s or 0.0)


def rows_in(path: Path, windows: Sequence[Window]) -> list[list[Row]]:
    """Of each window, in the order of arrival."""
    return [[Row(*row) for row in selected(path, ROWS, (each.start_s, each.end_s))] for each in windows]
