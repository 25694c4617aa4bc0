"""How a search is shown: one line for each load as it is tried, and the knee curve drawn in text. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from benchmarks.report.document import Figure, Run
from benchmarks.report.quantity import number, seconds
from benchmarks.search.course import Tried
from benchmarks.search.look import Look
from benchmarks.search.saturation import End, Knee

HEADINGS = ("load", "answers/s", "tokens/s", "TTFT p95", "TPOT p95", "of limit", "promise", "for")
WIDTHS = (10, 10, 10, 10, 10, 9, 9, 9)
# The curve's columns: from a twentieth of the limit to twenty times it.
COLUMNS, ENDS = 48, math.log(20)
LIMIT = COLUMNS // 2


def heading() -> str:
    """The line above the loads."""
    return _line(HEADINGS)


def row(tried: Tried) -> str:
    """The line of one load."""
    summary, look = tried.run.summary, tried.look
    verdict = "not valid" if not look.valid else "kept" if look.kept else "broken"
    figures = (_p95(summary.ttft_s), _p95(summary.tpot_s), f"{100 * math.exp(look.excess):.0f} %")
    rates = (number(summary.requests_per_s), number(summary.output_tokens_per_s))
    return _line((f"{look.load:g}", *rates, *figures, verdict, tried.why))


def curve(looks: Sequence[Look], knee: Knee) -> list[str]:
    """How near to its limit the worst promised figure was, for each load; a bar beyond the line breaks the promise."""
    valid = [look for look in looks if look.valid]
    lines = [f"{'load':>10}  {'':{LIMIT}}| the limit"]
    for load in sorted({look.load for look in valid}):
        there = [look for look in valid if look.load == load]
        excess = sorted(look.excess for look in there)[len(there) // 2]
        kept = sum(look.kept for look in there)
        words = f"{100 * math.exp(excess):4.0f} %, kept {kept} of {len(there)}"
        lines.append(f"{load:>10g}  {_bar(excess)}  {words}{'  <- knee' if load == knee.kept else ''}")
    return lines


def sentence(knee: Knee, unit: str) -> str:
    """What was found, in words."""
    tries = f"{knee.runs} run{'' if knee.runs == 1 else 's'}"
    if knee.load is None:
        return f"No load that was tried kept the promise ({knee.end}, {tries})."
    if knee.high is None:
        return f"The promise is kept up to {knee.load:g} {unit}, the highest load that was tried ({knee.end}, {tries})."
    between = f"{number(knee.low)} to {number(knee.high)}"
    why = "" if knee.end is End.FOUND else f" {knee.end.capitalize()}."
    kept = "" if knee.kept is None else f" Kept when measured: {knee.kept:g}."
    return f"The promise is kept up to {knee.load:g} {unit} ({between} with 90 % confidence, {tries}).{kept}{why}"


def knee_json(knee: Knee, run: Run | None, took_s: float, unit: str) -> dict[str, object]:
    """For the report: `run` stands for the knee, `unit` is that of the loads."""
    return {
        "load": knee.load,
        "unit": str(unit),
        "low": knee.low,
        "high": knee.high,
        "kept": knee.kept,
        "end": str(knee.end),
        "run": run.name if run else None,
        "runs": knee.runs,
        "seconds": round(took_s, 1),
    }


def _bar(excess: float) -> str:
    filled = round(LIMIT * (1 + max(-1.0, min(1.0, excess / ENDS))))
    drawn = "#" * max(1, filled) + " " * (COLUMNS - max(1, filled))
    return drawn[:LIMIT] + "|" + drawn[LIMIT:]


def _p95(figure: Figure | None) -> str:
    return "-" if figure is None else seconds(figure.p95)


def _line(cells: Sequence[str]) -> str:
    return " ".join(f"{cell:>{width}}" for cell, width in zip(cells, WIDTHS, strict=True))
