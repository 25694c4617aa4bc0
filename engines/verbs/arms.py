"""`spillway arms`: becomes `python -m router.verbs arms`, which asks the router that runs."""

from __future__ import annotations

import typer

from engines.verbs.become import become


def run(context: typer.Context) -> None:
    become("router.verbs", ["arms", *context.args])
