"""How contenders look beside each other in a terminal: values in, rich out. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from benchmarks.figures.promise import Promise
from benchmarks.report.quantity import UNKNOWN
from benchmarks.rivals.outcome import Outcome
from benchmarks.simulator.table import floored

COLUMNS = ("load", "router", "kept", "TTFT", "TPOT", "bill", "spilled", "errors", "TTFT p50", "p99", "TPOT p99")
FORETOLD = ("foretold p50", "p95")


def table_of(outcomes: Sequence[Outcome], promise: Promise, title: str) -> Table:
    """A line for each load and router; green keeps the promise, red breaks it."""
    made = Table(box=SIMPLE_HEAD, title=title, title_justify="left", padding=(0, 0, 0, 1))
    says = any(each.foretold_s for each in outcomes)
    for name in (*COLUMNS, *(FORETOLD if says else ())):
        made.add_column(name, justify="left" if name == "router" else "right", no_wrap=True)
    for before, each in zip((None, *outcomes), outcomes, strict=False):
        is_new = before is None or before.load != each.load
        made.add_row(*_cells(each, promise, is_new), *(_foretold(each) if says else ()))
    return made


def _cells(each: Outcome, promise: Promise, is_new: bool) -> Sequence[str | Text]:
    style = "green" if each.kept_share >= promise.share else "bold red"
    return (
        f"{each.load:g}" if is_new else "",
        each.contender,
        Text(f"{floored(each.kept_share)} %", style=style),
        f"{floored(each.ttft_kept_share)} %",
        f"{floored(each.tpot_kept_share)} %",
        f"{each.bill_share:.1%}",
        f"{each.spilled_share:.1%}",
        f"{sum(each.errors.values())}",
        _seconds(each.ttft_p50_s),
        _seconds(each.ttft_p99_s),
        UNKNOWN if each.tpot_p99_s is None else f"{each.tpot_p99_s * 1000:.0f} ms",
    )


def _foretold(each: Outcome) -> Sequence[str]:
    return tuple(_seconds(each.foretold_s.get(quantile)) for quantile in ("0.5", "0.95"))


def _seconds(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.2f} s"
