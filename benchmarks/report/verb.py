"""Shows a report again: tables and verdict, and on demand the page and the pictures.

Also of results of `vllm bench serve --save-result` and of guidellm's JSON.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from benchmarks.report.files import load, save
from benchmarks.report.table import tables_of
from benchmarks.report.verdict import verdict_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this verb."""
    parser.add_argument("file", type=Path, help="JSON of this harness, of `vllm bench serve`, or of guidellm")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write one self-contained page")
    parser.add_argument("--png", type=Path, metavar="FOLDER", help="write the pictures there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write it in this harness's own form")


def main(options: argparse.Namespace) -> int:
    """Print it, and write what is asked for."""
    document, samples = load(options.file)
    console = Console(highlight=False)
    console.print(*tables_of(document))
    for sentence in list(document.verdict) or verdict_of(document):
        console.print(sentence, markup=False)
    for written in save(document, samples, options.json, options.html, options.png):
        console.print(f"wrote {written}", style="dim", markup=False)
    return 0
