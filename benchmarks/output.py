"""How a verb ends: verdict and tables on the terminal, files where they were asked for, and the exit code."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec.structs import replace
from rich.console import Console, RenderableType
from rich.padding import Padding

from benchmarks.drive.sample import Sample
from benchmarks.measure import Measured
from benchmarks.report import rows
from benchmarks.report.document import Document, Run
from benchmarks.report.files import save
from benchmarks.report.origin import origin_of
from benchmarks.report.quantity import counted
from benchmarks.report.table import tables_of
from benchmarks.report.verdict import verdict_of
from benchmarks.scene import Scene

KEPT, BROKEN = 0, 1
# Of what is not a terminal.
WIDTH = 120


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the report goes."""
    report = parser.add_argument_group("report").add_argument
    report("--json", type=Path, metavar="FILE", help="write the figures there, and a line for each request beside it")
    report("--html", type=Path, metavar="FILE", help="write the page there")
    report("--png", type=Path, metavar="FOLDER", help="write the pictures there")


def document_of(verb: str, title: str, scene: Scene, runs: Sequence[Run], **more: object) -> Document:
    """With its verdict. `more` are further fields of the Document."""
    origin = origin_of(sys.argv[1:], engine=scene.engine, began_unix_s=scene.began_unix_s)
    document = Document(verb=verb, title=title, origin=origin, runs=list(runs))
    document = replace(document, **more)
    return replace(document, verdict=verdict_of(document))


def present(document: Document, samples_by_run: Mapping[str, Sequence[Sample]], options: argparse.Namespace) -> int:
    """Tables, verdict and files; 0 where the principal run is valid and kept what was promised, else 1."""
    show(document, tables_of(document), samples_by_run, options)
    return status_of(document)


def show(
    document: Document,
    tables: Sequence[RenderableType],
    samples_by_run: Mapping[str, Sequence[Sample]],
    options: argparse.Namespace,
) -> None:
    """Tables, then the verdict, then the names of the files that were written."""
    console = Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False)
    for table in tables:
        console.print(table)
    for line in document.verdict:
        console.print(Padding(f"- {line}", (0, 0, 0, 1)), markup=False)
    files = save(document, samples_by_run, options.json, options.html, options.png)
    requests = [file for file in files if file.name.endswith(rows.SUFFIX)]
    for file in files:
        if file not in requests:
            beside = f", {counted(len(requests), 'file')} of requests beside it" if file == options.json else ""
            console.print(f"written: {file}{beside}", markup=False, soft_wrap=True)


def status_of(document: Document) -> int:
    """For CI: an invalid run, an error or a broken promise is 1."""
    summary = document.summary or (document.runs[-1].summary if document.runs else None)
    if summary is None:
        return BROKEN
    principal = [run for run in document.runs if run.summary == summary]
    is_valid = not any(run.invalid for run in principal)
    return KEPT if is_valid and not summary.errors and not summary.promise_broken else BROKEN


def by_run(measured: Sequence[Measured]) -> dict[str, Sequence[Sample]]:
    """The requests of each run, by its name."""
    return {each.run.name: each.samples for each in measured}
