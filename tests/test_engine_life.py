"""One engine, carried through its life: stand-in processes, real keepers, routers as the test says."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from engines.gpus.gpu import Gpu, GpuProcess
from engines.life import arrival, note
from engines.life.holding import gpu_bytes, host_bytes
from engines.life.last_words import last_words
from engines.life.site import FetchError
from engines.life.trials import Trials
from engines.plan import EnginePlan
from engines.processes.orphans import start_ticks
from engines.snapshot import EngineState, EngineUse, EngineView
from engines.starting import failure
from engines.starting.ladder import MOST_CRASHES
from tests.engine_sites import Bench, behave, bench, complete
from tests.supervised import engine_plan

TOKENS = 40
FEW_TOKENS_S = 0.02


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench(tmp_path / "home") as made:
        yield made


@pytest.fixture
def aborts(tmp_path: Path) -> Path:
    path = tmp_path / "aborts"
    path.touch()
    return path


def real(name: str, *words: str) -> EnginePlan:
    """One that tells its steps."""
    return engine_plan(name, "--steps", *words)


def is_restarted(view: EngineView) -> bool:
    return view.state is EngineState.READY and view.restarts == 1


async def test_an_engine_that_serves_is_seen_with_all_that_is_known_of_it(stage: Bench) -> None:
    engine = stage.start(replace(real("one"), served_name="one-served", slots=3), weight=lambda uuids: 0.5)
    seen = await stage.until(engine, lambda view: view.memory_bytes is not None)
    assert (seen.served_name, seen.slots, seen.weight, seen.is_adopted) == ("one-served", 3, 0.5, False)
    assert seen.memory_bytes is not None
    assert seen.memory_bytes > 2**20
    assert seen.memory_age_s is not None
    assert seen.load is not None


async def test_what_is_in_flight_is_finished_before_the_engine_is_told_to_end(stage: Bench, aborts: Path) -> None:
    engine = stage.start(real("one", "--aborts", str(aborts)))
    url = (await stage.ready(engine)).url
    await behave(url, token_s=FEW_TOKENS_S)
    asked = asyncio.create_task(complete(url, TOKENS))
    await stage.until(engine, lambda view: view.load is not None and view.load.running == 1)
    stage.routers.uses[url], stage.routers.have_heard = EngineUse(in_flight=1), False
    engine.stop()
    await stage.state(engine, EngineState.DRAINING)
    # A router that has not heard of it yet sends one more.
    late = asyncio.create_task(complete(url, TOKENS))
    assert (await asked)["text"] == "!" * TOKENS
    assert (await late)["text"] == "!" * TOKENS
    stage.routers.uses.clear()
    assert engine.view().state is EngineState.DRAINING
    stage.routers.have_heard = True
    await stage.gone(engine)
    assert engine.state is EngineState.STOPPED
    assert aborts.read_text() == ""


async def test_a_drain_ends_at_its_limit_and_another_stop_ends_it_sooner(stage: Bench, aborts: Path) -> None:
    engine = stage.start(replace(real("one", "--aborts", str(aborts)), drain_s=1.0))
    stage.routers.uses[(await stage.ready(engine)).url] = EngineUse(in_flight=1)
    engine.stop()
    await stage.gone(engine)
    patient = stage.start(replace(real("two"), drain_s=3600.0))
    stage.routers.uses[(await stage.ready(patient)).url] = EngineUse(in_flight=1)
    patient.stop()
    await stage.state(patient, EngineState.DRAINING)
    patient.stop()
    await stage.gone(patient)


async def test_one_that_ignores_term_is_killed_once_the_patience_is_over(stage: Bench) -> None:
    engine = stage.start(real("one", "--ignore-term"))
    pid = (await stage.ready(engine)).pid
    assert pid
    engine.stop()
    await stage.state(engine, EngineState.DRAINING)
    engine.stop()
    engine.stop()
    await stage.gone(engine)
    assert start_ticks(pid) is None


async def test_what_hangs_is_found_within_ten_seconds_and_a_long_prefill_is_left_alone(stage: Bench) -> None:
    frozen, stopped, slow = (stage.start(real(name)) for name in ("frozen", "stopped", "slow"))
    urls = {engine: (await stage.ready(engine)).url for engine in (frozen, stopped, slow)}
    pids = {engine: engine.view().pid for engine in urls}
    # At 25 tokens a second, which is what a processor is trusted with, 400 may take 16 seconds.
    for engine, tokens in ((frozen, 1), (slow, 400)):
        stage.routers.uses[urls[engine]] = EngineUse(in_flight=1, unstarted=1, longest_prompt_tokens=tokens)
    await behave(urls[slow], steps=100, prefill_s=9.0)
    asked = asyncio.create_task(complete(urls[slow], 1))
    await behave(urls[frozen], steps=100, is_frozen=True)
    assert pids[stopped]
    os.kill(pids[stopped] or 0, signal.SIGSTOP)
    found = [
        stage.until(engine, lambda view: view.state is not EngineState.READY, 10.5) for engine in (frozen, stopped)
    ]
    assert [view.state for view in await asyncio.gather(*found)] == [EngineState.FAILED] * 2
    again = [(await stage.until(engine, is_restarted)).last_error or "" for engine in (frozen, stopped)]
    assert again[0].startswith("it hung and was stopped: it has requests and has made no step for")
    assert "its server has not answered for" in again[1]
    assert (await asked)["text"] == "!"
    assert (slow.state, slow.view().pid, slow.view().restarts) == (EngineState.READY, pids[slow], 0)


async def test_an_engine_that_calls_itself_dead_is_ended_within_seconds(stage: Bench) -> None:
    engine = stage.start(real("one"))
    first = await stage.ready(engine)
    await behave(first.url, is_sick=True, is_frozen=True)
    await stage.until(engine, lambda view: view.state is EngineState.FAILED, limit_s=6.0)


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
    assert slept.pid == first.pid
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


async def test_files_are_fetched_before_each_launch_and_a_failure_is_tried_again(stage: Bench) -> None:
    hub = asyncio.Event()
    tries = 0

    async def fetch(plan: EnginePlan, say: Callable[[str], None]) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise FetchError("the disk is full.")
        say("2 of 3 files")
        await hub.wait()

    engine = stage.start(real("one"), fetch=fetch)
    failed = await stage.state(engine, EngineState.FAILED)
    assert failed.last_error == "the disk is full (not started). It is tried again and again."
    fetching = await stage.until(engine, lambda view: view.progress == "2 of 3 files")
    assert (fetching.state, fetching.pid) == (EngineState.DOWNLOADING, None)
    # Nobody waits for it meanwhile, on the same device.
    other = stage.start(real("two"))
    await stage.ready(other)
    hub.set()
    assert (await stage.ready(engine)).restarts == 0


async def test_an_engine_that_fetches_or_waits_for_its_turn_can_be_stopped(stage: Bench, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    async def fetch(plan: EnginePlan, say: Callable[[str], None]) -> None:
        say("1 of 3 files")
        await asyncio.Event().wait()

    fetching = stage.start(real("one"), fetch=fetch)
    await stage.until(fetching, lambda view: view.progress == "1 of 3 files")
    holding = stage.start(real("two", "--wait-for", str(fifo)))
    await stage.state(holding, EngineState.LOADING)
    waiting = stage.start(real("three"))
    await stage.until(waiting, lambda view: view.progress == "waiting for its turn")
    for engine in (fetching, waiting):
        engine.stop()
        await stage.gone(engine)
        assert engine.state is EngineState.STOPPED
    assert holding.state is EngineState.LOADING


class Stranger(BaseHTTPRequestHandler):
    """Answers everything, and well."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        return


