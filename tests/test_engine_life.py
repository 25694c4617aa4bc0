"""One engine, carried through its life: stand-in processes, real keepers, routers as the test says."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from engines.life.site import FetchError
from engines.plan import EnginePlan
from engines.processes.orphans import start_ticks
from engines.snapshot import EngineState, EngineUse
from tests.engine_sites import Bench, behave, complete, is_restarted, real

TOKENS = 40
FEW_TOKENS_S = 0.02


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


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ([], "its engine core died, and its server was stopped"),
        (["KV cache size: 10 tokens", "torch.OutOfMemoryError: CUDA out of memory."], "GPU ran out of memory"),
    ],
    ids=["without a word", "with a cause in its log"],
)
async def test_an_engine_that_calls_itself_dead_is_ended_at_once(stage: Bench, said: list[str], cause: str) -> None:
    engine = stage.start(real("one"))
    first = await stage.ready(engine)
    await behave(first.url, is_sick=True, is_frozen=True, say=said)
    await stage.until(engine, lambda view: view.state is EngineState.FAILED, limit_s=6.0)
    await stage.until(engine, lambda view: view.pid is None)
    assert cause in (engine.view().last_error or "")


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
