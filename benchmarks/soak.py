"""Does a router leak? A million requests, thousands of clients that leave, thousands of idle streams, and its memory,
file descriptors and threads all the while.

Starts the router with `--start` in front of a stub engine, or takes one that runs in front of `--engine-port`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import psutil
import uvloop
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from benchmarks import machine
from benchmarks.contender import Stub, answered, is_numbered, running_router, running_stub
from benchmarks.job import Job, address_of
from benchmarks.memory_watch import MemoryWatch
from benchmarks.soak_phases import Plan, Soak
from benchmarks.soak_report import Levels, Phase, Soaked, levels, table

SPARE_DESCRIPTORS = 200
# A stream through a router takes a descriptor towards the client and one towards the engine.
DESCRIPTORS_PER_STREAM = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    parser.add_argument("--url", required=True, help="the router, with or without /v1")
    parser.add_argument("--start", metavar="COMMAND", help="as for `relay`")
    parser.add_argument("--engine-port", type=int, metavar="PORT", help="where the stub engine listens")
    parser.add_argument("--pid", type=int, help="of a router that runs already")
    parser.add_argument("--path", default="/v1/chat/completions", help="(%(default)s)")
    parser.add_argument("--header", action="append", default=[], metavar="'NAME: VALUE'", help="sent with each request")
    parser.add_argument("--model", default="tiny", help="(%(default)s)")
    parser.add_argument("--requests", type=int, default=1_000_000, help="whole answers (%(default)s)")
    parser.add_argument("--aborts", type=int, default=10_000, help="clients that leave (%(default)s)")
    parser.add_argument("--idle", type=int, default=2000, help="streams at once that hardly speak (%(default)s)")
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies rests and idle times (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write figures and every look there as well")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw memory and descriptors over time")


def main(options: argparse.Namespace) -> int:
    """Print the figures; status 1 when something was lost or left behind. Raises ValueError with a sentence."""
    plan, job = plan_in(options), Job(address_of(options.url, options.path, tuple(options.header)), options.model)
    room_for(plan.idle * DESCRIPTORS_PER_STREAM + SPARE_DESCRIPTORS)
    cores = machine.cores()
    router_core, load_core = cores or (None, None)
    with (
        machine.on_core(load_core),
        running_stub(options.engine_port or 0, job.model, load_core) as stub,
        router_of(options, job, stub, router_core) as pid,
        Bars() as bars,
    ):
        check_room(pid, plan.idle * DESCRIPTORS_PER_STREAM + SPARE_DESCRIPTORS)
        watch = MemoryWatch(pid)
        soaked = uvloop.run(Soak(plan, job, stub, watch, bars.show).run())
    seen = levels(watch.marks)
    Console().print(table(soaked, seen))
    if options.json:
        marks = [asdict(mark) for mark in watch.marks]
        figures = {"soaked": asdict(soaked), "levels": asdict(seen), "marks": marks}
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    if options.plot:
        # The library takes half a second to import, and only who wants a picture needs it.
        importlib.import_module("benchmarks.memory_curve").draw(watch.marks, soaked, seen, options.plot)
    return verdict(soaked, seen)


def verdict(soaked: Soaked, seen: Levels) -> int:
    """The exit status, with what is wrong on stderr."""
    if soaked.sample:
        print(f"not complete: {soaked.sample}", file=sys.stderr)
    if not soaked.is_sound and not soaked.faults:
        print(f"the engine finished {soaked.unheard} answers for clients that had left", file=sys.stderr)
    if seen.descriptors_left:
        print(f"{seen.descriptors_left} file descriptors are left open", file=sys.stderr)
    return 0 if soaked.is_sound and not seen.descriptors_left else 1


@contextmanager
def router_of(options: argparse.Namespace, job: Job, stub: Stub, core: int | None) -> Iterator[int]:
    """The pid of the router, which answers from our engine. Raises ValueError with a sentence when it does not."""
    if options.start is not None:
        with running_router(options.start, job.address, job.model, stub, core) as pid:
            yield pid
        return
    if not is_numbered(answered(Job(job.address, job.model, tokens=1)) or b""):
        raise ValueError(f"{options.url} does not answer from the stub engine: let its engine be {stub.url}.")
    yield options.pid


class Bars:
    """Progress on the terminal, a bar for each phase."""

    def __init__(self) -> None:
        columns = (TextColumn("{task.description:<14}"), BarColumn(40), MofNCompleteColumn(), TimeElapsedColumn())
        self._progress = Progress(*columns, console=Console(stderr=True))
        self._tasks: dict[tuple[Phase, int], TaskID] = {}

    def __enter__(self) -> Bars:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, phase: Phase, done: int, total: int) -> None:
        """So much of it is done. Counts of another total in the same phase have a bar of their own."""
        if (phase, total) not in self._tasks:
            self._tasks[phase, total] = self._progress.add_task(phase, total=total)
        self._progress.update(self._tasks[phase, total], completed=done)


def plan_in(options: argparse.Namespace) -> Plan:
    """Raises ValueError with a sentence."""
    if min(options.requests, options.aborts, options.idle) < 1 or options.scale <= 0:
        raise ValueError("--requests, --aborts, --idle and --scale must be above zero.")
    if options.start is None and (options.pid is None or options.engine_port is None):
        raise ValueError("Name --start, or for a router that runs already --pid and the --engine-port of its engine.")
    if options.start is not None and options.pid is not None:
        raise ValueError("--pid names a router that runs already; with --start the pid is known.")
    return Plan(options.requests, options.aborts, options.idle).scaled(options.scale)


def room_for(descriptors: int) -> None:
    """Let us and whom we start open so many files. Raises ValueError where the system does not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < descriptors:
        raise ValueError(f"--idle needs {descriptors} file descriptors, and the limit is {hard}: raise `ulimit -Hn`.")
    if soft != resource.RLIM_INFINITY and soft < descriptors:
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors if hard == resource.RLIM_INFINITY else hard, hard))


def check_room(pid: int, descriptors: int) -> None:
    """Raises ValueError where the router may not open so many files."""
    soft, _ = psutil.Process(pid).rlimit(psutil.RLIMIT_NOFILE)
    if soft not in {-1, resource.RLIM_INFINITY} and soft < descriptors:
        raise ValueError(
            f"The router may open {soft} files, --idle needs {descriptors}: start it with a higher ulimit."
        )
