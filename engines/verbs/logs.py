"""`spillway logs`."""

from __future__ import annotations

from typing import Annotated

import typer

from engines.home import logs_folder
from engines.snapshot import state_home
from engines.terminal.logs import follow_logs, pick_logs, print_last
from engines.verbs.said import console_for, our_errors


def run(
    name: Annotated[str | None, typer.Argument(help="supervisor, router or an engine; all if left out")] = None,
    follow_on: Annotated[bool, typer.Option("--follow", "-f", help="go on as they grow")] = False,
) -> None:
    with our_errors(console_for()):
        paths = pick_logs(logs_folder(state_home()), name)
        print_last(paths, print)
        if follow_on:
            follow_logs(paths, lambda line: print(line, flush=True))
