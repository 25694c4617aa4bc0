"""The same load three times at one stack: local only, all cloud, and as its tiers would have it; side by side.

Without --url a small stack of our own is started for it, with a stand-in cloud, and taken down again. With --rivals
it is one way at three routers: LiteLLM's proxy, a count of requests in flight, and Spillway, in front of real vLLM.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace as replaced

from msgspec.structs import replace
from rich.console import RenderableType

from benchmarks.cases.judgement import of_ways
from benchmarks.cases.options import add_arguments as add_shared
from benchmarks.cases.options import load_in, stack_in
from benchmarks.cases.outcome import Outcome, outcome_of
from benchmarks.cases.papers import document_of, present, run_with
from benchmarks.cases.passes import cloud_tier_in, passes_with
from benchmarks.cases.session import INTERRUPTED, Session, run_session
from benchmarks.cases.stack import idle
from benchmarks.cases.table import promise_line, ways_table
from benchmarks.cases.taking import Load, Taken
from benchmarks.rivals import verb as rivals
from benchmarks.workload.workload import arrivals_of

TITLE = "The same load, three ways"


@dataclass(frozen=True, slots=True)
class Ways:
    """What was measured, way by way; fewer than three where it was interrupted."""

    taken: Sequence[Taken]
    outcomes: Sequence[Outcome]


async def three_ways(session: Session) -> Ways:
    """One after the other, each on a stack that has nothing left to do from the one before.

    Raises ValueError where no tier prefers the cloud, or not one request of a pass got an answer.
    """
    cloud_tier = cloud_tier_in(session.place.server.status.get("tiers", ()))
    await session.warm()
    found: list[Taken] = []
    # Prompts from a file are the same in each pass, synthetic ones are not.
    for number, each in enumerate(passes_with(cloud_tier, marked=session.spec.prompts is not None)):
        await asyncio.to_thread(idle, session.stack, session.place.endpoint.limit_s)
        found.append(await session.take(Load(each.way, arrivals_of(session.spec, number), each.sent)))
        if found[-1].was_stopped:
            break
    return Ways(found, [_outcome(session, each) for each in found])


def _outcome(session: Session, found: Taken) -> Outcome:
    run = found.run
    outcome = outcome_of(run.name, found.samples, run.summary.seconds, session.promises, found.tiers)
    # Without a ledger, what the router's own meter of its spending grew by is the next best.
    return outcome if outcome.usd is not None else replaced(outcome, usd=run.costs.cloud_usd)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    add_shared(parser)
    rivals.add_arguments(parser)


def main(options: argparse.Namespace) -> int:
    """0 when the hybrid kept what was promised, else 1. Raises ValueError or OSError with a sentence."""
    if options.rivals:
        return rivals.main(options)
    rivals.check_absent(options)
    try:
        session, ways = run_session(options, load_in(options), stack_in(options), three_ways)
    except KeyboardInterrupt:
        return INTERRUPTED
    runs = [run_with(each, [outcome]) for each, outcome in zip(ways.taken, ways.outcomes, strict=True)]
    document = document_of("hybrid", TITLE, session, ways.taken, runs)
    if not document.interrupted:
        document = replace(document, verdict=of_ways(*ways.outcomes))
    shown: list[RenderableType] = [ways_table(TITLE, ways.outcomes), promise_line(session.promises)]
    return present(document, ways.taken, shown, options)
