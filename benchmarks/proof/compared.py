"""Figures of two generators that took turns, laid side by side. Pure.

A figure is the median of a generator's turns. How far those turns lie apart says how much of a difference means
nothing: two generators cannot agree better than each agrees with itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median

from benchmarks.report.document import Figure, Summary

HEADING = "| figure | {} | {} | difference | {} with itself | {} with itself |"


@dataclass(frozen=True, slots=True)
class Row:
    """One figure, in each turn of each generator."""

    name: str
    unit: str
    ours: Sequence[float]
    theirs: Sequence[float]

    @property
    def difference(self) -> float:
        """By how much the median of ours is above that of theirs, as a share of it."""
        return median(self.ours) / median(self.theirs) - 1.0

    @property
    def scatter(self) -> tuple[float, float]:
        """Half the range of each one's turns, as a share of its median: ours, theirs."""
        return _scatter(self.ours), _scatter(self.theirs)

    def agrees(self, within: float) -> bool:
        """Whether the difference is at most so large."""
        return abs(self.difference) <= within


def rows(ours: Sequence[Summary], theirs: Sequence[Summary], more: Sequence[str] = ()) -> list[Row]:
    """The figures that both have: tokens/s, then mean and p99 (and `more` statistics) of TTFT and TPOT.

    Raises ValueError where one of them lacks a figure.
    """
    found = [_row("output tokens", "1/s", lambda summary: summary.output_tokens_per_s, ours, theirs)]
    for figure in ("ttft_s", "tpot_s"):
        for statistic in ("mean", *more, "p99"):
            name = f"{figure.removesuffix('_s').upper()} {statistic}"
            found.append(_row(name, "ms", partial(_statistic_ms, figure=figure, statistic=statistic), ours, theirs))
    return found


def table(found: Sequence[Row], names: tuple[str, str], within: float) -> list[str]:
    """As Markdown, with what it comes to below."""
    ours, theirs = names
    lines = [HEADING.format(ours, theirs, ours, theirs), "|---|---|---|---|---|---|"]
    for row in found:
        by_self = " | ".join(f"± {share:.1%}" for share in row.scatter)
        values = f"{median(row.ours):.4g} | {median(row.theirs):.4g}"
        lines.append(f"| {row.name} ({row.unit}) | {values} | {row.difference:+.1%} | {by_self} |")
    apart = [row.name for row in found if not row.agrees(within)]
    said = f"apart by more than {within:.0%}: {', '.join(apart)}" if apart else f"all within {within:.0%}"
    return [*lines, "", said]


def _row(
    name: str, unit: str, of: Callable[[Summary], float], ours: Sequence[Summary], theirs: Sequence[Summary]
) -> Row:
    return Row(name, unit, [*map(of, ours)], [*map(of, theirs)])


def _statistic_ms(summary: Summary, *, figure: str, statistic: str) -> float:
    found: Figure | None = getattr(summary, figure)
    if found is None:
        raise ValueError(f"a report has no {figure}: nothing was streamed, or nothing was answered.")
    value: float = getattr(found, statistic)
    return value * 1000


def _scatter(values: Sequence[float]) -> float:
    return (max(values) - min(values)) / 2 / median(values)
