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
from pathlib import Path

from rich.console import Console
from rich.text import Text

from benchmarks.simulator.arrival import arrivals_in
from benchmarks.simulator.cloud_times import FORM, cloud_in
from benchmarks.simulator.named import NAMED
from benchmarks.whatifs.answer import Answer, answer_of, together
from benchmarks.whatifs.pool import Pool
from benchmarks.whatifs.pools import pools_in
from benchmarks.whatifs.sentence import percent, sentence, usd
from benchmarks.whatifs.stack import stack_in
from benchmarks.whatifs.table import cases_table, lasting
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
    add("--ttft-s", type=float, metavar="S", help="promised time to the first token (default: that of the tier; else 2)")
    add("--tpot-s", type=float, default=0.1, metavar="S", help="promised mean time of the tokens after it (0.1)")
    add("--share", type=float, default=0.99, help="of the requests that must get both (default 0.99)")
    add("--seed", type=int, default=0, help="of the cloud's times (default 0)")
    add = parser.add_argument_group("answer").add_argument
    add("--picture", type=Path, metavar="FILE.png", help="the bill against engines and against the promise")
    add("--json", action="store_true", help="as JSON")


def main(options: argparse.Namespace) -> int:
    """Raises ValueError with a sentence where there is nothing to reckon with, OSError where there is no such file."""
    if options.picture is not None and options.picture.suffix != ".png":
        raise ValueError(f"--picture {options.picture}: name a file that ends in .png")
    notes = Console(stderr=True, highlight=False)
    pools = _pools(options)
    answers = []
    with notes.status("") as status:
        for pool in pools:
            name = pool.name
            answers.append(answer_of(pool, lambda case, name=name: status.update(f"{name}: {case}")))
    shown = [together(answers), *answers] if len(answers) > 1 else answers
    if options.picture is not None:
        # Drawing is imported only where a picture is wanted: it takes a second.
        from benchmarks.whatifs.picture import draw  # noqa: PLC0415

        draw(answers, sentence(shown[0]), options.picture)
    if options.json:
        print(json.dumps(_document(pools, shown), indent=1))
        return 0
    _print(pools, answers, shown)
    if options.picture is not None:
        print(f"written: {options.picture}")
    return 0


def _pools(options: argparse.Namespace) -> Sequence[Pool]:
    wish = _wish(options)
    if options.trace is not None:
        return [pool_of(options.trace, arrivals_in(options.trace, TraceKind(options.trace_kind)), wish)]
    if not 0 < options.days <= MOST_DAYS:
        raise ValueError(f"--days {options.days:g}: it must be above 0, and {MOST_DAYS:g} at most")
    path = options.ledger or state_home() / "ledger.sqlite3"
    return pools_in(path, options.days, stack_in(options.config, options.models, options.plan), wish)


def _wish(options: argparse.Namespace) -> Wish:
    """Raises ValueError with a sentence."""
    if options.engine is not None and options.engine not in NAMED:
        raise ValueError(f"there is no engine {options.engine!r}; take one of {', '.join(NAMED)}")
    if options.engines is not None and options.engines < 1:
        raise ValueError(f"--engines {options.engines}: there must be one at least")
    if min(options.ttft_s or 1.0, options.tpot_s) <= 0 or not 0 < options.share <= 1:
        raise ValueError("--ttft-s and --tpot-s must be above 0 s, --share above 0 and at most 1")
    cloud = None if options.cloud is None else cloud_in(options.cloud)
    return Wish(
        options.model, options.engine, options.engines, cloud, options.ttft_s, options.tpot_s, options.share, options.seed
    )


def _print(pools: Sequence[Pool], answers: Sequence[Answer], shown: Sequence[Answer]) -> None:
    console = Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False)
    console.print(Text(sentence(shown[0]), style="bold"))
    by_name = {answer.name: pool for pool, answer in zip(pools, answers, strict=True)}
    for answer in shown:
        asked = answer.period
        console.print(Text(f"\n{answer.name}: {asked.requests:,} requests in {lasting(asked.lasts_s)}", style="bold"))
        if len(shown) > 1 and answer is not shown[0]:
            console.print(sentence(answer), markup=False)
        console.print(cases_table(answer), end="")
        for line in _lines(answer, by_name.get(answer.name)):
            console.print(Text(f" {line}", style="dim"))


def _lines(answer: Answer, pool: Pool | None) -> list[str]:
    """What the figures stand on."""
    if pool is None:
        return []
    lines = []
    if answer.actual is not None:
        month = pool.period.per_month
        lines.append(
            f"simulated {percent(answer.now.spilled_share)} spilled, real {percent(answer.actual.spilled_share)}; "
            f"simulated {usd(answer.now.month_usd)} a month, real {usd(answer.actual.usd * month)}"
        )
    promise = pool.setting.promise
    lines.append(
        f"promise: TTFT <= {promise.ttft_s:g} s and TPOT <= {promise.tpot_s:g} s for {promise.share * 100:g} %; "
        f"looked at {pool.seen}"
    )
    return [*lines, *pool.notes]


def _document(pools: Sequence[Pool], shown: Sequence[Answer]) -> dict[str, object]:
    notes = {pool.name: [f"looked at {pool.seen}", *pool.notes] for pool in pools}
    return {
        "sentence": sentence(shown[0]),
        "models": [{**each.document(), "notes": notes.get(each.name, [])} for each in shown],
    }
