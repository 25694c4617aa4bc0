"""Ollama from its pull to its end: the real pulse and the real keeper with the stand-in as a process."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from engines.kinds.kind import NotServableError
from engines.kinds.wire import EngineSilentError
from engines.models.ollama_names import REGISTRY_ENV
from engines.plan import EnginePlan
from engines.processes.process import Kept
from engines.snapshot import EngineUse
from tests.running_ollama import (
    Running,
    add_model,
    asking,
    end,
    launched,
    new_mark,
    ollama_plan,
    program,
    running_ollama,
    until,
)
from tests.stand_in_ollama import switch
from tests.stand_in_registry import StandInRegistry, standing_in_registry

GPU = "GPU-a"


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[StandInRegistry]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("SPILLWAY_OLLAMA_MODELS", str(tmp_path / "models"))
    with standing_in_registry() as registry:
        monkeypatch.setenv(REGISTRY_ENV, registry.url)
        yield registry


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, EnginePlan, str, Kept]]:
    """An Ollama for all tests that leave it as they find it, or have it mended."""
    folder = tmp_path_factory.mktemp("one")
    with pytest.MonkeyPatch.context() as variables, standing_in_registry() as registry:
        variables.setenv("NO_PROXY", "127.0.0.1,localhost")
        variables.setenv("SPILLWAY_OLLAMA_MODELS", str(folder / "models"))
        variables.setenv(REGISTRY_ENV, registry.url)
        plan = ollama_plan(program(folder), add_model(registry))
        mark = new_mark()
        kept = launched(folder, plan, mark)
        yield folder, plan, mark, kept
        asyncio.run(end(kept))


@pytest.fixture
async def ollama(one: tuple[Path, EnginePlan, str, Kept]) -> AsyncIterator[Running]:
    """That one, loaded."""
    async with asking(*one) as ollama:
        switch(ollama.state)
        await ollama.prepare()
        yield ollama


async def test_a_model_half_on_the_cpu_is_a_fault_that_is_shown(tmp_path: Path, registry: StandInRegistry) -> None:
    plan = ollama_plan(program(tmp_path), add_model(registry, b"w" * 2**20), gpu_uuids=(GPU,))
    async with running_ollama(tmp_path, plan) as ollama:
        switch(ollama.state, on_gpu=0.75)
        await ollama.prepare()
        assert await ollama.pulse.completes(10.0)
        assert "GiB of llama3.2:3b-" in (ollama.pulse.fault or "")
        assert "on the CPU. It is slow." in (ollama.pulse.fault or "")
        loads = len(ollama.asked("/api/generate"))
        await ollama.pulse.listen()
        assert len(ollama.asked("/api/generate")) == loads


@pytest.mark.parametrize(("share", "words"), [(0.25, "Others hold the GPU's memory"), (0.0, "It sees no GPU")])
async def test_a_model_mostly_on_the_cpu_is_refused(
    tmp_path: Path, registry: StandInRegistry, share: float, words: str
) -> None:
    plan = ollama_plan(program(tmp_path), add_model(registry), gpu_uuids=(GPU,))
    async with running_ollama(tmp_path, plan) as ollama:
        switch(ollama.state, on_gpu=share)
        with pytest.raises(NotServableError, match=words) as refused:
            await ollama.prepare()
        assert not refused.value.is_permanent


async def test_a_context_other_than_the_planned_is_refused(tmp_path: Path, registry: StandInRegistry) -> None:
    plan = ollama_plan(program(tmp_path), add_model(registry, parameters={"num_ctx": 2048}))
    async with running_ollama(tmp_path, plan) as ollama:
        with pytest.raises(NotServableError, match="Write context_tokens = 2048") as refused:
            await ollama.prepare()
        assert refused.value.is_permanent


async def test_a_load_that_fails_says_why(tmp_path: Path, registry: StandInRegistry) -> None:
    plan = ollama_plan(program(tmp_path), add_model(registry))
    async with running_ollama(tmp_path, plan) as ollama:
        switch(ollama.state, load_error="cudaMalloc failed: out of memory")
        with pytest.raises(NotServableError, match=r"exit status 1: cudaMalloc failed: out of memory$") as refused:
            await ollama.prepare()
        assert not refused.value.is_permanent


async def test_no_request_of_the_router_makes_it_load_anew(ollama: Running) -> None:
    runner = ollama.runner()
    assert ollama.asked("/api/generate")[-1]["options"] == {"num_batch": 512}
    await ollama.ask()
    assert await ollama.pulse.completes(10.0)
    await ollama.prepare()
    assert ollama.runner() == runner


async def test_a_client_that_makes_it_load_anew_is_undone(ollama: Running) -> None:
    stranger = {"model": ollama.plan.served_name, "prompt": "", "options": {"num_ctx": 8192}}
    await ollama.http.post(f"{ollama.pulse.url}/api/generate", stranger, 30.0)
    await ollama.pulse.listen()
    assert "loaded with a context of 8192 tokens" in (ollama.pulse.fault or "")
    await _mended(ollama)
    assert [model["context_length"] for model in await ollama.ps()] == [4096]


async def test_a_model_that_somebody_unloads_is_loaded_again(ollama: Running) -> None:
    body = {"model": ollama.plan.served_name, "prompt": "", "keep_alive": 0}
    await ollama.http.post(f"{ollama.pulse.url}/api/generate", body, 30.0)
    async with asyncio.timeout(30.0):
        while not ollama.pulse.fault:
            await ollama.pulse.listen()
    assert "has unloaded" in ollama.pulse.fault
    await _mended(ollama)
    assert await ollama.pulse.completes(10.0)


async def test_a_llama_server_that_dies_is_replaced(ollama: Running) -> None:
    await ollama.pulse.listen()
    runner = ollama.runner()
    os.kill(runner, signal.SIGKILL)
    async with asyncio.timeout(30.0):
        while not ollama.pulse.fault:
            await ollama.pulse.listen()
    assert "has died" in ollama.pulse.fault
    await _mended(ollama)
    assert ollama.runner() != runner
    assert await ollama.pulse.completes(10.0)


async def _mended(ollama: Running) -> None:
    async with asyncio.timeout(30.0):
        while ollama.pulse.fault:
            await ollama.pulse.listen()


async def test_its_steps_stand_still_when_it_hangs_and_the_canary_fails(ollama: Running) -> None:
    await ollama.pulse.listen()
    idle = ollama.pulse.steps()
    assert idle is not None
    await ollama.ask()
    await ollama.pulse.listen()
    after = ollama.pulse.steps()
    assert after is not None
    assert after > idle
    runner = ollama.runner()
    os.kill(runner, signal.SIGSTOP)
    try:
        await ollama.pulse.listen()
        assert ollama.pulse.steps() == after
        assert await ollama.pulse.is_healthy()
        assert not await ollama.pulse.completes(0.5)
    finally:
        os.kill(runner, signal.SIGCONT)


async def test_its_load_is_what_routers_have_there(ollama: Running) -> None:
    assert ollama.pulse.load(0.0, EngineUse()) is None
    await ollama.pulse.listen()
    heard_s = ollama.pulse.heard_s()
    assert heard_s is not None
    load = ollama.pulse.load(heard_s + 1.5, EngineUse(in_flight=3))
    assert load
    assert (load.running, load.waiting, load.kv_used_fraction) == (2, 1, 1.0)
    assert (load.kv_capacity_tokens, load.age_s) == (8192, 1.5)


async def test_it_sleeps_without_its_model_and_wakes_with_it(ollama: Running, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    switch(ollama.state, unload_gate=str(gate))
    before = len(ollama.asked("/api/generate"))
    sleeping = asyncio.create_task(ollama.pulse.sleep())
    await until(lambda: len(ollama.asked("/api/generate")) > before)
    assert len(await ollama.ps()) == 1
    await asyncio.to_thread(gate.write_text, "pass")
    await sleeping
    assert await ollama.ps() == []
    await ollama.pulse.listen()
    assert (ollama.pulse.fault, ollama.pulse.steps()) == (None, None)
    assert await ollama.pulse.is_ours()
    assert await ollama.pulse.is_asleep()
    await ollama.pulse.wake()
    assert await ollama.pulse.completes(10.0)
    assert not await ollama.pulse.is_asleep()


async def test_a_stranger_at_its_port_is_not_it(tmp_path: Path, registry: StandInRegistry) -> None:
    plan = ollama_plan(program(tmp_path), add_model(registry))
    async with running_ollama(tmp_path, plan) as stranger:
        await stranger.prepare()
        async with running_ollama(tmp_path, plan) as ours:
            assert await ours.pulse.is_healthy()
            assert not await ours.pulse.is_ours()


async def test_a_killed_server_leaves_no_llama_server(tmp_path: Path, registry: StandInRegistry) -> None:
    plan = ollama_plan(program(tmp_path), add_model(registry))
    async with running_ollama(tmp_path, plan) as ollama:
        await ollama.prepare()
        assert len(ollama.processes()) == 2
        os.kill(ollama.serve(), signal.SIGKILL)
        assert await ollama.kept.wait() == 128 + signal.SIGKILL
        assert ollama.processes() == set()
        assert not list(tmp_path.glob("scratch-*"))


async def test_it_ends_at_once_when_it_is_told_to(tmp_path: Path, registry: StandInRegistry) -> None:
    plan = ollama_plan(program(tmp_path), add_model(registry))
    async with running_ollama(tmp_path, plan) as ollama:
        await ollama.prepare()
        gate = tmp_path / "gate"
        os.mkfifo(gate)
        switch(ollama.state, reply_gate=str(gate))
        asking = asyncio.create_task(ollama.ask())
        await until(lambda: len(ollama.asked("/v1/completions")) == 1)
        ollama.kept.terminate()
        assert await ollama.kept.wait() == 0
        with pytest.raises(EngineSilentError):
            await asking
        assert ollama.processes() == set()