async def test_a_stranger_on_our_port_is_never_taken_for_ours(stage: Bench, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    plan = real("one", "--wait-for", str(fifo))
    engine = stage.start(plan)
    await stage.state(engine, EngineState.LOADING)
    with ThreadingHTTPServer(("127.0.0.1", plan.port), Stranger) as stranger:
        threading.Thread(target=stranger.serve_forever, daemon=True).start()
        await asyncio.to_thread(fifo.write_text, "go")
        failed = await stage.state(engine, EngineState.FAILED)
        assert failed.last_error is not None
        assert "port" in failed.last_error
        # The next start waits before it listens as well.
        await asyncio.to_thread(fifo.write_text, "go")
        seen = await stage.ready(engine)
        stranger.shutdown()
    assert seen.url != f"http://127.0.0.1:{plan.port}"


async def test_a_port_that_is_taken_before_the_start_is_left_alone(stage: Bench) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        seen = await stage.ready(stage.start(replace(real("one"), port=port)))
    assert (seen.restarts, seen.url == f"http://127.0.0.1:{port}") == (0, False)


def test_ends_soon_after_it_was_ready_are_a_crash_loop_in_the_end() -> None:
    trials = Trials(engine_plan("one"))
    killed = failure.classify([], "signal SIGKILL")
    assert [trials.ended(killed, True, crashes) for crashes in range(1, MOST_CRASHES + 1)] == [""] * MOST_CRASHES
    why = trials.ended(killed, True, MOST_CRASHES + 1)
    assert why.startswith("it was killed, most likely for lack of memory (signal SIGKILL).")
    assert f"It ended {MOST_CRASHES + 1} times in a row soon after it was ready." in why


def test_the_last_words_are_the_engines_own_and_go_back_into_the_older_file(tmp_path: Path) -> None:
    log = tmp_path / "one.log"
    log.with_name("one.log.1").write_text("".join(f"old {number}\n" for number in range(50)))
    log.write_text("new 1\n\nnew 2\n[keeper] one ended: signal 9\n")
    said = last_words(log)
    assert (len(said), said[0], said[-3:]) == (30, "old 22", ["old 49", "new 1", "new 2"])
    assert last_words(tmp_path / "none.log") == []


def test_memory_on_gpus_is_what_the_driver_says_of_our_processes() -> None:
    card = Gpu("GPU-a", "Card", 80, 50, 30, processes=(GpuProcess(7, 20), GpuProcess(8, 5), GpuProcess(9, 25)))
    assert gpu_bytes([card], {7, 8, 100}) == 25
    assert gpu_bytes([card], {100}) is None
    assert gpu_bytes([replace(card, processes=(GpuProcess(7, None), GpuProcess(8, 5)))], {7, 8}) is None


def test_memory_of_the_host_is_that_of_living_processes() -> None:
    own = host_bytes({os.getpid()})
    assert own is not None
    assert own > 2**20
    assert host_bytes(set()) is None
