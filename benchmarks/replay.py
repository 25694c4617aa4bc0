"""One trace at one endpoint, at its own times or scaled; what was promised is judged over its course, part by part.

The endpoint is a router or an engine named by --url; without it a small stack of our own is started.
"""

from __future__ import annotations

import argparse

from benchmarks.cases.judgement import of_phases
from benchmarks.cases.options import add_arguments as add_shared
from benchmarks.cases.options import end_of, load_in, stack_in
from benchmarks.cases.papers import document_of, leave, run_with
from benchmarks.cases.phase import slices_of
from benchmarks.cases.session import INTERRUPTED, Session, run_session
from benchmarks.cases.table import causes_table, phases_table
from benchmarks.cases.taking import Load
from benchmarks.faults import Course, judged
from benchmarks.workload.workload import arrivals_of

HELP = "a trace at its own times or scaled, judged part by part"
TITLE = "The course of the trace"
SLICES = 6


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    add_shared(parser)
    parser.add_argument("--slices", type=int, default=SLICES, help="parts that are judged by themselves (%(default)s)")


def main(options: argparse.Namespace) -> int:
    """0 when it was measured. Raises ValueError or OSError with a sentence."""
    if options.trace is None:
        raise ValueError("--trace names the file to replay; for a load without one there is `load`")
    if options.slices < 1:
        raise ValueError(f"--slices {options.slices} must be at least 1")
    spec = load_in(options)
    times_s = [each.at_s for each in arrivals_of(spec)] if spec.open else []
    end_s = end_of(spec, times_s[-1] if times_s else None)
    phases = slices_of(options.slices, end_s)

    async def case(session: Session) -> tuple[Session, Course]:
        if times_s:
            session.console.print(f"trace: {len(times_s)} requests in {end_s:.1f} s", highlight=False)
        return session, await judged(session, Load(spec.name, arrivals_of(spec)), (), phases)

    try:
        session, course = run_session(options, spec, stack_in(options), case)
    except KeyboardInterrupt:
        return INTERRUPTED
    session.console.print("", phases_table(TITLE, course.phases, course.outcomes))
    session.console.print(causes_table(course.phases, course.outcomes))
    run = run_with(course.taken, course.outcomes)
    verdict = of_phases(course.phases, course.outcomes, (), ())
    document = document_of("replay", f"{TITLE}: {spec.name}", [run], verdict, interrupted=course.taken.was_stopped)
    leave(document, [course.taken], options, session.console)
    return INTERRUPTED if course.taken.was_stopped else 0
