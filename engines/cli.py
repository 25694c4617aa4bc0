"""The console script `spillway`: verbs in, calls out. Every error of ours ends in its own words and exit code 1.

Decides nothing itself. What is slow to import is imported by the verb that needs it.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from engines import door, home, stack, up
from engines import runtime as runtimes
from engines.feed import FeedError
from engines.fetching import ensure_files
from engines.gpus.cards import CardError
from engines.gpus.nvml import read_gpus
from engines.host import read_host
from engines.models.download import DownloadError
from engines.page.page import render_plan
from engines.page.viewing import view_of
from engines.pip import PipError
from engines.plan import PlanError
from engines.planning import planned
from engines.snapshot import models_to_json, state_home
from engines.tables import TableError
from engines.terminal import screen
from engines.terminal.awaiting import UpError
from engines.terminal.locking import relock, words
from engines.terminal.logs import NoSuchLogError, follow_logs, pick_logs, print_last
from engines.terminal.progress import Show, SteadyConsole
from engines.terminal.table import render_stack

WIDE = 160
# A full disk, one that takes no writing, a folder of somebody else.
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
OURS = (
    TableError,
    PlanError,
    CardError,
    DownloadError,
    FeedError,
    NoSuchLogError,
    stack.StackError,
    door.PortTakenError,
    runtimes.RuntimeInstallError,
    PipError,
)

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)
runtime_app = typer.Typer(no_args_is_help=True, help="The engine runtimes: virtualenvs apart from this one.")
app.add_typer(runtime_app, name="runtime")

Profile = Annotated[str | None, typer.Option(help="cpu or gpu; the default follows the hardware")]
Config = Annotated[Path | None, typer.Option(help="stack.toml to use", dir_okay=False)]
LockFile = Annotated[Path | None, typer.Option("--lock", help="models.lock to use", dir_okay=False)]


def main() -> None:
    """The console script."""
    # A terminated `up` must put away what it started, exactly like an interrupted one.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    app()


@app.command(name="up")
def up_verb(profile: Profile = None, config: Config = None, lock: LockFile = None) -> None:
    """Install what is missing, launch the engines and the router, wait until they serve, print where."""
    console, at = _console(), state_home()
    with _our_errors(console):
        with Show(console) as show:
            plan, snapshot = up.bring_up(_asked(profile, config, lock), at, show)
        status = door.read_status(plan.router.host, plan.router.port, plan.router.keys_env)
        console.print(render_stack(snapshot, status, plan.router.host, plan.router.port))


@app.command()
def down() -> None:
    """Stop everything; no process, port or shared memory stays."""
    console, at = _console(), state_home()
    with _our_errors(console), Show(console) as show:
        show.say("stopping router and engines")
        found = home.end_all(at)
        show.note("everything is stopped." if found else "nothing was running.")


@app.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="all of it as JSON, a line each time")] = False,
    watch: Annotated[bool, typer.Option(help="again and again, until interrupted")] = False,
) -> None:
    """What runs now. Exit code 3 if nothing does, 1 if the supervisor is away and some of it lives."""
    console, at = _console(as_json), state_home()
    with _our_errors(console):
        if watch:
            screen.watch_status(at, console, as_json)
        elif code := screen.show_status(at, console, as_json):
            raise typer.Exit(code)


@app.command()
def logs(
    name: Annotated[str | None, typer.Argument(help="supervisor, router or an engine; all if left out")] = None,
    follow_on: Annotated[bool, typer.Option("--follow", "-f", help="go on as they grow")] = False,
) -> None:
    """The logs of supervisor, router and engines."""
    console = _console()
    with _our_errors(console):
        paths = pick_logs(home.logs_folder(state_home()), name)
        print_last(paths, print)
        if follow_on:
            follow_logs(paths, lambda line: print(line, flush=True))


@app.command(name="plan")
def plan_verb(
    profile: Profile = None,
    config: Config = None,
    lock: LockFile = None,
    gpus: Annotated[str | None, typer.Option(help="plan for these GPUs, not for those here: 8xH100-80GB")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="the whole plan as JSON")] = False,
) -> None:
    """Print what would run where, and the arithmetic; start nothing. Exit code 1 if something does not fit."""
    console, at = _console(as_json), state_home()
    with _our_errors(console):
        read = stack.read_stack(replace(_asked(profile, config, lock), gpus=gpus, may_declare=True))
        found = planned(read, stack.check_router(read.asked), at)
        host_bytes = None if found.gpus.seen else read_host().total_bytes
        shown = view_of(found.plan, found.gpus, found.placement.unplaced, found.wants, found.rules, host_bytes)
        if as_json:
            print(shown.to_json())
        else:
            console.print(render_plan(shown), crop=False)
        if shown.unplaced:
            raise typer.Exit(1)


@app.command()
def download(config: Config = None, lock: LockFile = None) -> None:
    """Fetch and verify the files of the wanted models; start nothing. `spillway up` does it too."""
    console = _console()
    with _our_errors(console):
        read = stack.read_stack(_asked(None, config, lock))
        with Show(console) as show:
            ensure_files(read.locked(), show)
        console.print("the files of all wanted models are there and verified.", highlight=False)


@app.command()
def lock(
    check: Annotated[bool, typer.Option("--check", help="only say what is stale; exit code 1 if anything is")] = False,
    config: Config = None,
    path: LockFile = None,
) -> None:
    """Resolve the models that stack.toml wants into models.lock."""
    console, config, path = _console(), config or stack.default_config(), path or stack.default_lock()
    with _our_errors(console):
        with Show(console) as show:
            found = relock(config, path, check, show.say)
        for line in words(found, path, config, check):
            console.print(line, highlight=False, markup=False, soft_wrap=True)
        if not found.is_fine(check):
            raise typer.Exit(1)


@runtime_app.command(name="install")
def runtime_install(
    name: Annotated[str | None, typer.Argument(help="the default follows the hardware")] = None,
) -> None:
    """Make an engine runtime if it is not there yet."""
    console = _console()
    with _our_errors(console):
        if name not in (None, *runtimes.RUNTIMES):
            raise stack.StackError(f"no runtime is called {name}; there are: {', '.join(runtimes.RUNTIMES)}.")
        chosen = runtimes.runtime(name or runtimes.choose(len(read_gpus().seen), None))
        with Show(console) as show:
            up.install(chosen, show)
        console.print(f"{chosen.name} {chosen.version} is in {chosen.root}", highlight=False, soft_wrap=True)


@runtime_app.command(name="list")
def runtime_list() -> None:
    """The runtimes, and which of them are here."""
    for name in runtimes.RUNTIMES:
        one = runtimes.runtime(name)
        print(f"{one.name} {one.version}  {'ready' if runtimes.is_ready(one) else 'not installed'}  {one.root}")


@app.command(context_settings=PASS_ON)
def router(context: typer.Context) -> None:
    """The router alone, for engines that run elsewhere: `spillway router --help`."""
    with _our_errors(_console()):
        models = models_to_json(stack.locked_models(stack.default_lock()))
    _become("router", [*context.args, "--models", models])


@app.command(context_settings=PASS_ON)
def cost(context: typer.Context, lock: LockFile = None) -> None:
    """What a job costs under each preset: `spillway cost --jobs 200`."""
    _ask_router("cost", context.args, lock)


@app.command(context_settings=PASS_ON)
def preset(context: typer.Context, lock: LockFile = None) -> None:
    """List the presets, or switch to one while everything runs: `spillway preset NAME`."""
    _ask_router("preset", context.args, lock)


@app.command(context_settings=PASS_ON)
def route(context: typer.Context, lock: LockFile = None) -> None:
    """Where a request would go and why, and where next on each failure: `spillway route --task NAME`."""
    _ask_router("route", context.args, lock)


@app.command(context_settings=PASS_ON)
def arms(context: typer.Context) -> None:
    """The two arms of a split or shadow side by side: `spillway arms NAME`."""
    _become("router.verbs", ["arms", *context.args])


@app.command(context_settings=PASS_ON)
def demo(context: typer.Context) -> None:
    """Half a minute of pressure on a small engine: see it spill and come back."""
    _become("benchmarks", ["demo", *context.args])


@app.command(context_settings=PASS_ON)
def bench(context: typer.Context) -> None:
    """Measure the running stack from outside."""
    _become("benchmarks", ["bench", *context.args])


def _ask_router(verb: str, arguments: list[str], path: Path | None) -> None:
    """A verb that the router's own code answers. The user's own options come last, so that they count."""
    with _our_errors(_console()):
        models = models_to_json(stack.locked_models(path or stack.default_lock()))
    _become("router.verbs", [verb, "--config", str(stack.default_config()), "--models", models, *arguments])


def _become(package: str, arguments: list[str]) -> None:
    """Turn this process into another of our programs, so that signals and exit codes are its own."""
    if not stack.ROOT.joinpath(*package.split("."), "__init__.py").is_file():
        print(f"`{package}` is not here: this verb works in a checkout of Spillway only.", file=sys.stderr)
        raise typer.Exit(1)
    os.execv(sys.executable, [sys.executable, "-m", package, *arguments])


def _asked(profile: str | None, config: Path | None, lock: Path | None) -> stack.Asked:
    if profile not in (None, "cpu", "gpu"):
        raise stack.StackError(f"no profile is called {profile}; there are: cpu, gpu.")
    return stack.Asked(
        (config or stack.default_config()).absolute(), (lock or stack.default_lock()).absolute(), profile
    )


def _console(as_json: bool = False) -> Console:
    """Where words for people go: beside what a program reads, they go to stderr."""
    shown = sys.stderr if as_json else sys.stdout
    # Into a file or a pipe lines are not cut: whoever reads them there wants them whole.
    return SteadyConsole(stderr=as_json, width=None if shown.isatty() else WIDE)


@contextmanager
def _our_errors(console: Console) -> Iterator[None]:
    try:
        yield
    except OURS as error:
        console.print(str(error), highlight=False, markup=False, soft_wrap=True)
    except UpError as error:
        console.print(error.words(), highlight=False, markup=False, soft_wrap=True)
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        where = error.filename or state_home()
        remedy = "Make room or give the right to write there, or set SPILLWAY_HOME to another folder."
        console.print(f"{where} cannot be written: {error.strerror}. {remedy}", highlight=False, markup=False)
    except KeyboardInterrupt:
        console.print("interrupted.")
        raise typer.Exit(130) from None
    else:
        return
    raise typer.Exit(1)
