"""What is simulated besides the trace, as words of a command line: the kind of engine, the cloud, the promise."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from benchmarks.simulator.cloud_times import FORM
from benchmarks.simulator.named import NAMED, kind_of
from benchmarks.simulator.outcome import Promise
from benchmarks.simulator.setting import EngineKind

ENGINE = "rtx4090-llama3.1-8b"
CLOUD = "0.15/0.60,0.6,1.5"


def add_places(parser: argparse.ArgumentParser) -> None:
    """The kind of engine, and the cloud."""
    add = parser.add_argument_group("engines and cloud").add_argument
    add("--engine", default=ENGINE, choices=[*NAMED], help=f"which (default {ENGINE})")
    add("--tables", type=Path, metavar="FOLDER", help="fit its speed anew to the tables there")
    add("--kv-tokens", type=int, help="room of one engine (default: as measured with it)")
    add("--max-batched-tokens", type=int, help="of one step (default: as measured with it, such as 2048)")
    add("--max-sequences", type=int, help="at a time (default: as measured with it, such as 256)")
    add("--prefix-cache", action="store_true", help="let engines find leading blocks again, where the trace tells them")
    add("--cloud", default=CLOUD, metavar=FORM, help=f"dollars a million tokens, and seconds (default {CLOUD})")


def add_promise(parser: argparse.ArgumentParser) -> None:
    """What was promised to each request, and to how many."""
    add = parser.add_argument_group("promise").add_argument
    add("--ttft-s", type=float, default=2.0, metavar="S", help="promised time to the first token (default 2)")
    add("--tpot-s", type=float, default=0.1, metavar="S", help="promised mean time of the tokens after it (0.1)")
    add("--share", type=float, default=0.99, help="of the requests that must get both (default 0.99)")


def engine_in(options: argparse.Namespace) -> EngineKind:
    """Raises ValueError with a sentence."""
    kind = kind_of(options.engine, options.tables, prefix_cache=options.prefix_cache)
    given = {name: getattr(options, name) for name in ("kv_tokens", "max_batched_tokens", "max_sequences")}
    for name, value in given.items():
        if value is not None and value < 1:
            raise ValueError(f"--{name.replace('_', '-')} {value}: it must be 1 at least")
    return replace(kind, **{name: value for name, value in given.items() if value is not None})


def promise_in(options: argparse.Namespace) -> Promise:
    """Raises ValueError with a sentence."""
    if min(options.ttft_s, options.tpot_s) <= 0 or not 0 < options.share <= 1:
        raise ValueError("--ttft-s and --tpot-s must be above 0 s, --share above 0 and at most 1")
    return Promise(options.ttft_s, options.tpot_s, options.share)
