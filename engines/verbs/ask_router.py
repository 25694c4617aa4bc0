"""The verbs that the router's own code answers: `python -m router.verbs VERB`, told the locked facts of the models."""

from __future__ import annotations

import typer

from engines.checkout import default_config, default_lock
from engines.models.locked import locked_models
from engines.snapshot import models_to_json
from engines.verbs.become import become
from engines.verbs.options import LockFile
from engines.verbs.said import console_for, our_errors


def run(context: typer.Context, lock: LockFile = None) -> None:
    with our_errors(console_for()):
        models = models_to_json(locked_models(lock or default_lock()))
    # The user's own options come last, so that they count.
    told = ["--config", str(default_config()), "--models", models, *context.args]
    become("router.verbs", [str(context.info_name), *told])
