"""The next supervisor takes engines over: stand-in processes under real keepers that nobody attends to any more."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from engines.life import arrival, note
from engines.processes.orphans import start_ticks
from engines.snapshot import EngineState, EngineUse
from tests.engine_sites import Bench, behave, complete, is_restarted, real

TOKENS = 40
FEW_TOKENS_S = 0.02


async def test_the_next_supervisor_adopts_an_engine_and_drops_no_request(stage: Bench, aborts: Path) -> None:
    plan = real("one", "--aborts", str(aborts))
    before = stage.start(plan)
    first = await stage.ready(before)
    await behave(first.url, token_s=FEW_TOKENS_S)
    asked = asyncio.create_task(complete(first.url, TOKENS))
    await stage.until(before, lambda view: view.load is not None and view.load.running == 1)
    engine = stage.start(plan, found=stage.abandon(before))
    seen = await stage.ready(engine)
    assert (seen.pid, seen.url, seen.is_adopted, seen.restarts) == (first.pid, first.url, True, 0)
    assert (await asked)["text"] == "!" * TOKENS
    await stage.until(engine, lambda view: view.memory_bytes is not None)
    assert first.pid
    os.kill(first.pid, signal.SIGKILL)
    again = await stage.until(engine, is_restarted)
    assert (again.pid == first.pid, again.is_adopted) == (False, False)
    assert aborts.read_text() == ""


async def test_an_adopted_engine_that_nobody_wants_finishes_what_it_serves(stage: Bench, aborts: Path) -> None:
    plan = real("one", "--aborts", str(aborts))
    before = stage.start(plan)
    url = (await stage.ready(before)).url
    await behave(url, token_s=FEW_TOKENS_S)
    asked = asyncio.create_task(complete(url, TOKENS))
    await stage.until(before, lambda view: view.load is not None and view.load.running == 1)
    stage.routers.uses[url] = EngineUse(in_flight=1)
    engine = stage.start(plan, found=stage.abandon(before))
    engine.stop()
    assert (await asked)["text"] == "!" * TOKENS
    stage.routers.uses.clear()
    await stage.gone(engine)
    assert aborts.read_text() == ""


async def test_an_engine_that_still_starts_is_adopted_and_followed(stage: Bench, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    plan = real("one", "--wait-for", str(fifo))
    before = stage.start(plan)
    first = await stage.until(before, lambda view: view.state is EngineState.LOADING and view.pid is not None)
    engine = stage.start(plan, found=stage.abandon(before))
    await stage.state(engine, EngineState.WARMING)
    await asyncio.to_thread(fifo.write_text, "go")
    seen = await stage.ready(engine)
    assert (seen.pid, seen.is_adopted) == (first.pid, True)


@pytest.mark.parametrize("is_stopped", [True, False], ids=["stopped", "another's mark"])
async def test_one_that_is_not_ours_or_shows_no_life_is_ended_and_started_anew(
    stage: Bench, is_stopped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrival, "WRONG_S", 1.0)
    before = stage.start(real("one"))
    first = await stage.ready(before)
    record = stage.abandon(before)
    found = note.read(record.note)
    assert found
    assert first.pid
    if is_stopped:
        os.kill(first.pid, signal.SIGSTOP)
    else:
        record = replace(record, note=replace(found, mark="another").to_json())
    engine = stage.start(real("one"), found=record)
    again = await stage.until(engine, is_restarted)
    assert (again.pid == first.pid, again.is_adopted) == (False, False)
    assert start_ticks(first.pid) is None


async def test_a_record_that_nobody_can_read_is_ended_and_started_anew(stage: Bench) -> None:
    before = stage.start(real("one"))
    first = await stage.ready(before)
    engine = stage.start(real("one"), found=replace(stage.abandon(before), note="{}"))
    again = await stage.ready(engine)
    assert again.pid != first.pid
    assert first.pid
    assert start_ticks(first.pid) is None
