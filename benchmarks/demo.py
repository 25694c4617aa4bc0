"""See it spill: real vLLM with a small KV cache, a stand-in cloud, half a minute of real requests, and what they met.

The verb: starts everything, runs three phases, prints the verdict, takes everything down. It ends with 0 only when
all three facts were seen.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import tomllib
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import aiohttp
from rich.console import Console
from rich.live import Live

from benchmarks.crowd import Crowd, Phase, Shot
from benchmarks.demo_stack import (
    CloudProcess,
    DemoFailed,
    DemoStack,
    fetched,
    make_stack,
    new_key,
    only_demo,
    price_in,
    spillway_up,
    stand_in_cloud,
)
from benchmarks.demo_view import Screen, print_verdict
from benchmarks.pressure import Pressure, pressure_in
from benchmarks.stream import session
from benchmarks.verdict import Verdict, back_s, judge
from engines.snapshot import state_home

STACK_FILE = Path(__file__).parent.parent / "compose" / "demo.toml"
# The users name a tier and leave the model to Spillway, so that the reasons in the table are about where, not what.
MODEL = "auto"
CALM_STREAMS = 8
# Shares of the time: calm, pressure, calm again.
SHARES = (0.2, 0.5, 0.3)
LOOK_S = 0.5
SHORTEST_S = 10.0
INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Run:
    """What was measured, before it is judged. The phases are as long as they really were."""

    phases: tuple[Phase, ...]
    shots: tuple[Shot, ...]
    peak: Pressure
    billed_usd: float | None


def plan(seconds: float, streams: int, patience_s: float) -> tuple[Phase, ...]:
    """Calm, pressure, calm again; the last goes on until the traffic is back, up to `patience_s` longer."""
    calm, pressure, again = (share * seconds for share in SHARES)
    return (
        Phase("calm", calm, CALM_STREAMS),
        Phase("pressure", pressure, streams),
        Phase("calm again", again, CALM_STREAMS, patience_s),
    )


async def measure(stack: DemoStack, cloud: CloudProcess, phases: Sequence[Phase], console: Console) -> Run:
    """Run the phases against the stack that is up."""
    async with session(connections=0) as client:
        crowd = Crowd(client, f"{stack.router_url}/v1", MODEL)
        screen = Screen(crowd)
        looks: list[Pressure] = []
        watching = asyncio.create_task(_watch(client, stack.router_url, screen, looks))
        try:
            with Live(screen, console=console, refresh_per_second=4):
                taken = await crowd.run(phases, screen.begin, lambda taken: back_s(crowd.shots, taken) is not None)
            console.print()
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
        bill = await fetched(client, f"{cloud.url}/_stats")
    peak = Pressure()
    for look in looks:
        peak = peak.peak(look)
    return Run(taken, tuple(crowd.shots), peak, bill.get("usd"))


async def _watch(client: aiohttp.ClientSession, url: str, screen: Screen, looks: list[Pressure]) -> None:
    """Keep every look at the engine's gauges while the crowd runs."""
    while True:
        if (seen := pressure_in(await fetched(client, f"{url}/spillway/status"))) is not None:
            screen.pressure = seen
            looks.append(seen)
        await asyncio.sleep(LOOK_S)


def as_json(run: Run, verdict: Verdict) -> dict[str, Any]:
    """The figures for a file."""
    return {"shown": verdict.shown} | asdict(verdict) | {"vllm_peak": asdict(run.peak), "billed_usd": run.billed_usd}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    parser.add_argument("--seconds", type=float, default=30.0, help="time of the three phases (%(default)s)")
    parser.add_argument("--streams", type=int, default=64, help="users under pressure (%(default)s)")
    text = "so much longer at most, if the traffic is not back by then (%(default)s s)"
    parser.add_argument("--patience", type=float, default=60.0, metavar="SECONDS", help=text)
    parser.add_argument("--config", type=Path, default=STACK_FILE, help="the demo's stack file (compose/demo.toml)")
    parser.add_argument("--keep", action="store_true", help="leave the stack and the stand-in cloud up")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")


def main(options: argparse.Namespace) -> int:
    """0 when all three facts were seen, else 1. Raises ValueError with a sentence on bad options."""
    if options.seconds < SHORTEST_S or options.streams <= CALM_STREAMS or options.patience < 0:
        least = f"--seconds must be at least {SHORTEST_S:g}, --streams more than {CALM_STREAMS}"
        raise ValueError(f"{least}, --patience not negative.")
    # A plain kill or a closed terminal ends the demo as Ctrl-C does: the stack is taken down first.
    for each in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.default_int_handler)
    try:
        return _demonstrate(options, Console())
    except DemoFailed as error:
        print(f"benchmarks demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED


def _demonstrate(options: argparse.Namespace, console: Console) -> int:
    price = price_in(tomllib.loads(options.config.read_text(encoding="utf-8")))
    phases = plan(options.seconds, options.streams, options.patience)
    key = new_key()
    with ExitStack() as stopping:
        stopping.enter_context(only_demo(state_home() / "demo"))
        console.print("[bold]1.[/] The stand-in cloud: an OpenAI-compatible process with a price and no model.")
        cloud = stopping.enter_context(stand_in_cloud(key, price, keep=options.keep))
        console.print(
            f"   {cloud.url}/v1, ${price.input_usd_per_mtok} in, ${price.output_usd_per_mtok} out per million"
        )
        stack = make_stack(options.config, state_home() / "demo", cloud, key)
        console.print("[bold]2.[/] The stack: router, supervisor and real vLLM with a deliberately small KV cache.")
        stopping.enter_context(spillway_up(stack, keep=options.keep))
        console.print(f"[bold]3.[/] Real requests for {options.seconds:g} s: 60 % standard, 25 % bulk and local-only,")
        console.print("   15 % premium, which prefers the cloud anyway.")
        run = asyncio.run(measure(stack, cloud, phases, console))
        verdict = judge(run.shots, run.phases, price)
        print_verdict(console, verdict, run.peak, run.billed_usd)
        if options.json:
            options.json.write_text(json.dumps(as_json(run, verdict), indent=1) + "\n")
        if options.keep:
            console.print(f"Left up: {stack.router_url}/v1 and the stand-in cloud (process {cloud.pid}). To stop them:")
            console.print(f"SPILLWAY_HOME={stack.home} .venv/bin/spillway down; kill {cloud.pid}", soft_wrap=True)
    return 0 if verdict.shown else 1
