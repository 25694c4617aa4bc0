"""What a long verb shows while it works: a live line on a terminal, plain lines elsewhere, never a silent minute.

Knows the terminal; not what is being done.
"""

from __future__ import annotations

import os
import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.status import Status

# Without a terminal: a line for what is new, but not a flood of them, and a sign of life where nothing is new.
PLAIN_LEAST_S = 2.0
PLAIN_MOST_S = 10.0


class SteadyConsole(Console):
    """Goes on when nobody reads any more (`spillway up | head`): rich would exit in the middle of a start or a stop,
    and leave half a stack behind."""

    def on_broken_pipe(self) -> None:
        """Write to nowhere from now on."""
        self.quiet = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


class Show:
    """One line that says what happens now and since when. Use as a context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Status("", console=console) if sys.stdout.isatty() else None
        self._subject = ""
        self._since_s = time.monotonic()
        self._printed = ""
        self._printed_s = -PLAIN_MOST_S

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._live:
            self._live.stop()

    def say(self, text: str, elapsed_s: float | None = None, subject: str | None = None) -> None:
        """Say what happens now; called often. `subject` is what the text is about, where it holds numbers that change:
        a new one is said at once. `elapsed_s` counts from the subject's first time if it is not given."""
        now_s = time.monotonic()
        subject = text if subject is None else subject
        if subject != self._subject:
            self._subject, self._since_s = subject, now_s
        line = f"{text} ({now_s - self._since_s if elapsed_s is None else elapsed_s:.0f} s)"
        if self._live:
            self._live.update(line)
        elif now_s - self._printed_s >= (PLAIN_MOST_S if subject == self._printed else PLAIN_LEAST_S):
            self._printed, self._printed_s = subject, now_s
            self._console.print(line, highlight=False, markup=False)

    def note(self, text: str) -> None:
        """A line that stays."""
        self._console.print(text, highlight=False, markup=False)
