"""Everything that happens to a GPU server at night, done to a stack of its own: kills, hangs, lost cards, edits.

Each fault strikes while requests come. Judged is what their senders saw, how soon the supervisor knew, how long it took
until all was as planned, and what was left behind. vLLM runs on the processor; what it cannot be made to do, a fake
engine does under the same supervisor.
"""

from __future__ import annotations

import argparse
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import uvloop
from rich.console import Console

from benchmarks.cases.session import INTERRUPTED
from benchmarks.night.case import Case
from benchmarks.night.judgement import Row, end_row, row_of
from benchmarks.night.scenery import Engines
from benchmarks.night.stage import Stage, staged
from benchmarks.night.suite import Act, acts, chosen
from benchmarks.night.table import markdown, missed, shown, to_json
from benchmarks.night.trial import tried, untried
from benchmarks.night.visit import of_fake
from benchmarks.night.visitors import PROMPTS, TOKENS, learned
from benchmarks.report.origin import machine_of

Say = Callable[[str], None]
# Of the table, where nobody says how wide it may be.
WIDTH = 128


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="this fault; may be given again")
    parser.add_argument("--list", action="store_true", help="what there is")
    engines = parser.add_mutually_exclusive_group()
    engines.add_argument("--fake", action="store_true", help="with fake engines alone; what needs vLLM is left out")
    engines.add_argument("--real", action="store_true", help="with vLLM alone; what needs a fake is left out")
    parser.add_argument("--json", type=Path, metavar="FILE", help="every figure, and what was left over")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="the table for a README")


def main(options: argparse.Namespace) -> int:
    """0 when every aim was met, 1 when not, 130 when interrupted: then what was judged so far is shown and written.
    Raises ValueError or OSError with a sentence."""
    engines = Engines.FAKE if options.fake else Engines.REAL if options.real else None
    cases = chosen(options.only, engines)
    if options.list:
        print("\n".join(f"{case.name:22} {case.scenery.words:16} {case.what}" for case in cases))
        return 0
    if not cases:
        raise ValueError("none of these faults can be had with these engines")
    # Whoever ends the suite must not leave a stack behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)
    rows, is_interrupted = list[Row](), False
    try:
        for act in acts(cases):
            play(act, rows, console.print)
    except KeyboardInterrupt:
        is_interrupted = True
        console.print("interrupted; judged so far:")
    _report(rows, options)
    if is_interrupted:
        return INTERRUPTED
    return 0 if all(row.is_kept for row in rows) else 1


def _report(rows: Sequence[Row], options: argparse.Namespace) -> None:
    out = Console(highlight=False, markup=False)
    out.width = max(out.width, WIDTH)
    out.print(shown(rows))
    for line in missed(rows):
        out.print(line, soft_wrap=True)
    if options.json:
        options.json.write_text(to_json(rows, machine_of()), encoding="utf-8")
    if options.markdown:
        options.markdown.write_text(markdown(rows), encoding="utf-8")


def play(act: Act, rows: list[Row], say: Say) -> None:
    """One stack from `up` to `down`, with its faults in between, which go to `rows` as they are judged. A stack that
    does not come up loses all of them."""
    words, judged_before = act.scenery.words, len(rows)
    began_s = time.monotonic()
    say(f"{words}: starting a stack for {', '.join(case.name for case in act.cases)}")
    stage: Stage | None = None
    failure = ""
    try:
        with staged(act.scenery, act.conduct) as stage:
            uvloop.run(_try(act.cases, stage, rows, say))
            began_s = time.monotonic()
    except ValueError as error:
        failure = str(error)
    for case in act.cases[len(rows) - judged_before :]:
        rows.append(row_of(case, untried("there was no stack for it", began_s), words))
    end = end_row(words, stage.left if stage else (), failure, time.monotonic() - began_s)
    say(_line(end))
    rows.append(end)


async def _try(cases: Sequence[Case], stage: Stage, rows: list[Row], say: Say) -> None:
    known = await _known(stage)
    for case in cases:
        rows.append(row_of(case, await tried(case, stage, known), stage.scenery.words))
        say(_line(rows[-1]))


async def _known(stage: Stage) -> dict[int, str]:
    """What home must say: the fake one's words stand in its code, vLLM is asked while nothing else runs."""
    if stage.scenery.engines is not Engines.REAL:
        return dict.fromkeys(range(len(PROMPTS)), of_fake(TOKENS))
    first, again = await learned(stage.url), await learned(stage.url)
    # What is not always answered alike is checked for its form only.
    return {number: text for number, text in first.items() if again[number] == text}


def _line(row: Row) -> str:
    verdict = "kept" if row.is_kept else "MISSED: " + " | ".join(row.misses)
    return f"  {row.name} ({row.seconds:.0f} s): {verdict}"
