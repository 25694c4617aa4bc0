"""Would another GPU pay, or a longer promise? Your own requests on simulated engines, as they are and as they could be.

The requests are those of the router's ledger, or of a trace. Nothing is measured and nothing is asked: time is reckoned
under the router's own decisions. What the engines do is as measured on such engines, else learned from the ledger.

    spillway whatif --days 7 --picture whatif.png
    python -m benchmarks whatif --trace conv.csv.gz --engine rtx4090-llama3.1-8b --cloud 0.15/0.60
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from pathlib import Path

from rich.console import Console

from benchmarks.report.place import check_place
from benchmarks.simulator.arrival import arrivals_in
from benchmarks.simulator.cloud_times import FORM, cloud_in
from benchmarks.simulator.named import NAMED
from benchmarks.whatifs.answer import Answer, answer_of
from benchmarks.whatifs.case import NOW, Case
from benchmarks.whatifs.page import document, headline, page
from benchmarks.whatifs.pool import Pool
from benchmarks.whatifs.pools import pools_in
from benchmarks.whatifs.stack import stack_in
from benchmarks.whatifs.traced import pool_of
from benchmarks.whatifs.wish import Wish
from benchmarks.workload.trace import TraceKind
from engines.snapshot import state_home

WIDTH = 100
MOST_DAYS = 30.0
DAY_S = 86_400.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument_group("requests").add_argument
    add("--ledger", type=Path, metavar="FILE", help="ledger.sqlite3 of a router (default: that of SPILLWAY_HOME)")
    add("--days", type=float, default=MOST_DAYS, metavar="N", help="only the last N days of it, at most 30")
    add("--trace", type=Path, metavar="FILE", help="arrivals and lengths of .csv or .jsonl (.gz too), not a ledger")
    add("--trace-kind", choices=[*TraceKind], default="auto", help="whose columns (default: found out)")
    add = parser.add_argument_group("as it is now (default: as stack.toml, models.lock and the plan say)").add_argument
    add("--config", type=Path, default=Path("compose/stack.toml"), help="stack.toml to use")
    add("--models", default="[]", help=argparse.SUPPRESS)
    add("--plan", default="[]", help=argparse.SUPPRESS)
    add("--model", metavar="NAME", help="only the engines of this one")
    add("--engine", metavar="NAME", help=f"engines as measured: {', '.join(NAMED)}")
    add("--engines", type=int, metavar="N", help="how many there are of each model")
    add("--cloud", metavar=FORM, help="dollars a million tokens, and seconds")
    add(
        "--ttft-s", type=float, metavar="S", help="promised time to the first token (default: that of the tier; else 2)"
    )
    add("--tpot-s", type=float, metavar="S", help="promised mean time of the tokens after it (likewise; else 0.1)")
    add("--share", type=float, metavar="S", help="of the requests that must get both (likewise; else 0.99)")
    add("--seed", type=int, default=0, help="of the cloud's times (default 0)")
    add = parser.add_argument_group("answer").add_argument
    add("--picture", type=Path, metavar="FILE.png", help="the bill against engines and against the promise")
    add("--json", action="store_true", help="as JSON")


def main(options: argparse.Namespace) -> int:
    """Raises ValueError with a sentence where there is nothing to reckon with, OSError where there is no such file."""
    if options.picture is not None and options.picture.suffix != ".png":
        raise ValueError(f"--picture {options.picture}: name a file that ends in .png")
    check_place(options.picture)
    pools, notes = _pools(options)
    answers = _answers(pools)
    if options.picture is not None:
        # The library takes half a second to import, and only who wants a picture needs it.
        import_module("benchmarks.whatifs.picture").draw(answers, headline(answers), options.picture)
    if options.json:
        print(json.dumps(document(pools, answers, notes), indent=1))
        return 0
    console = Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False)
    console.print(page(pools, answers, notes))
    if options.picture is not None:
        console.print(f" written: {options.picture}", markup=False, soft_wrap=True)
    return 0


def _answers(pools: Sequence[Pool]) -> list[Answer]:
    """One case after the other, with a line on who is waited for."""
    with Console(stderr=True, highlight=False).status("") as status:

        def tell(pool: Pool, case: Case) -> None:
            more = f"{case.more:+} engines" if case.more else f"the promise x {case.factor:g}"
            status.update(f"{pool.name}: {'as it is now' if case == NOW else more}")

        return [answer_of(pool, partial(tell, pool)) for pool in pools]


def _pools(options: argparse.Namespace) -> tuple[Sequence[Pool], Sequence[str]]:
    """And what is not in them, in words."""
    if not 0 < options.days <= MOST_DAYS:
        raise ValueError(f"--days {options.days:g}: it must be above 0, and {MOST_DAYS:g} at most")
    wish = _wish(options)
    if options.trace is not None:
        arrivals = arrivals_in(options.trace, TraceKind(options.trace_kind), limit_s=options.days * DAY_S)
        return [pool_of(options.trace, arrivals, wish)], ()
    path = options.ledger or state_home() / "ledger.sqlite3"
    return pools_in(path, options.days, stack_in(options.config, options.models, options.plan), wish)


def _wish(options: argparse.Namespace) -> Wish:
    """Raises ValueError with a sentence."""
    if options.engine is not None and options.engine not in NAMED:
        raise ValueError(f"there is no engine {options.engine!r}; take one of {', '.join(NAMED)}")
    if options.engines is not None and options.engines < 1:
        raise ValueError(f"--engines {options.engines}: there must be one at least")
    times_s = [each for each in (options.ttft_s, options.tpot_s) if each is not None]
    if min(times_s, default=1.0) <= 0 or not (options.share is None or 0 < options.share <= 1):
        raise ValueError("--ttft-s and --tpot-s must be above 0 s, --share above 0 and at most 1")
    return Wish(
        model=options.model,
        engine=options.engine,
        engines=options.engines,
        cloud=None if options.cloud is None else cloud_in(options.cloud),
        ttft_s=options.ttft_s,
        tpot_s=options.tpot_s,
        share=options.share,
        seed=options.seed,
    )
