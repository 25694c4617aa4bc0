"""`spillway lock`."""

from __future__ import annotations

from typing import Annotated

import typer

from engines.checkout import default_config, default_lock
from engines.terminal.locking import relock, words
from engines.terminal.progress import Show
from engines.verbs.options import Config, LockFile
from engines.verbs.said import console_for, our_errors


def run(
    check: Annotated[bool, typer.Option("--check", help="only say what is stale; exit code 1 if anything is")] = False,
    config: Config = None,
    path: LockFile = None,
) -> None:
    console, config, path = console_for(), config or default_config(), path or default_lock()
    with our_errors(console):
        with Show(console) as show:
            found = relock(config, path, check, show.say)
        for line in words(found, path, config, check):
            console.print(line, highlight=False, markup=False, soft_wrap=True)
        if not found.is_fine(check):
            raise typer.Exit(1)
