"""The same load three times at one stack: local only, all cloud, and as its tiers would have it; side by side.

Without --url a small stack of our own is started for it, with a stand-in cloud, and taken down again.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.cases.judgement import of_ways
from benchmarks.cases.options import add_arguments as add_shared
from benchmarks.cases.options import load_in, stack_in
from benchmarks.cases.outcome import Outcome, outcome_of
from benchmarks.cases.papers import document_of, leave, run_with
from benchmarks.cases.passes import cloud_tier_in, passes_with
from benchmarks.cases.session import INTERRUPTED, Session, run_session
from benchmarks.cases.stack import idle
from benchmarks.cases.table import ways_table
from benchmarks.cases.taking import Load, Taken
from benchmarks.figures.summary import why_barren
from benchmarks.workload.workload import arrivals_of

HELP = "the same load local only, all cloud and hybrid: promise kept, spill share, dollars"
TITLE = "The same load, three ways"


@dataclass(frozen=True, slots=True)
class Ways:
    """What was measured, way by way; fewer than three where it was interrupted."""

    taken: Sequence[Taken]
    outcomes: Sequence[Outcome]

    @property
    def interrupted(self) -> bool:
        """Ctrl-C ended it early."""
        return any(each.was_stopped for each in self.taken)


async def three_ways(session: Session) -> Ways:
    """One after the other, each on a stack that has nothing left to do from the one before.

    Raises ValueError where not one request of all three got an answer.
    """
    cloud_tier = cloud_tier_in(session.tiers)
    found: list[Taken] = []
    # Prompts from a file are the same in each pass, synthetic ones are not.
    for number, each in enumerate(passes_with(cloud_tier, marked=session.spec.prompts is not None)):
        await asyncio.to_thread(idle, session.stack, session.measuring.endpoint.limit_s)
        found.append(await session.take(Load(each.way, arrivals_of(session.spec, number), each.sent)))
        if found[-1].was_stopped:
            break
    if barren := why_barren([sample for each in found for sample in each.samples]):
        raise ValueError(barren)
    return Ways(
        found,
        [
            outcome_of(each.run.name, each.samples, each.run.summary.seconds, session.promises, each.tiers)
            for each in found
        ],
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    add_shared(parser)


def main(options: argparse.Namespace) -> int:
    """0 when all three were measured. Raises ValueError or OSError with a sentence."""
    spec = load_in(options)

    async def case(session: Session) -> tuple[Session, Ways]:
        return session, await three_ways(session)

    try:
        session, ways = run_session(options, spec, stack_in(options), case)
    except KeyboardInterrupt:
        return INTERRUPTED
    session.console.print("", ways_table(TITLE, ways.outcomes))
    verdict = [] if ways.interrupted else of_ways(*ways.outcomes)
    runs = [run_with(each, [outcome]) for each, outcome in zip(ways.taken, ways.outcomes, strict=True)]
    document = document_of("hybrid", TITLE, runs, verdict, interrupted=ways.interrupted)
    leave(document, ways.taken, options, session.console)
    return INTERRUPTED if ways.interrupted else 0
