"""`spillway up`."""

from __future__ import annotations

from engines import door, up
from engines.snapshot import state_home
from engines.stack import asked
from engines.terminal.progress import Show
from engines.terminal.table import render_stack
from engines.verbs.options import Config, LockFile, Profile
from engines.verbs.said import console_for, our_errors


def run(profile: Profile = None, config: Config = None, lock: LockFile = None) -> None:
    console, at = console_for(), state_home()
    with our_errors(console):
        with Show(console) as show:
            plan, snapshot = up.bring_up(asked(profile, config, lock), at, show)
        status = door.read_status(plan.router.host, plan.router.port, plan.router.keys_env)
        console.print(render_stack(snapshot, status, plan.router.host, plan.router.port))
