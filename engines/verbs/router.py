"""`spillway router`: becomes `python -m router`, which is told the locked facts of the models."""

from __future__ import annotations

import typer

from engines.checkout import default_lock
from engines.models.locked import locked_models
from engines.snapshot import models_to_json
from engines.verbs.become import become
from engines.verbs.said import console_for, our_errors


def run(context: typer.Context) -> None:
    with our_errors(console_for()):
        models = models_to_json(locked_models(default_lock()))
    become("router", [*context.args, "--models", models])
