"""The options that hybrid, faults and replay share, and what they come to."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from benchmarks.cases.promises import Promises, promises_in
from benchmarks.cases.stack import STACK_FILE, STANDARD, Stack, Wish, own_stack, root_of, status
from benchmarks.figures.dollars import add_arguments as add_prices
from benchmarks.figures.promise import promise_in
from benchmarks.workload.spec import Spec
from benchmarks.workload.workload import add_arguments as add_workload
from benchmarks.workload.workload import spec_in

FAKE, VLLM = "fake", "vllm"
MODEL = "auto"
LIMIT_S = 120.0
# Small enough that a machine without a GPU is loaded by a few requests a second, and spills.
ENGINE_OPTIONS = "--context 1024 --kv-tokens 1664 --max-num-seqs 16 --prefill-tokens-per-s 4000"
# Prompts and answers of the size that our own engines take.
INPUT_TOKENS, OUTPUT_TOKENS = "uniform:20-100", "uniform:40-100"
RATE = 6.0
MIX = "tier=standard:0.6,bulk:0.25,premium:0.15"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Workload, stack and report."""
    add_workload(parser)
    parser.set_defaults(input_tokens=INPUT_TOKENS, output_tokens=OUTPUT_TOKENS)
    stack = parser.add_argument_group("stack", "one of our own, unless --url names one that runs").add_argument
    stack("--url", help="a Spillway router that runs, such as http://127.0.0.1:4000")
    stack("--cloud-url", metavar="URL", help="the stand-in cloud behind --url, for its faults")
    stack("--ledger", type=Path, metavar="FILE", help="ledger.sqlite3 of the router at --url, for dollars")
    stack("--key-env", metavar="NAME", help="variable with the key that --url wants")
    stack("--default-tier", default=STANDARD, help="of the router at --url, for requests without one (%(default)s)")
    stack("--engine", choices=[VLLM, FAKE], default=VLLM, help="of our own stack (%(default)s)")
    stack("--config", type=Path, default=STACK_FILE, help="stack file of our own stack (compose/demo.toml)")
    stack("--engine-options", default=ENGINE_OPTIONS, metavar="TEXT", help="of the fake engine ('%(default)s')")
    stack("--cloud-options", default="", metavar="TEXT", help="of the stand-in cloud, such as '--ttft-s 0.8'")
    stack("--cloud-usd-per-day", type=float, metavar="USD", help="budget of our own stack (that of --config)")
    what = parser.add_argument_group("what is asked, and what was promised").add_argument
    what("--model", help=f"name to ask for ({MODEL}; of an engine, its first)")
    what("--promise", help="for all requests, such as ttft_s=2,tpot_s=0.1 (each tier's own time to first token)")
    what("--limit-s", type=float, default=LIMIT_S, help="a request that takes longer has failed (%(default)s)")
    add_prices(parser)
    report = parser.add_argument_group("report").add_argument
    report("--json", type=Path, metavar="FILE", help="write the figures there, and the requests beside it")
    report("--html", type=Path, metavar="FILE", help="write the page there")
    report("--png", type=Path, metavar="FOLDER", help="write the pictures there")


def load_in(options: argparse.Namespace) -> Spec:
    """The workload; where nothing is said, one that our own small engine is just too small for. Raises ValueError."""
    if options.trace is None and options.rate is None and options.users is None:
        options.rate = RATE
    if options.url is None and not options.mix:
        options.mix = MIX
    return spec_in(options)


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


def promises_at(
    stack: Stack, options: argparse.Namespace, is_router: bool
) -> tuple[Promises, Sequence[Mapping[str, Any]]]:
    """What was promised, and the tiers of the stack. Raises ValueError with a sentence."""
    for_all = promise_in(options.promise) if options.promise else None
    if is_router:
        tiers = list(status(stack.url, stack.key)["tiers"])
        return promises_in(tiers, stack.default_tier, for_all), tiers
    if for_all is None:
        raise ValueError(f"{stack.url} is no Spillway router, so no tier promises anything: add --promise ttft_s=2")
    return Promises({}, "", for_all), ()


def end_of(spec: Spec, last_s: float | None) -> float:
    """When the load ends, by its duration or else its last arrival. Raises ValueError where nobody can know."""
    if spec.duration_s is not None:
        return spec.duration_s
    if last_s is None:
        raise ValueError("users with a number of requests end nobody knows when: add --duration")
    return last_s


def _running(options: argparse.Namespace) -> Stack:
    key = os.environ.get(options.key_env, "") if options.key_env else ""
    if options.key_env and not key:
        raise ValueError(f"--key-env {options.key_env}: that variable is empty or not set")
    return Stack(
        url=root_of(options.url),
        cloud_url=options.cloud_url and root_of(options.cloud_url),
        ledger=options.ledger,
        default_tier=options.default_tier,
        key=key,
    )
