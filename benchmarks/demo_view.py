"""How the demo looks in a terminal: the live lines while it runs, and the tables afterwards.

Turns values into rich renderables; it must not know where they come from.
"""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from benchmarks.crowd import Crowd, Phase
from benchmarks.pressure import Pressure
from benchmarks.quantiles import Spread
from benchmarks.verdict import Verdict, is_answered, is_cloud, is_refused

BAR_WIDTH = 30
REASONS_SHOWN = 5


class Screen:
    """The live lines. The demo writes `phase` and `pressure`; the crowd is only read."""

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self._phase: Phase | None = None
        self._began_s = 0.0
        self.pressure: Pressure | None = None

    def begin(self, phase: Phase) -> None:
        """A phase starts now."""
        self._phase, self._began_s = phase, self._crowd.now_s

    def __rich__(self) -> Group:
        shots = self._crowd.shots
        cloud = sum(is_cloud(shot) and is_answered(shot) for shot in shots)
        local = sum(is_answered(shot) for shot in shots) - cloud
        refused = sum(is_refused(shot) for shot in shots)
        done = f"  {self._crowd.in_flight:>3} in flight   answered: {local} local, {cloud} cloud   {refused} refused"
        engine = "no report yet" if self.pressure is None else self.pressure.sentence()
        return Group(self._bar(), Text(done), Text(f"  vLLM: {engine}", style="dim"))

    def _bar(self) -> Table:
        grid = Table.grid(padding=(0, 1))
        if self._phase is not None:
            gone_s = self._crowd.now_s - self._began_s
            left_s = self._phase.seconds - gone_s
            late = "waiting for the traffic to come back" if self._crowd.is_late else "the last answers come in"
            note = f"{left_s:.0f} s left" if left_s > 0 else late
            bar = ProgressBar(self._phase.seconds, min(gone_s, self._phase.seconds), width=BAR_WIDTH)
            grid.add_row(f"  {self._phase.name:<10}", f"{self._phase.streams:>3} streams", bar, note)
        return grid


def print_verdict(console: Console, verdict: Verdict, peak: Pressure, billed_usd: float | None) -> None:
    """Everything that was found."""
    console.print("", requests_table(verdict), phases_table(verdict))
    for fact in verdict.facts:
        mark, style = ("yes", "bold green") if fact.shown else ("NO", "bold red")
        console.print(Text.assemble((f"{mark:>3}  ", style), f"{fact.claim}: {fact.figures}"))
    billed = "" if billed_usd is None else f" (the stand-in cloud itself counted ${billed_usd:.5f})"
    console.print(f"     spent ${verdict.spent_usd:.5f}{billed}; all in the cloud: ${verdict.all_cloud_usd:.5f}")
    console.print(f"     vLLM at its peak: {peak.sentence()}")
    if verdict.failures:
        console.print(Text(f"     {len(verdict.failures)} requests failed:", style="yellow"))
        for failure in sorted(set(verdict.failures))[:REASONS_SHOWN]:
            console.print(Text(f"       {failure}", style="yellow"))


def requests_table(verdict: Verdict) -> Table:
    """Where requests ran and why."""
    table = _table("Where requests ran, and why (TTFT in seconds)", ("target", "reason"))
    for name in ("count", "share", "TTFT p50", "p95", "tokens", "dollars"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in verdict.rows:
        figures = (f"{row.requests}", f"{row.share:.0%}", *_ttft(row.ttft_s), f"{row.tokens}", f"{row.usd:.5f}")
        table.add_row(row.target, row.reason, *figures)
    return table


def phases_table(verdict: Verdict) -> Table:
    """Where the requests of each phase ran."""
    table = _table("Phase by phase", ("phase",))
    for name in ("streams", "seconds", "local", "cloud", "refused", "failed", "% local"):
        table.add_column(name, justify="right", no_wrap=True)
    for split in verdict.splits:
        phase = split.phase
        counts = (split.local, split.cloud, split.refused, split.failed)
        figures = (f"{phase.streams}", f"{phase.seconds:.0f}", *map(str, counts), f"{split.local_share:.0%}")
        table.add_row(phase.name, *figures)
    return table


def _table(title: str, names: tuple[str, ...]) -> Table:
    """Narrow enough for a terminal of 80 columns."""
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, padding=(0, 0, 0, 1))
    for name in names:
        table.add_column(name, no_wrap=True)
    return table


def _ttft(found: Spread | None) -> tuple[str, str]:
    return ("", "") if found is None else (f"{found.p50:.2f}", f"{found.p95:.2f}")
