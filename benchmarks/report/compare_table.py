"""What a comparison says: a table, and a verdict in one sentence. Pure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePath

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from benchmarks.report.compare import Change, Comparison, Finding
from benchmarks.report.quantity import UNKNOWN, number, seconds, share

STYLES = {Finding.WORSE: "red", Finding.BETTER: "green", Finding.UNKNOWN: "yellow"}
FAR = 10.0
WHOLE_PERCENT = 10
NAMES = {
    "ttft_s": "first token",
    "tpot_s": "each token",
    "itl_s": "token gap",
    "e2e_s": "end to end",
    "output_tokens_per_s": "tokens out /s",
    "requests_per_s": "answers /s",
    "goodput_per_s": "good answers /s",
    "errors": "failed",
    "knee": "highest good load",
}
# A sentence with more figures than this is not read.
MOST_NAMED = 3


def table_of(comparison: Comparison, before: str, after: str) -> Table:
    """One line for each figure. The interval is that of the change; `slower` the share of pairs that were."""
    made = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1), collapse_padding=True)
    made.add_column("", no_wrap=True)
    for heading in (
        PurePath(before).stem or "before",
        PurePath(after).stem or "after",
        "change",
        "interval",
        "slower",
    ):
        made.add_column(Text(heading), justify="right", no_wrap=True)
    made.add_column("", no_wrap=True)
    several = len({each.run for each in comparison.changes if each.run}) > 1
    for each in comparison.changes:
        value = _reading(each)
        made.add_row(
            Text(_name(each, several)),
            value(each.before),
            value(each.after),
            _amount(each),
            _interval(each),
            "" if each.slower is None else share(each.slower),
            Text(each.finding, style=STYLES.get(each.finding, "dim")),
        )
    return made


def verdict_of(comparison: Comparison) -> str:
    """The one sentence that a CI job prints."""
    worse, better = comparison.found(Finding.WORSE), comparison.found(Finding.BETTER)
    if worse:
        also = f" Better: {_named(better)}." if better else ""
        return f"WORSE: {_named(worse)}.{also}"
    if better:
        return f"Better: {_named(better)}; nothing is worse."
    if all(each.finding is Finding.UNKNOWN for each in comparison.changes):
        return (
            "Cannot tell: the reports hold neither requests nor confidence intervals."
            " Keep the file of rows beside each report, and measure at least 100 requests."
        )
    if all(each.finding is Finding.SAME for each in comparison.changes):
        return "The same: every difference is too small to matter."
    return "No difference shown. A longer run would show a smaller one."


def _named(changes: list[Change]) -> str:
    several = len({each.run for each in changes}) > 1
    named = [f"{_name(each, several)} {_amount(each)} ({_interval(each)})" for each in changes[:MOST_NAMED]]
    more = len(changes) - len(named)
    return ", ".join(named) + (f" and {more} more" if more else "")


def _name(each: Change, several: bool) -> str:
    words = f"{NAMES.get(each.name, each.name)} {each.statistic}".rstrip()
    return f"{each.run}: {words}" if several and each.run else words


def _reading(each: Change) -> Callable[[float], str]:
    if each.name == "errors":
        return share
    return seconds if each.statistic else number


def _amount(each: Change) -> str:
    return f"{each.change * 100:+.2f} pt" if each.name == "errors" else f"{_signed(each.change)} %"


def _interval(each: Change) -> str:
    if each.low is None or each.high is None:
        return UNKNOWN
    if each.name == "errors":
        return f"{each.low * 100:+.2f} to {each.high * 100:+.2f}"
    # A thousand percent and ten thousand say the same: nothing is known upwards.
    return f"{_signed(each.low)} to {'any' if each.high > FAR else _signed(each.high)} %"


def _signed(change: float) -> str:
    """In percent, with as many decimals as matter."""
    percent = change * 100
    return f"{percent:+.0f}" if abs(percent) >= WHOLE_PERCENT else f"{percent:+.1f}"
