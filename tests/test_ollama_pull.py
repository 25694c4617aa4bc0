"""What Ollama is to serve is fetched once, whole, and by its digest: the real pulse, the stand-in, a registry."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from engines.kinds.kind import NotServableError
from engines.kinds.ollama_pull import LOCK_NAME
from engines.life.lifecycle import Event
from engines.models.ollama_names import REGISTRY_ENV
from tests.running_ollama import NAME, add_model, ollama_plan, program, running_ollama, until
from tests.stand_in_ollama import switch
from tests.stand_in_registry import StandInRegistry, standing_in_registry


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[StandInRegistry]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("SPILLWAY_OLLAMA_MODELS", str(tmp_path / "models"))
    with standing_in_registry() as registry:
        monkeypatch.setenv(REGISTRY_ENV, registry.url)
        yield registry


async def test_a_model_is_pulled_loaded_and_serves(tmp_path: Path, registry: StandInRegistry) -> None:
    plan = ollama_plan(program(tmp_path), add_model(registry))
    async with running_ollama(tmp_path, plan) as ollama:
        await ollama.prepare()
        assert next(event for _, event in ollama.said if event) is Event.FETCH
        assert ollama.said[-1] == (f"loading {plan.served_name}", Event.LOAD)
        assert any("of 0.0 GiB" in words for words, _ in ollama.said)
        assert await ollama.pulse.is_ours()
        assert await ollama.pulse.completes(10.0)
        assert (await ollama.ask())["usage"]["completion_tokens"] == 3
        assert [model["name"] for model in await ollama.ps()] == [plan.served_name]
        assert ollama.pulse.fault is None
        log = (tmp_path / f"{ollama.mark}.log").read_text()
        assert ("Listening on" in log, "[GIN]" in log) == (True, False)


async def test_what_is_there_already_is_not_pulled_again(tmp_path: Path, registry: StandInRegistry) -> None:
    plan = ollama_plan(program(tmp_path), add_model(registry))
    async with running_ollama(tmp_path, plan) as ollama:
        await ollama.prepare()
    registry.status = 500
    async with running_ollama(tmp_path, plan) as ollama:
        await ollama.prepare()
        assert [event for _, event in ollama.said] == [Event.LOAD]
        assert len(ollama.asked("/api/pull")) == 1


async def test_a_pull_that_is_cut_off_goes_on_where_it_was(tmp_path: Path, registry: StandInRegistry) -> None:
    plan = ollama_plan(program(tmp_path), add_model(registry))
    async with running_ollama(tmp_path, plan) as ollama:
        switch(ollama.state, cut_bytes=10_000)
        await ollama.prepare()
        assert any("cut off (unexpected EOF)" in words for words, _ in ollama.said)
        ranges = [each.range for each in registry.asked if each.range]
        assert "bytes=10000-" in ranges


async def test_a_tag_that_has_moved_is_refused_for_good(tmp_path: Path, registry: StandInRegistry) -> None:
    plan = ollama_plan(program(tmp_path), add_model(registry))
    add_model(registry, b"other weights")
    async with running_ollama(tmp_path, plan) as ollama:
        with pytest.raises(NotServableError, match=r"the tag has moved\. Run `spillway lock`") as refused:
            await ollama.prepare()
        assert refused.value.is_permanent
        assert await ollama.ps() == []


async def test_a_tag_that_moves_changes_nothing_for_one_that_runs(tmp_path: Path, registry: StandInRegistry) -> None:
    first = ollama_plan(program(tmp_path), add_model(registry))
    async with running_ollama(tmp_path, first) as old:
        await old.prepare()
        second = ollama_plan(program(tmp_path), add_model(registry, b"other weights"))
        async with running_ollama(tmp_path, second) as new:
            await new.prepare()
            assert await old.pulse.completes(10.0)
            assert [model["digest"] for model in await old.ps()] == [first.revision]
            assert [model["digest"] for model in await new.ps()] == [second.revision]


async def test_two_servers_of_one_directory_pull_one_after_the_other(tmp_path: Path, registry: StandInRegistry) -> None:
    plan = ollama_plan(program(tmp_path), add_model(registry))
    (tmp_path / "models").mkdir()
    with FileLock(tmp_path / "models" / LOCK_NAME):
        async with running_ollama(tmp_path, plan) as ollama:
            preparing = asyncio.create_task(ollama.prepare())
            await until(lambda: any("waiting for another pull" in words for words, _ in ollama.said))
            assert ollama.asked("/api/pull") == []
            preparing.cancel()


async def test_a_model_that_the_registry_does_not_have_is_refused_for_good(
    tmp_path: Path, registry: StandInRegistry
) -> None:
    plan = ollama_plan(program(tmp_path), "0" * 64)
    async with running_ollama(tmp_path, plan) as ollama:
        with pytest.raises(NotServableError, match=f"{NAME} cannot be fetched: .*file does not exist") as refused:
            await ollama.prepare()
        assert refused.value.is_permanent


@pytest.mark.parametrize("what", ["gone", "cut short"])
async def test_files_that_are_not_whole_are_fetched_anew(tmp_path: Path, registry: StandInRegistry, what: str) -> None:
    plan = ollama_plan(program(tmp_path), add_model(registry))
    async with running_ollama(tmp_path, plan) as ollama:
        await ollama.prepare()
    for blob in (tmp_path / "models" / "blobs").iterdir():
        blob.write_bytes(b"")
        if what == "gone":
            blob.unlink()
    async with running_ollama(tmp_path, plan) as ollama:
        await ollama.prepare()
        assert await ollama.pulse.completes(10.0)
