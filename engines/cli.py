"""The console script `spillway`: the list of its verbs, each a module of `engines.verbs` that a call imports.

To add one: a module with a typed `run`, and a line here.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand
from typer.main import get_command

# Options that are not ours are for the program that the verb becomes, `--help` among them.
PASS_ON: Mapping[str, Any] = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


@dataclass(frozen=True, slots=True)
class Verb:
    """`module` defines its `run`, whose parameters are its options; `help` is what `--help` says of it."""

    name: str
    module: str
    help: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    def add_to(self, app: typer.Typer, run: Callable[..., None], kind: type[TyperCommand] = TyperCommand) -> None:
        app.command(self.name, cls=kind, help=self.help, context_settings=dict(self.settings))(run)

    def command(self) -> Any:
        """As typer's command, with the module imported."""
        alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        self.add_to(alone, import_module(f"engines.verbs.{self.module}").run)
        return get_command(alone)

    def entry(self) -> type[TyperCommand]:
        """What stands in the list: in a call the command itself takes its place."""

        verb = self

        class Entry(TyperCommand):
            def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
                return verb.command().make_context(info_name, args, parent, **extra)

        return Entry


VERBS = (
    Verb("up", "up", "Install what is missing, launch the engines and the router, wait until they serve, print where."),
    Verb("down", "down", "Stop everything; no process, port or shared memory stays."),
    Verb(
        "status",
        "status",
        "What runs now. Exit code 3 if nothing does, 1 if the supervisor is away and some of it lives.",
    ),
    Verb("logs", "logs", "The logs of supervisor, router and engines."),
    Verb(
        "plan",
        "plan",
        "Print what would run where, and the arithmetic; start nothing. Exit code 1 if something does not fit.",
    ),
    Verb(
        "download",
        "download",
        "Fetch and verify the files of the wanted models; start nothing. `spillway up` does it too.",
    ),
    Verb("lock", "lock", "Resolve the models that stack.toml wants into models.lock."),
    Verb(
        "router",
        "router",
        "The router alone, for engines that run elsewhere: `spillway router --help`.",
        PASS_ON,
    ),
    Verb("cost", "ask_router", "What a job costs under each preset: `spillway cost --jobs 200`.", PASS_ON),
    Verb(
        "preset",
        "ask_router",
        "List the presets, or switch to one while everything runs: `spillway preset NAME`.",
        PASS_ON,
    ),
    Verb(
        "route",
        "ask_router",
        "Where a request would go and why, and where next on each failure: `spillway route --task NAME`.",
        PASS_ON,
    ),
    Verb(
        "whatif",
        "whatif",
        "Would another GPU pay, or a longer promise? Your own ledger, simulated: `spillway whatif --days 7`.",
        PASS_ON,
    ),
    Verb("arms", "arms", "The two arms of a split or shadow side by side: `spillway arms NAME`.", PASS_ON),
    Verb(
        "demo",
        "benchmark",
        "Half a minute of pressure on a small engine: see it spill and come back.",
        PASS_ON,
    ),
    Verb("bench", "benchmark", "Measure the running stack from outside.", PASS_ON),
)
RUNTIME_VERBS = (
    Verb("install", "runtime_install", "Make an engine runtime if it is not there yet."),
    Verb("list", "runtime_list", "The runtimes, and which of them are here."),
)


def listed(app: typer.Typer, verbs: Sequence[Verb]) -> typer.Typer:
    """The app with these verbs, none of them imported."""
    for verb in verbs:
        verb.add_to(app, lambda: None, verb.entry())
    return app


app = listed(
    typer.Typer(
        add_completion=False,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        help="Owned GPUs as one OpenAI-compatible endpoint that spills to a cloud twin when they are full.",
    ),
    VERBS,
)
app.add_typer(
    listed(
        typer.Typer(no_args_is_help=True, help="The engine runtimes: virtualenvs apart from this one."), RUNTIME_VERBS
    ),
    name="runtime",
)


def main() -> None:
    """The console script."""
    # A terminated `up` must put away what it started, exactly like an interrupted one.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    app()
