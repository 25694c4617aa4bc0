"""Find the highest load that keeps a promise, in few runs; or try the loads that --loads names.

--rate (open loop), --users (closed loop) or --scale (a trace) say what is raised, and where to begin. Each load lasts
--duration. Ctrl-C still reports what was measured. Status 1 where no load kept the promise.
"""

from __future__ import annotations

import argparse
import sys

import uvloop

from benchmarks import output, scene
from benchmarks.scene import Scene
from benchmarks.search.course import Course
from benchmarks.search.meter import Load, Meter, load_in
from benchmarks.search.options import add_bounds, bounds_in, check_promise, loads_in
from benchmarks.search.saturation import Knee
from benchmarks.search.shown import curve, heading, knee_json, row, sentence
from benchmarks.workload import workload
from benchmarks.workload.spec import Spec

PROMISE = "ttft_s=2,tpot_s=0.1"
INTERRUPTED = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    scene.add_arguments(parser, PROMISE)
    workload.add_arguments(parser)
    add_bounds(parser)
    parser.add_argument("--loads", metavar="LIST", help="try these and no others: 1,2,4 or FROM:TO:STEP")
    output.add_arguments(parser)


def main(options: argparse.Namespace) -> int:
    """Raises ValueError with a sentence when nothing can be measured."""
    loads = loads_in(options.loads) if options.loads else None
    spec = spec_of(options)
    try:
        place, spec = uvloop.run(prepared(options, spec))
        meter, load = Meter(place, spec), load_in(spec)
        say(f"{place.endpoint.root}, {place.server.model}: {place.promise}; loads in {load}")
        first = None if loads else first_of(options, meter)
    except KeyboardInterrupt:
        # Nothing was measured that a report could hold.
        return INTERRUPTED
    course = Course(
        meter, check_promise(place.promise), load is Load.RATE, meter.was_cut, saw=lambda each: say(row(each))
    )
    say(heading())
    knee = course.searched(bounds_in(options, first, load)) if first else course.swept(loads or [])
    return _reported(options, place, meter, course, knee)


def spec_of(options: argparse.Namespace) -> Spec:
    """An open loop where nothing else is asked for; its rate is set for each load."""
    if options.rate is None and options.users is None and options.trace is None:
        return workload.spec_in(argparse.Namespace(**{**vars(options), "rate": 1.0}))
    return workload.spec_in(options)


async def prepared(options: argparse.Namespace, spec: Spec) -> tuple[Scene, Spec]:
    """What serves, asked; and that one request alone keeps the promise."""
    place = await scene.scene_of(options)
    spec = scene.fitted(spec, place)
    await scene.check_alone(place, spec)
    return place, spec


def first_of(options: argparse.Namespace, meter: Meter) -> float:
    """Where to begin: as asked, or with about one request at a time."""
    load = load_in(meter.spec)
    if load is Load.RATE:
        return float(options.rate or meter.rate_alone())
    return float(options.scale if load is Load.SCALE else options.users)


def say(text: str) -> None:
    """A line of the report as it grows."""
    print(text, flush=True)


def _reported(options: argparse.Namespace, place: Scene, meter: Meter, course: Course, knee: Knee) -> int:
    load = load_in(meter.spec)
    run = course.run_of(knee)
    for line in ("", *curve(course.looks, knee), "", sentence(knee, load), ""):
        say(line)
    if not course.tried:
        print("nothing was measured: it was stopped before the first load ended", file=sys.stderr)
        return INTERRUPTED
    document = output.document_of(
        "sweep",
        f"The highest load that keeps the promise at {place.endpoint.root}",
        place,
        [each.run for each in course.tried],
        summary=run.summary if run else None,
        knee=knee_json(knee, run, course.seconds, load),
        interrupted=course.interrupted,
    )
    status = output.present(document, meter.samples_by_run(course.tried), options)
    return status if knee.load else output.BROKEN
