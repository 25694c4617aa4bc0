"""What a verb leaves behind: the Document, in words and in files."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace
from rich.console import Console

from benchmarks.cases.outcome import Outcome
from benchmarks.cases.taking import Taken
from benchmarks.report.document import Document, Run
from benchmarks.report.files import save
from benchmarks.report.origin import origin_of


def run_with(taken: Taken, outcomes: Sequence[Outcome]) -> Run:
    """The Run with what its parts came to."""
    return replace(taken.run, parts=[outcome.as_json() for outcome in outcomes])


def document_of(verb: str, title: str, runs: Sequence[Run], verdict: Sequence[str], **more: Any) -> Document:
    """About the last run. `more` are further fields of the Document."""
    return Document(
        verb=verb,
        title=title,
        origin=origin_of(sys.argv[1:]),
        runs=list(runs),
        summary=runs[-1].summary,
        verdict=list(verdict),
        **more,
    )


def leave(document: Document, taken: Sequence[Taken], options: argparse.Namespace, console: Console) -> None:
    """Say the verdict, what makes it doubtful, and write what the options ask for."""
    for sentence in document.verdict:
        console.print(f"- {sentence}", markup=False, highlight=False)
    for run in document.runs:
        for why in run.invalid:
            console.print(f"NOT VALID, {run.name}: {why}", style="yellow", markup=False)
    samples = {run.name: each.samples for run, each in zip(document.runs, taken, strict=True)}
    for path in save(document, samples, options.json, options.html, options.png):
        console.print(f"written: {path}", markup=False, highlight=False)
