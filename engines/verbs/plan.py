"""`spillway plan`."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from engines.host import read_host
from engines.page.page import render_plan
from engines.page.viewing import view_of
from engines.planning import planned
from engines.snapshot import state_home
from engines.stack import asked, check_router, read_stack
from engines.verbs.options import Config, LockFile, Profile
from engines.verbs.said import console_for, our_errors


def run(
    profile: Profile = None,
    config: Config = None,
    lock: LockFile = None,
    gpus: Annotated[str | None, typer.Option(help="plan for these GPUs, not for those here: 8xH100-80GB")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="the whole plan as JSON")] = False,
) -> None:
    console, at = console_for(as_json), state_home()
    with our_errors(console):
        read = read_stack(replace(asked(profile, config, lock), gpus=gpus, may_declare=True))
        found = planned(read, check_router(read.asked), at)
        host_bytes = None if found.gpus.seen else read_host().total_bytes
        shown = view_of(found.plan, found.gpus, found.placement.unplaced, found.wants, found.rules, host_bytes)
        if as_json:
            print(shown.to_json())
        else:
            console.print(render_plan(shown), crop=False)
        if shown.unplaced:
            raise typer.Exit(1)
