"""Three minutes on what runs here: one user alone, as many as it takes, the highest load that keeps the promise.

Ends with a verdict in ten lines and the path of a page. Requests stay on this machine (`x-spillway-privacy:
local-only`): a measurement must not spend money. Ctrl-C keeps what was measured until then.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import uvloop

from benchmarks import output, scene
from benchmarks.measure import Measured
from benchmarks.scene import Scene
from benchmarks.search.course import Course
from benchmarks.search.meter import Load, Meter
from benchmarks.search.options import check_promise
from benchmarks.search.saturation import Bounds
from benchmarks.search.shown import heading, knee_json, row
from benchmarks.workload import workload
from benchmarks.workload.spec import Spec

PROMISE = "ttft_s=2,tpot_s=0.1"
MINUTES = 3.0
USERS = 64
INPUT_TOKENS, OUTPUT_TOKENS, MIX = "256", "64", "local_only=1"
# Of the whole time: one user, many users, and each load of the search, which has the rest.
ALONE_SHARE, FULL_SHARE, LOAD_SHARE = 0.08, 0.1, 0.06
# Between two loads: the last answers, the looks at engines, new prompts.
BETWEEN_S = 1.5
# A search that is given so little time says so by a wide interval, not by many runs.
TOLERANCE = 0.1
DEPTH = 256.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    scene.add_arguments(parser, PROMISE)
    workload.add_arguments(parser)
    parser.set_defaults(input_tokens=INPUT_TOKENS, output_tokens=OUTPUT_TOKENS, mix=MIX)
    parser.add_argument("--minutes", type=float, default=MINUTES, help="how long it may take (%(default)g)")
    parser.add_argument("--most-users", type=int, default=USERS, help="at once, for the most tokens/s (%(default)s)")
    output.add_arguments(parser)


def main(options: argparse.Namespace) -> int:
    """Status 1 where no load kept the promise. Raises ValueError with a sentence when nothing can be measured."""
    if not options.minutes > 0 or options.most_users < 1:
        raise ValueError("--minutes and --most-users must be above 0")
    until_s = time.monotonic() + options.minutes * 60.0
    asked = replace(workload.spec_in(options), rate=None, trace=None, requests=None, users=1)
    place, spec = uvloop.run(prepared(options, asked))
    print(f"{place.endpoint.root}, {place.server.model}: {place.promise}", flush=True)
    session = Session(place, spec, options.minutes * 60.0, until_s)
    try:
        session.run(options.most_users)
    except KeyboardInterrupt:
        session.interrupted = True
    return reported(session, options)


async def prepared(options: argparse.Namespace, spec: Spec) -> tuple[Scene, Spec]:
    """What serves: of a Spillway the model of an engine that is ready. Raises ValueError with a sentence."""
    place = await scene.scene_of(options)
    if options.model is None and place.server.is_spillway:
        # Asked again: another model may have another context.
        options.model = model_ready(place.server.status)
        place = await scene.scene_of(options)
    spec = scene.fitted(spec, place)
    await scene.check_alone(place, spec)
    return place, spec


def model_ready(status: Mapping[str, Any]) -> str:
    """The model of the first engine that is ready. Raises ValueError when none is."""
    for engine in status.get("engines", ()):
        if engine.get("state") == "ready":
            return str(engine["model"])
    raise ValueError("no engine is ready: see `spillway status`, and `spillway logs` for the reason")


@dataclass(slots=True)
class Session:
    """One bench: its parts in order, and what they leave. Interrupted, it has what was measured until then."""

    place: Scene
    spec: Spec
    seconds: float
    until_s: float
    parts: list[Measured] = field(default_factory=list)
    course: Course | None = None
    meter: Meter | None = None
    knee: dict[str, Any] | None = None
    interrupted: bool = False

    def run(self, most_users: int) -> None:
        """All of it, within its time."""
        alone = self._users(1, ALONE_SHARE)
        self._users(most_users, FULL_SHARE)
        load_s = self.seconds * LOAD_SHARE
        self.meter = Meter(self.place, replace(self.spec, users=None, rate=1.0, duration_s=load_s))
        self.course = Course(
            self.meter, check_promise(self.place.promise), is_rate=True, saw=lambda each: _say(row(each))
        )
        first = float(f"{max(alone.run.summary.requests_per_s, 1e-3):.2g}")
        runs = max(2, int((self.until_s - time.monotonic()) / (load_s + BETWEEN_S)))
        _say(heading())
        knee = self.course.searched(
            Bounds(first, first / DEPTH, first * DEPTH, TOLERANCE, confirmations=1, most_runs=runs)
        )
        self.knee = knee_json(knee, self.course.run_of(knee), self.course.seconds, Load.RATE)

    def _users(self, users: int, share: float) -> Measured:
        """So many at once, in a closed loop, with no promise to end it early."""
        place = replace(self.place, promise=None)
        spec = replace(self.spec, users=users, duration_s=self.seconds * share)
        meter = Meter(place, spec)
        meter(users)
        self.parts.append(meter.taken[-1])
        summary = meter.taken[-1].run.summary
        _say(f"{spec.name}: {summary.output_tokens_per_s:,.0f} tokens/s, {summary.requests_per_s:.3g} answers/s")
        return meter.taken[-1]


def reported(session: Session, options: argparse.Namespace) -> int:
    """Tables, verdict, page."""
    course, meter = session.course, session.meter
    tried = course.tried if course else []
    runs = [*(each.run for each in session.parts), *(each.run for each in tried)]
    if not runs:
        raise ValueError("nothing was measured: it was stopped before the first load ended")
    samples = output.by_run(session.parts) | (meter.samples_by_run(tried) if meter else {})
    run = next((each.run for each in tried if session.knee and each.run.name == session.knee["run"]), None)
    folder = _folder()
    options.json, options.html = options.json or folder / "bench.json", options.html or folder / "bench.html"
    document = output.document_of(
        "bench",
        f"{session.place.server.model} on this machine",
        session.place,
        runs,
        summary=(run or runs[-1]).summary,
        knee=session.knee,
        interrupted=session.interrupted,
    )
    status = output.present(document, samples, options)
    _say(f"the page: {options.html.resolve().as_uri()}")
    return status if run else output.BROKEN


def _folder() -> Path:
    """Of this bench, beside the other state of the stack."""
    home = Path(os.environ.get("SPILLWAY_HOME", ".spillway"))
    return home / "bench" / f"{datetime.now():%Y-%m-%d-%H%M%S}"


def _say(text: str) -> None:
    print(text, flush=True)
