"""The options that hybrid, outage and replay share, and what they come to."""

from __future__ import annotations

import argparse
import shlex
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from benchmarks import output, scene
from benchmarks.cases.promises import Promises, promises_in
from benchmarks.cases.stack import STACK_FILE, STANDARD, Stack, Wish, own_stack, root_of
from benchmarks.scene import Scene, key_in
from benchmarks.workload import workload
from benchmarks.workload.spec import Spec

FAKE, VLLM = "fake", "vllm"
# Small enough that a machine without a GPU is loaded by a few requests a second, and spills.
ENGINE_OPTIONS = "--context 1024 --kv-tokens 1664 --max-num-seqs 16 --prefill-tokens-per-s 4000"
# Prompts and answers of the size that our own engines take.
INPUT_TOKENS, OUTPUT_TOKENS = "uniform:20-100", "uniform:40-100"
RATE = 10.0
MIX = "tier=standard:0.6,bulk:0.25,premium:0.15"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Endpoint, promise and prices, workload, stack, report."""
    scene.add_arguments(parser, "each tier's own time to first token")
    workload.add_arguments(parser)
    output.add_arguments(parser)
    stack = parser.add_argument_group("stack", "one of our own, unless --url names one that runs").add_argument
    stack("--engine", choices=[VLLM, FAKE], default=VLLM, help="of our own stack (%(default)s)")
    stack("--config", type=Path, default=STACK_FILE, help="stack file of our own stack (compose/demo.toml)")
    stack("--engine-options", default=ENGINE_OPTIONS, metavar="TEXT", help="of the fake engine ('%(default)s')")
    stack("--cloud-options", default="", metavar="TEXT", help="of the stand-in cloud, such as '--ttft-s 0.8'")
    stack("--cloud-usd-per-day", type=float, metavar="USD", help="budget of our own stack (that of --config)")
    stack("--cloud-url", metavar="URL", help="the stand-in cloud behind --url, for its faults")
    stack("--ledger", type=Path, metavar="FILE", help="ledger.sqlite3 of the router at --url, for dollars")
    stack("--default-tier", default=STANDARD, help="of the router at --url, for requests without one (%(default)s)")
    parser.set_defaults(url=None, promise=None, input_tokens=INPUT_TOKENS, output_tokens=OUTPUT_TOKENS)


def load_in(options: argparse.Namespace) -> Spec:
    """The workload; where nothing is said, one that our own small engine is just too small for. Raises ValueError."""
    if options.trace is None and options.rate is None and options.users is None:
        options.rate = RATE
    if options.url is None and not options.mix:
        options.mix = MIX
    return workload.spec_in(options)


def stack_in(options: argparse.Namespace) -> AbstractContextManager[Stack]:
    """The stack that the options name, for as long as the block lasts. Raises ValueError with a sentence."""
    if options.url is not None:
        return nullcontext(_running(options))
    for name in ("cloud_url", "ledger", "key_env"):
        if getattr(options, name) is not None:
            raise ValueError(f"--{name.replace('_', '-')} belongs to --url, which is not given")
    wish = Wish(
        config=options.config,
        fake=options.engine == FAKE,
        engine_options=shlex.split(options.engine_options),
        cloud_options=shlex.split(options.cloud_options),
        usd_per_day=options.cloud_usd_per_day,
    )
    return own_stack(wish)


def promises_of(place: Scene, stack: Stack) -> Promises:
    """What was promised there. Raises ValueError with a sentence where nothing was."""
    if tiers := place.server.status.get("tiers"):
        return promises_in(tiers, stack.default_tier, place.promise)
    if place.promise is None:
        raise ValueError(f"{stack.url} is no Spillway router, so no tier promises anything: add --promise ttft_s=2")
    return Promises({}, "", place.promise)


def end_of(spec: Spec) -> float:
    """When the load ends, by its duration or else its last arrival. Raises ValueError where nobody can know."""
    if spec.duration_s is not None:
        return spec.duration_s
    if not spec.open:
        raise ValueError("when users end who ask so many times nobody knows beforehand: add --duration")
    return max((arrival.at_s for arrival in workload.arrivals_of(spec)), default=0.0)


def _running(options: argparse.Namespace) -> Stack:
    return Stack(
        url=root_of(options.url),
        cloud_url=options.cloud_url and root_of(options.cloud_url),
        ledger=options.ledger,
        default_tier=options.default_tier,
        key=key_in(options.key_env) or "",
    )
