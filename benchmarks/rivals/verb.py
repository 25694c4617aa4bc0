"""`python -m benchmarks hybrid --rivals`: options to a setting, and how the comparison ends."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from random import SystemRandom
from types import MappingProxyType

from rich.console import Console

from benchmarks.cases.options import FAKE
from benchmarks.figures.promise import Promise, promise_in
from benchmarks.machine import QUIET_SHARE
from benchmarks.output import BROKEN, KEPT, WIDTH
from benchmarks.price import Price
from benchmarks.report.place import check_place
from benchmarks.rivals.contender import Contender, Policy
from benchmarks.rivals.course import Comparison, compared
from benchmarks.rivals.engine import Room
from benchmarks.rivals.model import SMOKE, Size
from benchmarks.rivals.outcome import Outcome, best
from benchmarks.rivals.setting import Setting
from benchmarks.rivals.table import table_of
from benchmarks.rivals.window import Source
from benchmarks.workload.options import SEEDS, seconds_in
from benchmarks.workload.trace import TraceKind

TITLE = "One engine, a cloud with a price, and who decides"
PROMISE = "ttft_s=2,tpot_s=0.1,share=0.99"
CONTEXT_TOKENS = 8192
# What vLLM takes in a step on most GPUs; as much less as prompts are shorter.
STEP_TOKENS = 2048
LEAST_STEP = 128
# Options of the other ways of this verb, and what they are when nobody has asked for them.
NOT_OURS: Mapping[str, object] = MappingProxyType(
    {
        **dict.fromkeys(("url", "model", "rate", "users", "requests", "duration", "prompts", "shared_prefix")),
        **dict.fromkeys(("html", "png", "ledger", "cloud_url", "cloud_usd_per_day")),
        **dict.fromkeys(("mix", "tokenizer", "cloud_options"), ""),
        **dict.fromkeys(("scale", "keep"), 1.0),
        **dict.fromkeys(("no_stream", "token_ids"), False),
        "spread": "0",
    }
)
ONLY_OURS = ("litellm", "capacity", "python")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What only the comparison has; trace, promise, engine, seeds and report are the verb's own."""
    add = parser.add_argument_group("rivals", "Spillway beside other routers, on real vLLM; needs --trace").add_argument
    add("--rivals", action="store_true", help="compare routers instead of ways")
    add("--litellm", type=Path, metavar="PROGRAM", help="of an environment with litellm[proxy]; without it, it is out")
    add("--loads", default="1.3,1.8", metavar="LIST", help="in capacities of the engine (%(default)s)")
    add("--capacity", type=float, metavar="RATE", help="requests/s that are load 1 (measured first)")
    add("--slots", default="6,9,12", metavar="LIST", help="of LiteLLM's first deployment (%(default)s)")
    add("--in-flight", default="6,9,12", metavar="LIST", help="of the count (%(default)s)")
    add("--window-s", type=float, default=50.0, help="of the trace, for each stretch (%(default)g)")
    add("--windows", type=int, default=1, help="stretches for each load (%(default)s)")
    add("--warm-s", type=float, default=15.0, help="of load before the first window of a router (%(default)g)")
    add("--shrink", type=float, default=2.0, help="prompts and answers so many times shorter (%(default)g)")
    add("--kv-tokens", type=int, default=20_480, help="of the engine (%(default)s)")
    add("--model-size", default="256x8", metavar="WIDTHxLAYERS", help="of the random model (%(default)s)")
    add("--most-tokens", type=int, default=500, help="max_tokens of every request (%(default)s)")
    add("--python", type=Path, metavar="PROGRAM", help="of another environment with vLLM for the CPU")


def setting_in(options: argparse.Namespace) -> Setting:
    """Raises ValueError with a sentence."""
    if options.trace is None:
        raise ValueError("--rivals needs --trace FILE: arrivals and lengths that somebody really had")
    for name, usual in NOT_OURS.items():
        if getattr(options, name) != usual:
            raise ValueError(f"--rivals starts all by itself, at the rates of --loads: leave {_option(name)} out")
    for name in ("capacity", "window_s", "warm_s", "windows", "kv_tokens", "most_tokens"):
        value = getattr(options, name)
        if value is not None and value <= 0:
            raise ValueError(f"{_option(name)} {value:g} must be above 0")
    if options.shrink < 1:
        raise ValueError(f"--shrink {options.shrink:g} would make prompts longer: it must be 1 or more")
    context = options.context or min(CONTEXT_TOKENS, options.kv_tokens)
    room = ["--context", f"{context}", "--kv-tokens", f"{options.kv_tokens}"]
    fake = [*room, *shlex.split(options.engine_options)] if options.engine == FAKE else None
    if context > options.kv_tokens:
        raise ValueError(f"--context {context} does not fit into --kv-tokens {options.kv_tokens}")
    source = Source(
        options.trace,
        TraceKind(options.trace_kind),
        SMOKE,
        options.shrink,
        context,
        options.window_s,
        seconds_in("--trace-start", options.trace_start) or 0.0,
        options.seed,
    )
    return Setting(
        source=source,
        stretches=options.windows,
        loads=_numbers("--loads", options.loads),
        contenders=_contenders(options),
        promise=_promise(options.promise or PROMISE),
        price=Price(0.15, 0.60),
        room=Room(context, options.kv_tokens, max(round(STEP_TOKENS / options.shrink), LEAST_STEP)),
        size=_size(options.model_size),
        most_tokens=options.most_tokens,
        warm_s=options.warm_s,
        prompt_seed=SystemRandom().randrange(SEEDS) if options.prompt_seed is None else options.prompt_seed,
        capacity=options.capacity,
        litellm=options.litellm,
        python=options.python,
        fake_options=fake,
    )


