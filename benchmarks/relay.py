"""How fast does a router relay? One router on one core, stub engine and load generator on another, in turns with the
engine itself; every answer is checked token by token.

Starts the router with `--start` in front of a stub engine, or takes one that runs. Figures are medians of rounds.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from benchmarks import machine
from benchmarks.block import Block, Setting, Side, measured
from benchmarks.contender import Stub, answered, is_numbered, running_router, running_stub
from benchmarks.job import Address, Job, address_of
from benchmarks.relay_table import tables
from benchmarks.scenario import SCENARIOS, Scenario

NOTE = (
    "Medians [dim]lowest..highest[/] of the rounds. `direct` has no router: stub and load generator share a core, and "
    "that is the ceiling of this harness."
)


class Course:
    """The rounds of one run."""

    def __init__(self, options: argparse.Namespace, router: Address, stub: Stub | None) -> None:
        self._options = options
        self._router = router
        self._stub = stub
        self._cores = machine.cores()
        self._console = Console(stderr=True)

    def blocks(self, scenarios: list[Scenario]) -> Iterator[Block]:
        """Every block of every round as it is measured; the sides take turns at being first.

        The router begins, so that one that does not come up is known at once.
        """
        sides = ["router"] if self._stub is None else ["router", "direct"]
        for number in range(self._options.rounds):
            for name in sides if number % 2 == 0 else reversed(sides):
                with self._side(name) as side:
                    setting = self._setting(side)
                    for scenario in scenarios:
                        self._say(f"round {number + 1}, {name}, {scenario.key}: {scenario.title}")
                        yield measured(side, scenario, number, setting)

    @contextmanager
    def _side(self, name: str) -> Iterator[Side]:
        """The direct side is measured while no router of ours runs."""
        options, stub = self._options, self._stub
        if name == "direct" and stub is not None:
            # The engine itself wants no prefix, and no key.
            yield Side(name, replace(address_of(stub.url, options.path), headers=()))
        elif options.start and stub is not None:
            core = self._cores[0] if self._cores else None
            with running_router(options.start, self._router, options.model, stub, core) as pid:
                yield Side(name, self._router, pid)
        else:
            yield Side(name, self._router, options.pid)

    def _setting(self, side: Side) -> Setting:
        answer = answered(Job(side.address, self._options.model, tokens=1))
        if answer is None:
            raise ValueError(
                f"http://{side.address.host}:{side.address.port}{side.address.path} does not answer a small request "
                f"for model {self._options.model!r}: start the router, or name --start, --model, --path or --header."
            )
        return Setting(
            model=self._options.model,
            numbered=is_numbered(answer),
            stub=self._stub,
            load_core=self._cores[1] if self._cores else None,
            quiet_s=self._options.quiet_s,
            say=self._say,
        )

    def _say(self, sentence: str) -> None:
        self._console.print(f"[dim]{sentence}[/]", highlight=False)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    parser.add_argument("--url", required=True, help="the router, with or without /v1")
    parser.add_argument(
        "--start",
        metavar="COMMAND",
        help="shell command that runs the router in the foreground, with one worker, in front of $STUB_URL; it also "
        "sees $STUB_PORT, $PORT (from --url) and $MODEL",
    )
    parser.add_argument(
        "--engine-port", type=int, metavar="PORT", help="where the stub engine listens (with --start: any free port)"
    )
    parser.add_argument("--pid", type=int, help="of a router that runs already: its CPU and memory are read")
    parser.add_argument("--path", default="/v1/chat/completions", help="(%(default)s)")
    parser.add_argument("--header", action="append", default=[], metavar="'NAME: VALUE'", help="sent with each request")
    parser.add_argument("--model", default="tiny", help="(%(default)s)")
    parser.add_argument("--scenarios", default="abcd", help="letters of a b c d e (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="(%(default)s)")
    parser.add_argument(
        "--scale",
        type=float,
        default=1.0,
        help="multiplies every measuring time; below 1 the times before them too (%(default)s)",
    )
    parser.add_argument("--quiet-s", type=float, default=180.0, help="longest wait for a quiet machine (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every block there as well")


def main(options: argparse.Namespace) -> int:
    """Print the tables; status 1 when an answer was not complete. Raises ValueError with a sentence on bad options."""
    scenarios = scenarios_in(options)
    router = address_of(options.url, options.path, tuple(options.header))
    cores = machine.cores()
    has_stub = options.start is not None or options.engine_port is not None
    stub_core = cores[1] if cores else None
    stubbed = running_stub(options.engine_port or 0, options.model, stub_core) if has_stub else nullcontext()
    if options.pid and cores and cores[1] in machine.cores_of(options.pid):
        part = f"taskset -acp {cores[0]} {options.pid}"
        print(f"Process {options.pid} may run on the core of the load: `{part}` parts them.")
    with stubbed as stub:
        blocks = list(Course(options, router, stub).blocks(scenarios))
    report(blocks, cores)
    if options.json:
        options.json.write_text(json.dumps([block.as_json() for block in blocks], indent=1) + "\n", encoding="utf-8")
    return 0 if all(block.summary.is_complete for block in blocks) else 1


def report(blocks: list[Block], cores: tuple[int, int] | None) -> None:
    """Print tables, notes and the first fault."""
    console = Console()
    console.print(NOTE if any(block.side == "direct" for block in blocks) else NOTE.partition(" `direct`")[0], "\n")
    console.print(*tables(blocks))
    if cores is None:
        console.print("This process may use one core only: router, stub and load generator share it.")
    if any(block.is_disturbed for block in blocks):
        console.print("Others took part of the machine in some rounds; these count only where no other round is clean.")
    for sample in {block.summary.sample for block in blocks if block.summary.sample}:
        print(f"not complete: {sample}", file=sys.stderr)


def scenarios_in(options: argparse.Namespace) -> list[Scenario]:
    """Those that were asked for. Raises ValueError with a sentence."""
    unknown = sorted(set(options.scenarios) - set(SCENARIOS))
    if unknown or not options.scenarios:
        raise ValueError(f"--scenarios {options.scenarios!r} must be letters of {' '.join(SCENARIOS)}.")
    if options.rounds < 1 or options.scale <= 0:
        raise ValueError("--rounds and --scale must be above zero.")
    if options.start is not None and options.pid is not None:
        raise ValueError("--pid names a router that runs already; with --start the pid is known.")
    return [SCENARIOS[key].scaled(options.scale) for key in dict.fromkeys(options.scenarios)]
