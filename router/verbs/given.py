"""What every verb is told on its command line, and what that stands for: the rules of stack.toml, the lock's models."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from engines.snapshot import ModelView, models_from_json
from router.imagined import imagined
from router.routing.fleet import Fleet
from router.tables.read import load_rules
from router.tables.rules import Rules

FAILED, USAGE_ERROR = 1, 2
DEFAULT = Path("compose/stack.toml")
# Into a file or a pipe lines are not cut: whoever reads them there wants them whole.
WIDE = 160


class VerbError(Exception):
    """What was asked cannot be done; the text says what, where and how to mend it."""


@dataclass(frozen=True, slots=True)
class Given:
    """`path` is the stack.toml, `models` the facts of models.lock: none where there is no lock."""

    path: Path
    rules: Rules
    models: tuple[ModelView, ...]
    console: Console

    def fleet(self) -> Fleet:
        """All that stack.toml names, as if it ran."""
        return imagined(self.rules, self.models, os.environ)


def options(verb: str, about: str | None) -> argparse.ArgumentParser:
    """A parser with the options of every verb."""
    lock = "--lock FILE names another models.lock"
    parser = argparse.ArgumentParser(prog=f"spillway {verb}", description=about, epilog=lock)
    parser.add_argument("--config", type=Path, default=DEFAULT, help="stack.toml to use")
    parser.add_argument("--models", default="[]", help=argparse.SUPPRESS)
    return parser


def given(asked: argparse.Namespace) -> Given:
    """Raises ConfigError, SnapshotError."""
    path = asked.config.absolute()
    return Given(path, load_rules(path), models_from_json(asked.models), console())


def console() -> Console:
    return Console(width=None if sys.stdout.isatty() else WIDE, highlight=False)


def one_of(kind: str, name: str, known: Collection[str]) -> str:
    """The name. Raises VerbError with those that exist."""
    if name not in known:
        raise VerbError(f"no {kind} is called {name!r}; there are: {', '.join(known) or 'none'}")
    return name
