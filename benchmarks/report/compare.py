"""Two documents: is the second worse, better, or is no difference shown? Pure.

Each figure that both have is one question. All intervals of changes together hold with 95 % (Bonferroni), so that a
comparison of many figures cries wolf no more often than one of a single figure. A change counts when its interval
leaves zero and it is no smaller than `least`: true, and worth a look.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from benchmarks.report.document import Document
from benchmarks.report.questions import RATES, Question, Samples, pairs, questions_of
from benchmarks.report.resample import critical

CONFIDENCE = 0.95
LEAST = 0.03
# So many failures more, of all requests, are worth a look.
LEAST_ERRORS = 0.001


class Finding(StrEnum):
    """What is said of one figure. `SAME`: whatever the difference, it is too small to matter."""

    WORSE = "worse"
    BETTER = "better"
    SAME = "same"
    NOT_SHOWN = "not shown"
    UNKNOWN = "cannot tell"


@dataclass(frozen=True, slots=True)
class Change:
    """One figure of one run. `change`, `low` and `high` are relative (of errors: a difference of shares).

    `slower` is the share of pairs of requests in which the second document's was the slower one.
    """

    run: str
    name: str
    statistic: str
    before: float
    after: float
    change: float
    low: float | None
    high: float | None
    finding: Finding
    slower: float | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """All changes, and what makes the two documents hard to compare, in sentences."""

    changes: tuple[Change, ...]
    reservations: tuple[str, ...]

    def found(self, finding: Finding) -> list[Change]:
        """Those of one kind, the largest first."""
        return sorted((each for each in self.changes if each.finding is finding), key=lambda each: -abs(each.change))

    @property
    def is_worse(self) -> bool:
        """Whether anything is worse: what a CI job fails for."""
        return any(change.finding is Finding.WORSE for change in self.changes)


def compared(
    before: Document,
    after: Document,
    samples_before: Samples | None = None,
    samples_after: Samples | None = None,
    *,
    least: float = LEAST,
) -> Comparison:
    """Compare runs of the same name; of two documents with one run each, those. Raises ValueError with a sentence."""
    for run in (run for pair in pairs(before, after) for run in pair):
        if run.invalid:
            raise ValueError(f"run {run.name!r} is not valid ({'; '.join(run.invalid)}): measure it again first.")
    questions = questions_of(before, after, samples_before or {}, samples_after or {})
    if not questions:
        raise ValueError("The two reports have no figure in common: nothing can be compared.")
    tested = sum(question.error is not None for question in questions)
    confidence = 1 - (1 - CONFIDENCE) / max(1, tested)
    changes = tuple(_judged(question, confidence, least) for question in questions)
    return Comparison(changes, tuple(reservations(before, after)))


def reservations(before: Document, after: Document) -> list[str]:
    """What else differs: then it may not be the change that made the difference."""
    one, other = before.origin, after.origin
    found = []
    for words, first, second in (
        ("measured by", one.tool, other.tool),
        ("the CPU", one.machine.get("cpu"), other.machine.get("cpu")),
        ("the cores", one.machine.get("cores"), other.machine.get("cores")),
        ("the GPUs", [gpu.get("name") for gpu in one.gpus], [gpu.get("name") for gpu in other.gpus]),
        ("the engine", one.engine.get("kind"), other.engine.get("kind")),
        ("the engine's version", one.engine.get("version"), other.engine.get("version")),
        ("the model", one.engine.get("model"), other.engine.get("model")),
        ("models.lock", one.lock_digest, other.lock_digest),
    ):
        if first and second and first != second:
            found.append(f"{words}: {_said(first)} before, {_said(second)} after")
    for first_run, second_run in pairs(before, after):
        keys = sorted({*first_run.load, *second_run.load})
        differ = [key for key in keys if first_run.load.get(key) != second_run.load.get(key)]
        if differ and first_run.load and second_run.load:
            found.append(f"the load of {first_run.name!r}: {', '.join(differ)}")
    return found


def _judged(question: Question, confidence: float, least: float) -> Change:
    is_share = question.name == "errors"
    change = question.after - question.before if is_share else question.after / question.before - 1
    low = high = None
    finding = Finding.UNKNOWN
    if question.error is not None:
        reach = critical(confidence) * question.error
        if is_share:
            low, high = change - reach, change + reach
        else:
            low, high = ((1 + change) * math.exp(side * reach) - 1 for side in (-1, 1))
        finding = _finding(change, low, high, LEAST_ERRORS if is_share else least)
        if finding in (Finding.WORSE, Finding.BETTER) and _is_better_high(question.name):
            finding = Finding.WORSE if finding is Finding.BETTER else Finding.BETTER
    return Change(
        question.run, question.name, question.statistic, question.before, question.after, change, low, high, finding,
        question.slower,
    )  # fmt: skip


def _finding(change: float, low: float, high: float, least: float) -> Finding:
    """Of a figure that is better when it is low."""
    if -least < low and high < least:
        return Finding.SAME
    if abs(change) < least or low <= 0 <= high:
        return Finding.NOT_SHOWN
    return Finding.WORSE if change > 0 else Finding.BETTER


def _is_better_high(name: str) -> bool:
    return name in RATES or name == "knee"


def _said(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
