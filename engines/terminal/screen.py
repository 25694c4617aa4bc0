"""The status of a stack on a terminal or as JSON, once or again and again."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.segment import Segment
from rich.text import Text

from engines.terminal.ages import ago
from engines.terminal.status import Status, Watching, read_status
from engines.terminal.table import render_router, render_stack

# Exit codes: all is known; the supervisor is away or silent, but some of the stack lives; nothing lives.
FINE, AWAY, NOT_RUNNING = 0, 1, 3
# A log must not push all else off a screen that is redrawn.
WATCHED_LINES = 8


class Cropped:
    """As much as fits on the screen, and a line that says what does not."""

    def __init__(self, whole: RenderableType) -> None:
        self._whole = whole

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        most = options.height or console.height
        lines = console.render_lines(self._whole, options.update(height=None), pad=False)
        while lines and not any(segment.text.strip() for segment in lines[-1]):
            lines.pop()
        if len(lines) > most:
            shown = most - 1
            left = Segment(f"... {len(lines) - shown} more lines: make the terminal taller to see them")
            lines = [*lines[:shown], [left]]
        for line in lines:
            yield from line
            yield Segment.line()


def show_status(at: Path, console: Console, as_json: bool) -> int:
    """Once. The exit code of `spillway status`."""
    status = read_status(at)
    if as_json and status.runs:
        print(status.to_json(), flush=True)
    else:
        console.print(frame(status), highlight=False)
    return FINE if not status.away else AWAY if status.runs else NOT_RUNNING


def watch_status(at: Path, console: Console, as_json: bool) -> None:
    """Until interrupted, whatever becomes of the stack meanwhile. Returns when nobody reads any more."""
    watching = Watching(at)
    try:
        if as_json:
            _print_lines(watching)
        elif console.is_terminal:
            _redraw(watching, console)
        while not (as_json or console.is_terminal or console.quiet):
            console.print(frame(watching.status()), highlight=False)
            watching.wait()
    finally:
        watching.close()


def frame(status: Status, most_lines: int | None = None) -> RenderableType:
    """All of it; at most so many of the last lines of each log."""
    if not status.runs:
        return Text(f"{status.away}. {status.hint}", overflow="fold")
    parts: list[RenderableType] = [*_away(status), ""] if status.away else []
    if status.snapshot:
        words = _shortened(status.last_words, most_lines)
        router = status.router
        parts.append(render_stack(status.snapshot, status.said, router.host, router.port, words))
    else:
        parts += render_router(status.said)
    return Group(*parts)


def _redraw(watching: Watching, console: Console) -> None:
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            live.update(Cropped(frame(watching.status(), WATCHED_LINES)), refresh=True)
            watching.wait()


def _print_lines(watching: Watching) -> None:
    try:
        while True:
            print(watching.status().to_json(), flush=True)
            watching.wait()
    except BrokenPipeError:
        # Nothing may be left to be written when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _away(status: Status) -> list[RenderableType]:
    parts: list[RenderableType] = [Text(f"{status.away}:", style="red", overflow="fold")]
    parts += [Text(f"  {each.name}, pid {each.pid}, for {ago(each.for_s)}") for each in status.survivors]
    parts.append(Text(status.hint, overflow="fold"))
    if status.snapshot:
        parts.append(Text(f"What was heard of it last, {ago(status.age_s)} ago:", overflow="fold"))
    return parts


def _shortened(words: Mapping[str, Sequence[str]], most: int | None) -> Mapping[str, Sequence[str]]:
    return words if most is None else {name: lines[-most:] for name, lines in words.items()}
