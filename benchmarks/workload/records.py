"""The rows of a data file: JSON lines, CSV with a header, or plain text, gzipped or not. Reads files.

Every complaint names the file, the line and the column, and what to do about it.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

TABLES = ("csv", "tsv")
LINES = ("jsonl", "ndjson", "json")


@dataclass(frozen=True, slots=True)
class Record:
    """One row: where it stands and its values by column. Values of CSV are text, an absent one is empty."""

    path: Path
    line: int
    values: Mapping[str, Any]

    @property
    def where(self) -> str:
        """For complaints."""
        return f"{self.path}, line {self.line}"

    def number(self, column: str) -> float:
        """A finite number at or above 0. Raises ValueError that says what stands there instead."""
        value = self.values.get(column)
        try:
            number = float(value) if isinstance(value, int | float | str) else math.nan
        except (ValueError, OverflowError):
            number = math.nan
        if isinstance(value, bool) or not math.isfinite(number):
            raise ValueError(f"{self.where}: column {column} must be a number, not {value!r}; mend or remove the line")
        if number < 0:
            raise ValueError(f"{self.where}: column {column} is {value}, below 0; mend or remove the line")
        return number

    def text(self, column: str) -> str:
        """As it is; empty where the row has no such column."""
        value = self.values.get(column)
        return "" if value is None else str(value)


def form_of(path: Path) -> str:
    """The file's extension without `.gz`: jsonl, csv, txt."""
    return path.name.removesuffix(".gz").rpartition(".")[2].lower()


def records_in(path: Path) -> Iterator[Record]:
    """Row by row. Raises ValueError on a form that is not known or a row that cannot be read, OSError on no file."""
    form = form_of(path)
    if form not in (*TABLES, *LINES):
        raise ValueError(f"{path}: name it .csv, .tsv or .jsonl (.gz too), so that its form is known")
    with _opened(path) as file:
        try:
            yield from _table(path, file, form) if form in TABLES else _objects(path, file)
        except (gzip.BadGzipFile, EOFError, UnicodeDecodeError, csv.Error) as error:
            raise ValueError(f"{path} cannot be read as {form}: {error}") from error


def lines_in(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a text file that are not blank, with their numbers. Raises as `records_in`."""
    with _opened(path) as file:
        try:
            yield from ((number, line.strip()) for number, line in enumerate(file, 1) if line.strip())
        except (gzip.BadGzipFile, EOFError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} cannot be read as text: {error}") from error


def _opened(path: Path) -> TextIO:
    if path.name.endswith(".gz"):
        return io.TextIOWrapper(gzip.open(path), encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _table(path: Path, file: TextIO, form: str) -> Iterator[Record]:
    rows = csv.reader(file, delimiter="\t" if form == "tsv" else ",")
    header = [name.strip() for name in next(rows, [])]
    for row in rows:
        if not row:
            continue
        if len(row) != len(header):
            raise ValueError(
                f"{path}, line {rows.line_num}: {len(row)} values for the {len(header)} columns of the first line"
            )
        yield Record(path, rows.line_num, dict(zip(header, row, strict=True)))


def _objects(path: Path, file: TextIO) -> Iterator[Record]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}, line {number}: not JSON ({error}); write one object a line") from error
        if not isinstance(values, dict):
            raise ValueError(f"{path}, line {number}: not an object; write one object a line")
        yield Record(path, number, values)
