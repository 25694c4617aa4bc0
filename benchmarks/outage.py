"""A load while things break at given times: what was promised is judged phase by phase, from one fault to the next.

Without --url a small stack of our own is started for it, with a stand-in cloud, and taken down again. At a stack that
runs, only the stand-in cloud named by --cloud-url can be broken.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from msgspec.structs import replace
from rich.console import RenderableType

from benchmarks.cases.fault import EXAMPLE, Break, Fault, faults_in
from benchmarks.cases.judgement import of_phases
from benchmarks.cases.options import add_arguments as add_shared
from benchmarks.cases.options import end_of, load_in, stack_in
from benchmarks.cases.outcome import Outcome, outcome_of
from benchmarks.cases.papers import document_of, present, run_with
from benchmarks.cases.phase import Phase, by_phase, phases_of
from benchmarks.cases.session import INTERRUPTED, Session, run_session
from benchmarks.cases.strike import must_be_possible
from benchmarks.cases.table import causes_table, events_text, phases_table, promise_line
from benchmarks.cases.taking import Load, Taken
from benchmarks.workload.workload import arrivals_of

TITLE = "Phase by phase"


@dataclass(frozen=True, slots=True)
class Course:
    """What was measured, phase by phase; the phases that an interrupted run did not reach are left out."""

    taken: Taken
    phases: Sequence[Phase]
    outcomes: Sequence[Outcome]


async def judged(session: Session, load: Load, faults: Sequence[Fault], phases: Sequence[Phase]) -> Course:
    """Measure the load while the faults strike. Raises ValueError where not one request got an answer."""
    must_be_possible(faults, session.stack)
    found = await session.take(load, faults)
    reached = [phase for phase in phases if phase.from_s < found.run.summary.seconds]
    outcomes = [
        outcome_of(phase.name, samples, phase.seconds, session.promises, found.tiers)
        for phase, samples in zip(reached, by_phase(found.samples, reached), strict=True)
    ]
    return Course(found, reached, outcomes)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    add_shared(parser)
    parser.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="SECONDS:NAME",
        help=f"may be given again, such as {EXAMPLE}: {', '.join(Break)}",
    )


def main(options: argparse.Namespace) -> int:
    """0 when each phase kept what was promised, else 1. Raises ValueError or OSError with a sentence."""
    if not options.fault:
        raise ValueError(f"--fault names what breaks and when, such as {EXAMPLE}; it may be given more than once")
    faults, spec = faults_in(options.fault), load_in(options)
    phases = phases_of(faults, end_of(spec))

    async def case(session: Session) -> Course:
        return await judged(session, Load("outage", arrivals_of(session.spec)), faults, phases)

    try:
        session, course = run_session(options, spec, stack_in(options), case)
    except KeyboardInterrupt:
        return INTERRUPTED
    return presented("outage", TITLE, session, course, options, faults)


def presented(
    verb: str,
    title: str,
    session: Session,
    course: Course,
    options: argparse.Namespace,
    faults: Sequence[Fault] = (),
) -> int:
    """Phase by phase, in tables, words and files; the exit code."""
    taken, phases, outcomes = course.taken, course.phases, course.outcomes
    document = document_of(verb, title, session, [taken], [run_with(taken, outcomes)])
    document = replace(document, verdict=of_phases(phases, outcomes, faults, taken.run.events))
    shown: list[RenderableType] = [
        phases_table(title, phases, outcomes),
        promise_line(session.promises),
        causes_table(phases, outcomes),
        events_text(taken.run.events),
    ]
    return present(document, [taken], shown, options)
