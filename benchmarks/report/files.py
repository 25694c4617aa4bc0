"""Writes a report: JSON with a file of rows for each run, HTML, PNG pictures. Reads it again, and other tools' results.

A file is there whole or not at all: it is written beside its place and moved there.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from benchmarks.drive.sample import Sample
from benchmarks.report import rows
from benchmarks.report.document import Document, Run, written
from benchmarks.report.imported import document_in
from benchmarks.report.page import page
from benchmarks.report.pictures import pictures_of, slug

Samples = Mapping[str, Sequence[Sample]]


def save(
    document: Document,
    samples_by_run: Samples | None = None,
    json: Path | None = None,
    html: Path | None = None,
    png: Path | None = None,
) -> list[Path]:
    """Write what is asked for, and say what was written. `png` is a folder. Folders are made.

    Raises OSError with the file's name.
    """
    samples_by_run = samples_by_run or {}
    found: list[Path] = []
    if json is not None:
        document = _with_rows(document, samples_by_run, json)
        found += [json.parent / run.rows for run in document.runs if run.rows and run.name in samples_by_run]
        for run, file in zip(
            (run for run in document.runs if run.rows and run.name in samples_by_run), found, strict=True
        ):
            rows.write(_made(file), samples_by_run[run.name])
        _write(json, written(document))
        found.insert(0, json)
    if html is None and png is None:
        return found
    pictures = pictures_of(document, samples_by_run)
    if html is not None:
        _write(html, page(document, samples_by_run, pictures).encode())
        found.append(html)
    for picture in pictures if png is not None else ():
        file = Path(png or "") / f"{picture.name}.png"
        _write(file, picture.png)
        found.append(file)
    return found


def load(file: Path) -> tuple[Document, dict[str, list[Sample]]]:
    """A document, ours or another tool's, with the samples that are kept beside it or in it.

    Rows that are gone are left out: the summaries stay. Raises ValueError with a sentence, OSError where no file is.
    """
    document, found = document_in(file.read_bytes(), str(file))
    for run in document.runs:
        beside = file.parent / Path(run.rows).name
        if run.rows and beside.is_file():
            found[run.name] = rows.read(beside)
    return document, found


def _with_rows(document: Document, samples_by_run: Samples, json: Path) -> Document:
    """The same, its runs naming the files of their rows."""
    several = len(document.runs) > 1
    named = [
        msgspec.structs.replace(run, rows=_rows_name(json, run, place if several else 0))
        if run.name in samples_by_run
        else run
        for place, run in enumerate(document.runs, 1)
    ]
    return msgspec.structs.replace(document, runs=named)


def _rows_name(json: Path, run: Run, place: int) -> str:
    """Numbered where there are several: two names may differ only in what a file's name cannot hold."""
    return f"{json.stem}.{place:02}-{slug(run.name)}{rows.SUFFIX}" if place else f"{json.stem}{rows.SUFFIX}"


def _write(file: Path, raw: bytes) -> None:
    beside = _made(file).with_name(f".{file.name}.part")
    beside.write_bytes(raw)
    os.replace(beside, file)


def _made(file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    return file
