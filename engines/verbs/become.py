"""Turning this process into another of our programs, so that signals and exit codes are its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import typer

from engines.checkout import ROOT


def become(package: str, arguments: Sequence[str]) -> None:
    """Never returns. A package that only a checkout has ends the verb with 1 where there is none."""
    if not ROOT.joinpath(*package.split("."), "__init__.py").is_file():
        print(f"`{package}` is not here: this verb works in a checkout of Spillway only.", file=sys.stderr)
        raise typer.Exit(1)
    os.execv(sys.executable, [sys.executable, "-m", package, *arguments])
