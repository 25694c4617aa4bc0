"""Send one load to an OpenAI-compatible endpoint and say what it met: latencies, rates, errors, dollars.

Ctrl-C ends it early and still writes the report. Status 1 where the run is not valid, a request failed or the promise
was broken.
"""

from __future__ import annotations

import argparse
import asyncio
import signal

import uvloop

from benchmarks import output, scene
from benchmarks.measure import Measured, Measuring
from benchmarks.scene import Scene
from benchmarks.screen import Screen
from benchmarks.workload import workload
from benchmarks.workload.spec import Spec


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    scene.add_arguments(parser)
    workload.add_arguments(parser)
    output.add_arguments(parser)


def main(options: argparse.Namespace) -> int:
    """Raises ValueError with a sentence when nothing can be measured."""
    spec = workload.spec_in(options)
    place, measured = uvloop.run(_measured(options, spec))
    title = f"{measured.run.name} at {place.endpoint.root}"
    document = output.document_of(
        "load", title, place, [measured.run], summary=measured.run.summary, interrupted=measured.was_stopped
    )
    return output.present(document, output.by_run([measured]), options)


async def _measured(options: argparse.Namespace, spec: Spec) -> tuple[Scene, Measured]:
    place = await scene.scene_of(options)
    spec = scene.fitted(spec, place)
    await scene.check_alone(place, spec)
    screen, stop = Screen(), asyncio.Event()
    # The first Ctrl-C ends the load and keeps what it has; a second one ends us.
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, stop.set)
    async with screen.shown():
        measured = await Measuring(place, stop, screen.began)(spec)
    loop.remove_signal_handler(signal.SIGINT)
    return place, measured
