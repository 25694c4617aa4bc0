"""What a verb leaves behind: tables and verdict in the terminal, files, and the exit code."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from msgspec.structs import replace
from rich.console import RenderableType

from benchmarks.cases.outcome import Outcome
from benchmarks.cases.session import Session
from benchmarks.cases.taking import Taken
from benchmarks.output import BROKEN, KEPT, show
from benchmarks.report.document import Document, Run
from benchmarks.report.origin import origin_of


def run_with(taken: Taken, outcomes: Sequence[Outcome]) -> Run:
    """The Run with what its parts came to."""
    return replace(taken.run, parts=[outcome.as_json() for outcome in outcomes])


def document_of(verb: str, title: str, session: Session, taken: Sequence[Taken], runs: Sequence[Run]) -> Document:
    """About the last run; its verdict is still to be written."""
    return Document(
        verb=verb,
        title=title,
        origin=origin_of(sys.argv[1:], engine=session.place.engine, began_unix_s=session.place.began_unix_s),
        runs=list(runs),
        summary=runs[-1].summary,
        interrupted=any(each.was_stopped for each in taken),
    )


def present(
    document: Document, taken: Sequence[Taken], shown: Sequence[RenderableType], options: argparse.Namespace
) -> int:
    """Tables, verdict and files; 0 where the last run is valid and each of its parts kept what was promised, else 1."""
    document = replace(document, verdict=[*_doubts(document), *document.verdict])
    samples = {run.name: each.samples for run, each in zip(document.runs, taken, strict=True)}
    show(document, shown, samples, options)
    last = document.runs[-1]
    return BROKEN if last.invalid or any(part["promise_broken"] for part in last.parts) else KEPT


def _doubts(document: Document) -> list[str]:
    found = [f"NOT VALID, {run.name}: {why}" for run in document.runs for why in run.invalid]
    if document.interrupted:
        found.append("Stopped early: the figures cover what was measured until then.")
    return found
