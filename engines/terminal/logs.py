"""Printing the logs of supervisor, router and engines, once or as they grow. Knows files and a terminal only."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from engines.errors import SpillwayError
from engines.logtail import LogTail, last_lines

LAST_LINES = 40
LOOK_EVERY_S = 0.25


class NoSuchLogError(SpillwayError, ValueError):
    """There is no log of that name; the message has those that exist."""


def pick_logs(folder: Path, name: str | None) -> list[Path]:
    """The log of `name`, or all. Raises NoSuchLogError."""
    found = sorted(folder.glob("*.log"))
    if name is None and found:
        return found
    chosen = [path for path in found if path.stem == name]
    if not chosen:
        names = ", ".join(path.stem for path in found)
        raise NoSuchLogError(
            f"no log of {name!r} in {folder}; there are: {names}." if names else f"no logs yet in {folder}."
        )
    return chosen


def print_last(paths: Sequence[Path], say: Callable[[str], None]) -> None:
    for path in paths:
        for line in last_lines(path, LAST_LINES):
            say(_line(path, line, paths))


def follow_logs(paths: Sequence[Path], say: Callable[[str], None]) -> None:
    """Print new lines until interrupted."""
    tails = [(path, LogTail(path)) for path in paths]
    while True:
        for path, tail in tails:
            for line in tail.new_lines():
                say(_line(path, line, paths))
        time.sleep(LOOK_EVERY_S)


def _line(path: Path, line: str, paths: Sequence[Path]) -> str:
    return line if len(paths) == 1 else f"{path.stem:<10} | {line}"
