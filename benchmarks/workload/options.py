"""The options of every verb that makes load, and what they come to. It must not know prompts."""

from __future__ import annotations

import re
from argparse import ArgumentParser, Namespace
from pathlib import Path
from random import SystemRandom

from benchmarks.workload.arrival import Kind
from benchmarks.workload.lengths import FORMS, Lengths, lengths_in
from benchmarks.workload.mix import FORM, mix_in
from benchmarks.workload.spec import DURATION_S, USERS, Spec, Trace
from benchmarks.workload.synthetic import shared_prefix_in
from benchmarks.workload.trace import TraceKind

MODEL_DECIDES = "model"
SERVER = "server"
UNITS_S = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
SECONDS = re.compile(r"(-?\d+(?:\.\d+)?)([smh]?)")
SEEDS = 2**32
# What only a trace has, and what it is when nothing was asked for.
TRACE_ONLY = {"trace_kind": "auto", "scale": 1.0, "keep": 1.0, "trace_start": "0", "spread": "0"}


def add_arguments(parser: ArgumentParser) -> None:
    """What is asked, when and by whom. `spec_in` reads them, and `--url` and `--model` where the verb has them."""
    _add_arrivals(parser)
    _add_trace(parser)
    _add_prompts(parser)


def spec_in(options: Namespace) -> Spec:
    """Raises ValueError with a sentence. Whether files and tokenizers can be read shows when arrivals are made."""
    path: Path | None = options.trace
    closed = options.rate is None and path is None
    ends_itself = path is not None or options.requests is not None
    output: str = options.output_tokens
    if options.think_s and not closed and options.users is None:
        raise ValueError("--think-s is of --users: in an open loop nobody waits for an answer")
    if options.burstiness != 1 and options.rate is None:
        raise ValueError("--burstiness is of --rate: users and traces have gaps of their own")
    for option, usual in TRACE_ONLY.items():
        if path is None and getattr(options, option) != usual:
            raise ValueError(f"--{option.replace('_', '-')} is of a trace: name one by --trace FILE")
    return Spec(
        rate=options.rate,
        users=USERS if options.users is None and closed else options.users,
        burstiness=options.burstiness,
        think_s=options.think_s,
        duration_s=seconds_in("--duration", options.duration) or (None if ends_itself else DURATION_S),
        requests=options.requests,
        trace=_trace_in(options, path) if path else None,
        prompts=options.prompts,
        input_tokens=_named("--input-tokens", options.input_tokens),
        output_tokens=None if output == MODEL_DECIDES else _named("--output-tokens", output),
        shared_prefix=shared_prefix_in(options.shared_prefix) if options.shared_prefix else None,
        context_tokens=options.context,
        mix=mix_in(options.mix),
        kind=Kind(options.kind),
        stream=not options.no_stream and options.kind != Kind.EMBEDDING,
        token_ids=options.token_ids,
        tokenizer=_tokenizer_in(options),
        model=getattr(options, "model", None) or "",
        seed=options.seed,
        prompt_seed=SystemRandom().randrange(SEEDS) if options.prompt_seed is None else options.prompt_seed,
    )


def _add_arrivals(parser: ArgumentParser) -> None:
    add = parser.add_argument_group("load").add_argument
    add("--rate", type=float, help="open loop: requests per second, whether or not answers come")
    add("--burstiness", type=float, default=1.0, help="of --rate: 1 is Poisson, below 1 comes in bursts (default 1)")
    add("--users", type=int, help=f"closed loop: so many at once, each waiting for its answer (default {USERS})")
    add("--think-s", type=float, default=0.0, help="seconds that a user waits after an answer (default 0)")
    add("--duration", help=f"such as 30, 90s, 5m (default {DURATION_S:g} s, or as long as --requests or --trace last)")
    add("--requests", type=int, help="at most so many")
    add("--mix", default="", metavar="SHARES", help=f"who asks, such as {FORM}")
    add("--seed", type=int, default=0, help="of arrivals, lengths and mix (default 0)")


def _add_trace(parser: ArgumentParser) -> None:
    add = parser.add_argument_group("trace").add_argument
    add("--trace", type=Path, metavar="FILE", help="arrivals and lengths of .csv or .jsonl (.gz too)")
    add("--trace-kind", choices=[*TraceKind], default="auto", help="whose columns (default: found out)")
    add("--scale", type=float, default=1.0, help="times as fast: 2 is twice the rate (default 1)")
    add("--keep", type=float, default=1.0, metavar="SHARE", help="take a random share of its requests (default 1)")
    add("--sessions-per-h", type=float, default=60.0, help="how many sessions of an agentic trace begin (default 60)")
    add("--trace-start", default="0", metavar="TIME", help="begin so far into the trace, such as 9h")
    add("--spread", default="0", metavar="TIME", help="spread arrivals of one moment over so long (rounded clocks: 3s)")


def _add_prompts(parser: ArgumentParser) -> None:
    add = parser.add_argument_group("prompts").add_argument
    add("--prompts", type=Path, metavar="FILE", help="prompts of .txt, .csv or .jsonl (.gz too) instead of synthetic")
    add("--input-tokens", default="512", metavar="LENGTHS", help=f"whole prompt: {FORMS} (default 512)")
    add("--output-tokens", default="128", metavar="LENGTHS", help="the same, or model: it decides (default 128)")
    add("--shared-prefix", metavar="TOKENS:POOL", help="prompts begin with one of POOL prefixes of TOKENS tokens")
    add("--context", type=int, metavar="TOKENS", help="cut requests that are longer, prompt and answer together")
    add("--kind", choices=[*Kind], default="chat", help="which endpoint (default chat)")
    add("--no-stream", action="store_true", help="ask for whole answers")
    add("--token-ids", action="store_true", help="send ids instead of text (completions, embeddings)")
    add(
        "--tokenizer",
        default="",
        metavar="FOLDER",
        help="of the model's files, for exact lengths; or server: ask --url",
    )
    add("--prompt-seed", type=int, help="of the words (default: new ones each run, lest a prefix cache answers)")


def _trace_in(options: Namespace, path: Path) -> Trace:
    return Trace(
        path=path,
        kind=TraceKind(options.trace_kind),
        scale=options.scale,
        keep=options.keep,
        sessions_per_h=options.sessions_per_h,
        start_s=seconds_in("--trace-start", options.trace_start) or 0.0,
        spread_s=seconds_in("--spread", options.spread) or 0.0,
    )


def _tokenizer_in(options: Namespace) -> str:
    tokenizer: str = options.tokenizer
    if tokenizer != SERVER:
        return tokenizer
    url = getattr(options, "url", None)
    if not url:
        raise ValueError("--tokenizer server: there is no --url to ask; give the address of the engine itself")
    return str(url)


def seconds_in(option: str, text: str | float | None) -> float | None:
    """A time as people write it. Raises ValueError with a sentence."""
    if text is None:
        return None
    match = SECONDS.fullmatch(f"{text}".strip())
    if not match:
        raise ValueError(f"{option} {text!r} is no time; write seconds or a unit: 30, 90s, 5m, 1h")
    seconds = float(match[1]) * UNITS_S[match[2]]
    if option == "--duration" and seconds <= 0:
        raise ValueError(f"--duration {text} must be above 0 s")
    return seconds


def _named(option: str, text: str) -> Lengths:
    try:
        return lengths_in(text)
    except ValueError as error:
        raise ValueError(f"{option} {error}") from error
