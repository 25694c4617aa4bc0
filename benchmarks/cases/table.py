"""How outcomes look side by side in a terminal: values in, rich tables out. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from benchmarks.cases.outcome import Outcome
from benchmarks.cases.phase import Phase
from benchmarks.cases.promises import Promises
from benchmarks.report.quantity import dollars, seconds, share

REASONS_SHOWN = 4
EVENTS_SHOWN = 40

Cell = Callable[[Outcome], str]


def ways_table(title: str, outcomes: Sequence[Outcome]) -> Table:
    """One column for each way, one line for each figure: three ways fit beside each other, ten figures do not."""
    made = _table(title)
    made.add_column("", no_wrap=True)
    for outcome in outcomes:
        made.add_column(outcome.name, justify="right")
    for name, cell in WAYS:
        made.add_row(name, *map(cell, outcomes))
    return made


def phases_table(title: str, phases: Sequence[Phase], outcomes: Sequence[Outcome]) -> Table:
    """One line for each phase."""
    made = _table(title)
    made.add_column("phase")
    for name in ("from", "asked", "kept", "failed", "TTFT p50", "p95", "cloud", "dollars"):
        made.add_column(name, justify="right", no_wrap=True)
    for phase, outcome in zip(phases, outcomes, strict=True):
        made.add_row(
            phase.name,
            f"{phase.from_s:.1f} s",
            f"{outcome.requests}",
            _kept(outcome),
            f"{sum(outcome.errors.values())}",
            seconds(outcome.ttft_p50_s),
            seconds(outcome.ttft_p95_s),
            share(outcome.cloud_share),
            dollars(outcome.usd),
        )
    return made


def causes_table(phases: Sequence[Phase], outcomes: Sequence[Outcome]) -> Table:
    """Where the answers of each phase came from and why, and how the others failed."""
    made = _table("")
    for name in ("phase", "ran on", "because", "failed"):
        made.add_column(name)
    for phase, outcome in zip(phases, outcomes, strict=True):
        counted = (outcome.targets, outcome.reasons, outcome.errors)
        made.add_row(phase.name, *(_listed(each).replace(", ", "\n") for each in counted))
    return made


def promise_line(promises: Promises) -> Text:
    """What was promised."""
    return Text(f" promised: {promises}", style="dim")


def events_text(events: Sequence[tuple[float, str]]) -> Text:
    """What happened, a line each."""
    lines = [f"  {at_s:7.2f} s  {text}" for at_s, text in events[:EVENTS_SHOWN]]
    more = len(events) - EVENTS_SHOWN
    return Text("\n".join([*lines, f"  ... and {more} more, in the JSON"] if more > 0 else lines))


def _kept(outcome: Outcome) -> str:
    style = "red" if outcome.broken else "green"
    return f"[{style}]{share(outcome.kept_share)}[/]"


def _listed(counts: Mapping[str, int]) -> str:
    first = sorted(counts.items(), key=lambda each: -each[1])
    shown = [f"{count} {name}" for name, count in first[:REASONS_SHOWN]]
    return ", ".join([*shown, "..."] if len(first) > REASONS_SHOWN else shown)


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, padding=(0, 0, 0, 1))


WAYS: tuple[tuple[str, Cell], ...] = (
    ("requests", lambda each: f"{each.requests}"),
    ("got what was promised", _kept),
    ("promise", lambda each: "[red]broken[/]" if each.broken else "[green]kept[/]"),
    ("goodput", lambda each: f"{each.goodput_per_s:.3g}/s"),
    ("failed", lambda each: _listed(each.errors) or "0"),
    ("TTFT p50", lambda each: seconds(each.ttft_p50_s)),
    ("TTFT p95", lambda each: seconds(each.ttft_p95_s)),
    ("answered in the cloud", lambda each: share(each.cloud_share)),
    ("reasons", lambda each: _listed(each.reasons).replace(", ", "\n")),
    ("tokens, prompt and answer", lambda each: f"{each.tokens}"),
    ("cloud dollars", lambda each: dollars(each.usd)),
    ("cloud dollars per Mtok", lambda each: dollars(each.usd_per_mtok)),
)
