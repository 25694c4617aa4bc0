"""One trace at one endpoint, at its own times or scaled; what was promised is judged over its course, part by part.

The endpoint is a router or an engine named by --url; without it a small stack of our own is started.
"""

from __future__ import annotations

import argparse

from benchmarks.cases.options import add_arguments as add_shared
from benchmarks.cases.options import end_of, load_in, stack_in
from benchmarks.cases.phase import slices_of
from benchmarks.cases.session import INTERRUPTED, Session, run_session
from benchmarks.cases.taking import Load
from benchmarks.outage import Course, judged, presented
from benchmarks.workload.workload import arrivals_of

SLICES = 6


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    add_shared(parser)
    parser.add_argument("--slices", type=int, default=SLICES, help="parts that are judged by themselves (%(default)s)")


def main(options: argparse.Namespace) -> int:
    """0 when each part kept what was promised, else 1. Raises ValueError or OSError with a sentence."""
    if options.trace is None:
        raise ValueError("--trace names the file to replay; for a load without one there is `load`")
    if options.slices < 1:
        raise ValueError(f"--slices {options.slices} must be at least 1")
    spec = load_in(options)
    end_s = end_of(spec)
    phases = slices_of(options.slices, end_s)

    async def case(session: Session) -> Course:
        return await judged(session, Load(spec.name, arrivals_of(session.spec)), (), phases)

    try:
        session, course = run_session(options, spec, stack_in(options), case)
    except KeyboardInterrupt:
        return INTERRUPTED
    title = f"{spec.name}: {course.taken.run.summary.requests} requests in {end_s:.1f} s"
    return presented("replay", title, session, course, options)
