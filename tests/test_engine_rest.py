"""One engine gives way and comes back: it rests, sleeps, wakes, and is kept from running."""

from __future__ import annotations

import os
import signal
from dataclasses import replace

from engines.processes.orphans import start_ticks
from engines.snapshot import EngineState, EngineUse
from tests.engine_sites import Bench, is_restarted, real


async def test_an_engine_rests_by_ending_and_wakes_by_starting(stage: Bench) -> None:
    engine = stage.start(real("one"), asleep=True)
    slept = await stage.state(engine, EngineState.SLEEPING)
    assert (slept.pid, slept.restarts) == (None, 0)
    engine.wake()
    first = await stage.ready(engine)
    stage.routers.uses[first.url] = EngineUse(in_flight=1)
    engine.rest()
    await stage.state(engine, EngineState.DRAINING)
    # Wanted again before it has finished what it serves.
    engine.wake()
    assert (await stage.ready(engine)).pid == first.pid
    engine.rest()
    stage.routers.uses.clear()
    slept = await stage.state(engine, EngineState.SLEEPING)
    assert (slept.pid, slept.last_error) == (None, None)
    engine.wake()
    assert (await stage.ready(engine)).pid != first.pid


async def test_an_engine_that_may_sleep_keeps_its_process_and_is_adopted_asleep(stage: Bench) -> None:
    plan = replace(real("one"), may_sleep=True)
    before = stage.start(plan)
    first = await stage.ready(before)
    before.rest()
    slept = await stage.state(before, EngineState.SLEEPING)
    # What it holds now nobody has read yet.
    assert (slept.pid, slept.memory_bytes) == (first.pid, None)
    engine = stage.start(plan, found=stage.abandon(before))
    slept = await stage.state(engine, EngineState.SLEEPING)
    assert slept.pid == first.pid
    engine.wake()
    assert (await stage.ready(engine)).pid == first.pid
    engine.rest()
    await stage.state(engine, EngineState.SLEEPING)
    engine.stop()
    await stage.gone(engine)


async def test_a_process_that_dies_asleep_is_no_reason_to_start_it(stage: Bench) -> None:
    engine = stage.start(replace(real("one"), may_sleep=True))
    pid = (await stage.ready(engine)).pid
    engine.rest()
    await stage.state(engine, EngineState.SLEEPING)
    assert pid
    os.kill(pid, signal.SIGKILL)
    slept = await stage.until(engine, lambda view: view.pid is None)
    slept = await stage.state(engine, EngineState.SLEEPING)
    assert slept.restarts == 0
    engine.wake()
    await stage.until(engine, is_restarted)


async def test_quarantine_ends_an_engine_and_mending_brings_it_back(stage: Bench) -> None:
    engine = stage.start(real("one"))
    pid = (await stage.ready(engine)).pid
    engine.quarantine("GPU-a has fallen off the bus")
    closed = await stage.state(engine, EngineState.QUARANTINED)
    assert (closed.is_final, closed.pid, closed.last_error) == (True, None, "GPU-a has fallen off the bus")
    assert pid
    assert start_ticks(pid) is None
    engine.mend()
    await stage.ready(engine)


async def test_an_engine_in_quarantine_can_be_stopped(stage: Bench) -> None:
    engine = stage.start(real("one"))
    engine.quarantine("GPU-a is lost")
    await stage.state(engine, EngineState.QUARANTINED)
    engine.stop()
    await stage.gone(engine)
    assert engine.state is EngineState.STOPPED