def check_absent(options: argparse.Namespace) -> None:
    """Raises ValueError where the comparison is not asked for, and something is that only it has."""
    for name in ONLY_OURS:
        if getattr(options, name) is not None:
            raise ValueError(f"{_option(name)} belongs to --rivals, which is not given")


def main(options: argparse.Namespace) -> int:
    """0 when Spillway kept what was promised at every load, else 1. Raises ValueError or OSError with a sentence."""
    setting = setting_in(options)
    check_place(options.json)
    console = Console(stderr=True, highlight=False)
    found = compared(setting, lambda said: console.print(f"[dim]{said}[/]"))
    chosen = chosen_of(found.outcomes, setting.promise.share)
    shown = Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False)
    shown.print(table_of(chosen, setting.promise, TITLE))
    shown.print(f"[dim]load 1.0: {found.capacity:.3g} requests/s; promise: {setting.promise}[/]")
    others = max(each.others_share for each in chosen)
    if others > QUIET_SHARE:
        shown.print(
            f"others used {others:.2f} of a core meanwhile: times, and what they decide, are theirs too", style="yellow"
        )
    for note in setting.notes():
        shown.print(f"- {note}", style="dim", markup=False)
    if options.json is not None:
        options.json.write_text(json.dumps(document(setting, found, chosen), indent=2) + "\n", encoding="utf-8")
    ours = [each for each in chosen if each.contender == Policy.SPILLWAY]
    return KEPT if all(each.kept_share >= setting.promise.share for each in ours) else BROKEN


def chosen_of(outcomes: Sequence[Outcome], share: float) -> Sequence[Outcome]:
    """For each load, each policy at its best value."""
    found: list[Outcome] = []
    for _, same in groupby(sorted(outcomes, key=attrgetter("load")), key=attrgetter("load")):
        by_policy: dict[Policy, list[Outcome]] = {policy: [] for policy in Policy}
        for each in same:
            by_policy[policy_of(each)].append(each)
        found += [best(values, share) for values in by_policy.values() if values]
    return found


def policy_of(outcome: Outcome) -> Policy:
    """Whose outcome it is."""
    return next(policy for policy in Policy if outcome.contender.startswith(policy))


def document(setting: Setting, found: Comparison, chosen: Sequence[Outcome]) -> dict[str, object]:
    """For --json: the table, and every value that was tried."""
    return {
        "title": TITLE,
        "capacity_per_s": found.capacity,
        "promise": {"limits_s": dict(setting.promise.limits_s), "share": setting.promise.share},
        "notes": list(setting.notes()),
        "chosen": [asdict(each) for each in chosen],
        "tried": [asdict(each) for each in found.outcomes],
    }


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _contenders(options: argparse.Namespace) -> Sequence[Contender]:
    slots = _numbers("--slots", options.slots) if options.litellm else []
    counts = _numbers("--in-flight", options.in_flight)
    tuned = [(Policy.LITELLM, each) for each in slots] + [(Policy.THRESHOLD, each) for each in counts]
    if broken := [each for _, each in tuned if each != round(each)]:
        raise ValueError(f"--slots and --in-flight count requests: {broken[0]:g} is not a whole number")
    return [*(Contender(policy, round(each)) for policy, each in tuned), Contender(Policy.SPILLWAY)]


def _promise(text: str) -> Promise:
    promise = promise_in(text)
    if "ttft_s" not in promise.limits_s:
        raise ValueError(f"--promise {text!r}: a tier promises a time to first token; name one, such as ttft_s=2")
    return promise


def _size(text: str) -> Size:
    hidden, _, layers = text.partition("x")
    if not (hidden.isdecimal() and layers.isdecimal()):
        raise ValueError(f"--model-size {text!r}: write width and layers, such as 512x8")
    return Size(int(hidden), int(layers))


def _numbers(option: str, text: str) -> Sequence[float]:
    try:
        found = [float(each) for each in text.split(",") if each.strip()]
    except ValueError:
        raise ValueError(f"{option} {text!r}: write numbers with commas between them, such as 1.3,1.8") from None
    if not found:
        raise ValueError(f"{option} {text!r}: name one number at least")
    if any(not 0 < each < float("inf") for each in found):
        raise ValueError(f"{option} {text!r}: each must be above 0")
    return found
