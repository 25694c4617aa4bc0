"""`spillway demo` and `spillway bench`: become `python -m benchmarks` with the same name."""

from __future__ import annotations

import typer

from engines.verbs.become import become


def run(context: typer.Context) -> None:
    become("benchmarks", [str(context.info_name), *context.args])
