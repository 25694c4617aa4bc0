"""What a verb prints: where words for people go, and how an error of ours ends it."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console

from engines.errors import SpillwayError
from engines.snapshot import state_home
from engines.terminal.progress import SteadyConsole

WIDE = 160
# A full disk, one that takes no writing, a folder of somebody else.
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


def console_for(as_json: bool = False) -> Console:
    """Where words for people go: beside what a program reads, they go to stderr."""
    shown = sys.stderr if as_json else sys.stdout
    # Into a file or a pipe lines are not cut: whoever reads them there wants them whole.
    return SteadyConsole(stderr=as_json, width=None if shown.isatty() else WIDE)


@contextmanager
def our_errors(console: Console) -> Iterator[None]:
    """Every error of ours ends in its own words and exit code 1, an interruption in 130."""
    try:
        yield
    except SpillwayError as error:
        console.print(error.words(), highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(1) from None
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        where = error.filename or state_home()
        remedy = "Make room or give the right to write there, or set SPILLWAY_HOME to another folder."
        console.print(f"{where} cannot be written: {error.strerror}. {remedy}", highlight=False, markup=False)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        console.print("interrupted.")
        raise typer.Exit(130) from None
