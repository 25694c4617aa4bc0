"""Candidates compared by the highest load at which each keeps the promise, and which one to propose.

A candidate is better only where its interval lies above that of the file as it is: a knee is an estimate. And machines
change while they are measured: before a change is proposed, the file as it is is searched once more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from rich.table import Table

from benchmarks.drive.sample import Sample
from benchmarks.report.document import Run
from benchmarks.report.quantity import change, number, seconds
from benchmarks.search.saturation import Knee
from benchmarks.search.settings import Candidate
from benchmarks.search.trial import Bench, TrialFailed, running


@dataclass(frozen=True, slots=True)
class Outcome:
    """One candidate: its knee and the run that stands for it, or why there is none. `seconds` without its start.

    `is_again`: the same was searched before.
    """

    candidate: Candidate
    knee: Knee | None = None
    run: Run | None = None
    samples: Sequence[Sample] = ()
    seconds: float = 0.0
    failed: str = ""
    stopped: bool = False
    is_again: bool = False

    @property
    def name(self) -> str:
        """What tells it from the others."""
        return f"{self.candidate}, again" if self.is_again else str(self.candidate)

    @property
    def load(self) -> float:
        """The load it carries; 0 where it carries none."""
        return (self.knee.load or 0.0) if self.knee else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """90 % confidence; without end where no load broke the promise."""
        if self.knee is None or self.knee.load is None:
            return 0.0, 0.0
        return self.knee.low or self.knee.load, math.inf if self.knee.high is None else self.knee.high


# Searches the engine at an address; the outcomes so far tell where to begin.
Search = Callable[[str, Candidate, Sequence[Outcome]], Outcome]


def compared(
    bench: Bench, candidates: Sequence[Candidate], search: Search, saw: Callable[[Outcome], None]
) -> list[Outcome]:
    """Each started, searched and taken down, one after the other; an interrupt ends it after the one that runs."""
    outcomes: list[Outcome] = []
    try:
        for number, candidate in enumerate(candidates, 1):
            outcomes.append(_searched(bench, candidate, number, search, outcomes))
            saw(outcomes[-1])
            if outcomes[-1].stopped:
                return outcomes
        if proposed(outcomes) is not None:
            again = _searched(bench, Candidate(), len(candidates) + 1, search, outcomes)
            outcomes.append(replace(again, is_again=True))
            saw(outcomes[-1])
    except KeyboardInterrupt:
        outcomes.append(
            Outcome(candidates[min(len(outcomes), len(candidates) - 1)], failed="stopped early", stopped=True)
        )
    return outcomes


def _searched(bench: Bench, candidate: Candidate, number: int, search: Search, before: Sequence[Outcome]) -> Outcome:
    try:
        with running(bench, candidate, number) as url:
            return search(url, candidate, before)
    except TrialFailed as error:
        return Outcome(candidate, failed=str(error))


def proposed(outcomes: Sequence[Outcome]) -> Outcome | None:
    """The best, where it is shown to be better than the file as it is; None: leave the file alone."""
    best = best_of(outcomes)
    if best is None or not best.candidate.changes:
        return None
    return best if all(best.interval[0] > each.interval[1] for each in outcomes if not each.candidate.changes) else None


def best_of(outcomes: Sequence[Outcome]) -> Outcome | None:
    """The one that carries the most, shown or not; None where none carries anything."""
    best = max(outcomes, key=lambda each: each.load, default=None)
    return best if best is not None and best.load else None


def sentences(outcomes: Sequence[Outcome], unit: str) -> list[str]:
    """What it comes to, in words."""
    best = best_of(outcomes)
    if best is None:
        return ["No candidate keeps the promise at any load that was tried."]
    found = [f"{best.name} carries the most: {number(best.load)} {unit} within the promise."]
    bases = [each for each in outcomes if not each.candidate.changes and each.load]
    if bases and best.candidate.changes:
        loads = " and ".join(number(each.load) for each in bases)
        gain = change(best.load / max(each.load for each in bases) - 1)
        found += [f"The file as it is carries {loads} {unit} (the best against it: {gain})."]
    if _disagree(bases):
        found += [
            "The file as it is carried something else the second time: this machine changes while it is measured."
        ]
    if best.candidate.changes and proposed(outcomes) is None:
        found += ["The difference is within the noise of the measurement, so no change is proposed."]
    return found


def _disagree(bases: Sequence[Outcome]) -> bool:
    """Whether two searches of the same settings exclude each other."""
    return max((each.interval[0] for each in bases), default=0) > min((each.interval[1] for each in bases), default=0)


def table_of_outcomes(outcomes: Sequence[Outcome], unit: str) -> Table:
    """One line for each candidate, in the order tried."""
    made = Table(title="Candidates", title_justify="left", title_style="bold", pad_edge=False, box=None)
    for heading in (
        "settings",
        f"carries\n{unit}",
        "90 %\ninterval",
        "tokens\n/s",
        "TTFT\np95",
        "TPOT\np95",
        "runs",
        "time",
    ):
        made.add_column(heading, justify="left" if heading == "settings" else "right")
    best = proposed(outcomes)
    for outcome in outcomes:
        made.add_row(*_cells(outcome), style="bold green" if outcome is best else None)
        if outcome.failed:
            made.add_row(f"  [red]{outcome.failed}[/]")
    return made


def _cells(outcome: Outcome) -> list[str]:
    if outcome.knee is None:
        return [outcome.name, "[red]none[/]"]
    low, high = outcome.interval
    interval = f"{number(low)}-{'?' if math.isinf(high) else number(high)}" if outcome.load else "-"
    figures = ["-", "-", "-"]
    if outcome.run is not None:
        summary = outcome.run.summary
        latencies = [figure and seconds(figure.p95) for figure in (summary.ttft_s, summary.tpot_s)]
        figures = [number(summary.output_tokens_per_s), *(each or "-" for each in latencies)]
    return [
        outcome.name,
        number(outcome.load) if outcome.load else "[red]none[/]",
        interval,
        *figures,
        str(outcome.knee.runs),
        seconds(outcome.seconds),
    ]
