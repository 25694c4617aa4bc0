"""How policies look beside each other in a terminal of 100 columns: values in, rich tables out. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from benchmarks.report.quantity import UNKNOWN, dollars, seconds
from benchmarks.simulator.outcome import Outcome, Promise

PER_CENT = 100
# So that what is there stands out.
NOTHING = "·"


def outcomes_table(outcomes: Sequence[Outcome], promise: Promise) -> Table:
    """A line for each policy. Misses are shares of all requests; green keeps the promise, red breaks it.

    Columns in which no policy has anything are left out.
    """
    made = Table(box=SIMPLE_HEAD, padding=(0, 0, 0, 1))
    made.add_column("policy", overflow="fold", min_width=10)
    rows = [[cell(outcome, promise) for _, cell in COLUMNS] for outcome in outcomes]
    said = [place for place in range(len(COLUMNS)) if any(row[place].plain != NOTHING for row in rows)]
    for place in said:
        made.add_column(COLUMNS[place][0], justify="right", no_wrap=True)
    for outcome, row in zip(outcomes, rows, strict=True):
        made.add_row(outcome.policy, *(row[place] for place in said))
    return made


def title_line(title: str) -> Text:
    """What is simulated; above the table, since its own title would be folded into its width."""
    return Text(title, style="bold")


def promise_line(promise: Promise) -> Text:
    """What was promised, and what the columns count."""
    line = f" promise: TTFT <= {promise.ttft_s:g} s and TPOT <= {promise.tpot_s:g} s for {_percent(promise.share)} %"
    return Text(f"{line}; bill in % of all cloud; misses in % of requests", style="dim")


def bound_line(least_usd: float, all_cloud_usd: float) -> Text:
    """What nobody can be below."""
    share = least_usd / all_cloud_usd if all_cloud_usd else 0.0
    return Text(
        f" proved: no rule keeps the promise below {share * PER_CENT:.2f} % ({dollars(least_usd)})", style="dim"
    )


def _kept(outcome: Outcome, promise: Promise) -> Text:
    return Text(floored(outcome.kept_share), style="green" if outcome.kept_share >= promise.share else "bold red")


def _worst(outcome: Outcome, promise: Promise) -> Text:
    share = outcome.worst_share
    if share is None:
        return Text(UNKNOWN)
    return Text(floored(share), style="green" if share >= promise.share else "yellow")


def floored(share: float) -> str:
    """In per cent with two digits, rounded down, so that what is shown as kept is kept."""
    return f"{int(share * 1e4 + 1e-6) / PER_CENT:.2f}"


def _percent(share: float) -> str:
    return f"{share * PER_CENT:g}"


def _share(share: float) -> Text:
    """In per cent, with two digits after the point."""
    return Text(f"{share * PER_CENT:.2f}") if share else Text(NOTHING, style="dim")


def _held(value_s: float) -> Text:
    return Text(seconds(value_s)) if value_s else Text(NOTHING, style="dim")


Cell = Callable[[Outcome, Promise], Text]
COLUMNS: tuple[tuple[str, Cell], ...] = (
    ("kept\n%", _kept),
    ("worst\n5 min", _worst),
    ("bill\n%", lambda each, _: Text(f"{each.bill_share * PER_CENT:.2f}", style="bold")),
    ("cloud\n$", lambda each, _: Text(dollars(each.usd))),
    ("spill\n%", lambda each, _: _share(each.spilled_share)),
    ("cloud\nlate", lambda each, _: _share(each.cloud_late_share)),
    ("TTFT\nhere", lambda each, _: _share(each.ttft_here_share)),
    ("TPOT\nhere", lambda each, _: _share(each.tpot_here_share)),
    ("un-\nserved", lambda each, _: _share(each.unserved_share)),
    ("pre-\nempt", lambda each, _: Text(f"{each.preemptions:,}" if each.preemptions else NOTHING)),
    ("held\nmean", lambda each, _: _held(each.wait_mean_s)),
    ("held\np99", lambda each, _: _held(each.wait_p99_s)),
)
