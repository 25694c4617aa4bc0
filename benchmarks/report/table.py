"""The tables that a terminal shows of a document: the figures of one run, or one line for each of many.

Pure: a document in, rich renderables out. Intervals are those of 95 % confidence, dim, below their figure.
"""

from __future__ import annotations

from collections.abc import Callable

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from benchmarks.report.document import Document, Figure, Run
from benchmarks.report.quantity import dollars, listed, number, seconds, seconds_within, share
from benchmarks.report.subject import is_curve, keeps, offered, ordered, principal

STATISTICS = ("mean", "p50", "p90", "p95", "p99")
LATENCIES = {
    "ttft_s": "time to first token",
    "tpot_s": "time per output token",
    "itl_s": "gap between tokens",
    "e2e_s": "end to end",
    "queue_s": "wait in the engine",
    "lag_s": "lag of the generator",
}
STYLES = {"kept": "green", "broken": "red", "not valid": "yellow"}
# Above this many runs they are read as lines below each other, else as columns beside each other.
BESIDE = 4


def tables_of(document: Document) -> list[RenderableType]:
    """All runs side by side where there are several, then the figures of the principal one."""
    found: list[RenderableType] = []
    if len(document.runs) > 1:
        found.append(beside_table(document) if is_beside(document) else runs_table(document))
    run = principal(document)
    return found if run is None else [*found, latency_table(run), totals_table(run)]


def latency_table(run: Run) -> Table:
    """Each distribution in a line."""
    made = _table(f"{run.name}: {run.summary.requests:,} requests in {seconds(run.summary.seconds)}")
    made.add_column("")
    for name in STATISTICS:
        made.add_column(name, justify="right", no_wrap=True)
    for name, words in LATENCIES.items():
        figure: Figure | None = getattr(run.summary, name)
        if figure is not None:
            made.add_row(words, *(_with_interval(figure, each) for each in STATISTICS))
    return made


def totals_table(run: Run) -> Table:
    """Everything of a run that is one number, name by value."""
    made = Table.grid(padding=(0, 2))
    made.add_column(style="dim")
    made.add_column()
    for name, value in totals(run):
        made.add_row(f" {name}", Text(value))
    made.add_row("", "")
    return made


def totals(run: Run) -> list[tuple[str, str]]:
    """Name and value of what is known of a run; the page shows the same."""
    summary, costs = run.summary, run.costs
    tokens = f"{number(summary.output_tokens_per_s)}/s out, {number(summary.input_tokens_per_s)}/s in"
    shown = [
        ("load", str(offered(run))),
        ("answers", f"{number(summary.requests_per_s)}/s, {number(summary.mean_concurrency)} at a time"),
        ("tokens", tokens),
        ("met the promise", "" if summary.goodput_per_s is None else f"{number(summary.goodput_per_s)}/s"),
        ("errors", f"{summary.errors:,} {_bracketed(listed(dict(summary.errors_by_kind)))}".rstrip()),
        ("ran on", listed(dict(summary.targets))),
        ("because", listed(dict(summary.reasons))),
        ("spilled", "" if summary.spill_share is None else share(summary.spill_share)),
        ("cloud", _money(costs.cloud_usd, costs.all_cloud_usd, "all in the cloud")),
        ("a million tokens", _money(costs.local_usd_per_mtok, costs.cloud_usd_per_mtok, "in the cloud")),
        ("energy", "" if costs.joules_per_token is None else f"{number(costs.joules_per_token)} J a token"),
        ("token counts differ", f"{summary.token_mismatches:,}" if summary.token_mismatches else ""),
        ("warm-up left out", seconds(summary.warm_up_s)),
    ]
    return [(name, value) for name, value in shown if value]


def is_beside(document: Document) -> bool:
    """Whether the runs are a few settings, to be read beside each other."""
    return len(document.runs) <= BESIDE and not is_curve(document)


def runs_table(document: Document) -> Table:
    """One line for each run; columns that no run fills are left out."""
    made = _table(document.title)
    kept = filled_columns(document)
    for heading, _ in kept:
        made.add_column(heading, justify="left" if heading in LEFT else "right", no_wrap=True)
    for row in range(len(document.runs)):
        made.add_row(*(_styled(cells[row]) for _, cells in kept))
    return made


def beside_table(document: Document) -> Table:
    """One column for each run: for a few runs with long names."""
    made = _table(document.title)
    made.add_column("", style="dim")
    for run in document.runs:
        made.add_column(Text(run.name), justify="right")
    for heading, cells in filled_columns(document)[1:]:
        made.add_row(heading.replace("\n", " "), *map(_styled, cells))
    return made


def filled_columns(document: Document) -> list[tuple[str, list[str]]]:
    """The columns that say something: heading, and a cell for each run."""
    skipped = NOT_IN_A_CURVE if is_curve(document) else ()
    columns = [
        (heading, [cell(run) for run in ordered(document)]) for heading, cell in COLUMNS if heading not in skipped
    ]
    return [(heading, cells) for heading, cells in columns if any(cells)]


def standing(run: Run) -> str:
    """`kept`, `broken`, `not valid`, or nothing where no promise was made."""
    return "not valid" if run.invalid else {True: "kept", False: "broken", None: ""}[keeps(run)]


def _statistic(name: str, statistic: str, run: Run) -> str:
    figure: Figure | None = getattr(run.summary, name)
    return "" if figure is None else seconds(getattr(figure, statistic))


LEFT = ("run", "promise")
NOT_IN_A_CURVE = ("TPOT\np50", "E2E\np95", "cloud\ndollars")
COLUMNS: tuple[tuple[str, Callable[[Run], str]], ...] = (
    ("run", lambda run: run.name),
    ("answers\n/s", lambda run: number(run.summary.requests_per_s)),
    ("good\n/s", lambda run: "" if run.summary.goodput_per_s is None else number(run.summary.goodput_per_s)),
    ("tokens\n/s", lambda run: number(run.summary.output_tokens_per_s)),
    ("TTFT\np50", lambda run: _statistic("ttft_s", "p50", run)),
    ("TTFT\np95", lambda run: _statistic("ttft_s", "p95", run)),
    ("TPOT\np50", lambda run: _statistic("tpot_s", "p50", run)),
    ("TPOT\np95", lambda run: _statistic("tpot_s", "p95", run)),
    ("E2E\np95", lambda run: _statistic("e2e_s", "p95", run)),
    ("errors", lambda run: f"{run.summary.errors:,}"),
    ("spilled", lambda run: "" if run.summary.spill_share is None else share(run.summary.spill_share)),
    ("cloud\ndollars", lambda run: "" if run.costs.cloud_usd is None else dollars(run.costs.cloud_usd)),
    ("promise", standing),
)


def _with_interval(figure: Figure, statistic: str) -> Text:
    value: float = getattr(figure, statistic)
    said = seconds_within(value, figure.low.get(statistic), figure.high.get(statistic))
    shown, _, interval = said.partition(" (")
    if not interval:
        return Text(shown)
    return Text.assemble(shown, "\n", (interval.rstrip(")"), "dim"))


def _styled(cell: str) -> Text:
    """Text, so that a name with brackets is no markup."""
    return Text(cell, style=STYLES.get(cell, ""))


def _money(value: float | None, other: float | None, words: str) -> str:
    if value is None:
        return ""
    return dollars(value) if other is None else f"{dollars(value)} ({words}: {dollars(other)})"


def _bracketed(text: str) -> str:
    return f"({text})" if text else ""


def _table(title: str) -> Table:
    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1),
        collapse_padding=True,
    )
