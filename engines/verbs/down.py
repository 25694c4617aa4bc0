"""`spillway down`."""

from __future__ import annotations

from engines import home
from engines.snapshot import state_home
from engines.terminal.progress import Show
from engines.verbs.said import console_for, our_errors


def run() -> None:
    console, at = console_for(), state_home()
    with our_errors(console), Show(console) as show:
        show.say("stopping router and engines")
        found = home.end_all(at)
        show.note("everything is stopped." if found else "nothing was running.")
