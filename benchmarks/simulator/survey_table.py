"""Rows of a survey as lines of a Markdown table, which align in a terminal too. Values in, text out."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.report.quantity import UNKNOWN, number
from benchmarks.simulator.survey import HOUR_S, Capacity, Row
from benchmarks.simulator.table import floored

PER_CENT = 100
Cell = Callable[[Row], str]


def capacity_line(capacity: Capacity) -> str:
    """What load 1 is, and what of the trace is taken."""
    ground = capacity.ground
    who = f"{ground.name}, {ground.engines} x"
    if capacity.per_s is None:
        return f"{who}: {capacity.why}"
    line = f"{who}: load 1 is {number(capacity.per_s)} requests/s"
    if capacity.here_share < 1:
        line += f", {number(PER_CENT * (1 - capacity.here_share))} % of them such as no engine serves in time"
    if capacity.from_s:
        line += f"; of the trace {number(capacity.lasts_s / HOUR_S)} h from {number(capacity.from_s / HOUR_S)} h on"
    return line


def heading() -> tuple[str, str]:
    """Two lines."""
    named = "| " + " | ".join(name.ljust(wide) for name, wide, _ in COLUMNS) + " |"
    return named, "|" + "|".join("-" * (wide + 2) for _, wide, _ in COLUMNS) + "|"


def row_line(row: Row) -> str:
    """One line."""
    return "| " + " | ".join(cell(row).ljust(wide) for _, wide, cell in COLUMNS) + " |"


def _worst(row: Row) -> str:
    share = row.outcome.worst_share
    return UNKNOWN if share is None else floored(share)


def _count(row: Row) -> str:
    if row.count is None:
        return UNKNOWN if row.is_alone else "breaks"
    return f"{PER_CENT * (row.count_bill_share or 0.0):.2f} ({row.count})"


def _least(row: Row) -> str:
    return UNKNOWN if row.least_bill_share is None else f"{PER_CENT * row.least_bill_share:.2f}"


def _cause(row: Row) -> str:
    """What most of the misses were."""
    outcome = row.outcome
    shares = {
        "late in the cloud": outcome.cloud_late_share,
        "TTFT here": outcome.ttft_here_share,
        "TPOT here": outcome.tpot_here_share,
        "never served": outcome.unserved_share,
    }
    cause = max(shares, key=lambda each: shares[each])
    return f"{cause} {PER_CENT * shares[cause]:.2f} %"


def _note(row: Row) -> str:
    if row.is_broken:
        return f"promise broken: {_cause(row)}"
    if row.is_needless:
        return f"spills {PER_CENT * row.spilled_here_share:.2f} % needlessly"
    if not row.outcome.is_kept:
        return f"nobody keeps more than {floored(row.kept_most)} %"
    return ""


COLUMNS: tuple[tuple[str, int, Cell], ...] = (
    ("trace", 35, lambda row: row.capacity.ground.name),
    ("engines", 7, lambda row: str(row.capacity.ground.engines)),
    ("load", 4, lambda row: f"{row.load:g}"),
    ("req/s", 5, lambda row: number(row.per_s)),
    ("requests", 8, lambda row: f"{row.outcome.requests:,}"),
    ("kept %", 6, lambda row: floored(row.outcome.kept_share)),
    ("worst 5 min", 11, _worst),
    ("bill %", 6, lambda row: f"{PER_CENT * row.outcome.bill_share:.2f}"),
    ("spill %", 7, lambda row: f"{PER_CENT * row.outcome.spilled_share:.2f}"),
    ("count's bill %", 14, _count),
    ("least %", 7, _least),
    ("", 0, _note),
)
