"""`spillway status`."""

from __future__ import annotations

from typing import Annotated

import typer

from engines.snapshot import state_home
from engines.terminal import screen
from engines.verbs.said import console_for, our_errors


def run(
    as_json: Annotated[bool, typer.Option("--json", help="all of it as JSON, a line each time")] = False,
    watch: Annotated[bool, typer.Option(help="again and again, until interrupted")] = False,
) -> None:
    console, at = console_for(as_json), state_home()
    with our_errors(console):
        if watch:
            screen.watch_status(at, console, as_json)
        elif code := screen.show_status(at, console, as_json):
            raise typer.Exit(code)
