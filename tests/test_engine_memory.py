"""One engine and the memory of its GPU: it wakes when there is room, and a card that gives nothing back is told of."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace

import pytest

from engines.gpus.gpu import Gpu, Gpus
from engines.gpus.watch import GpuWatch
from engines.plan import EnginePlan
from engines.snapshot import EngineState
from engines.starting import gate, settle
from engines.starting.settle import GIB
from tests.engine_sites import Bench, is_restarted
from tests.supervised import engine_plan

SIZE = 80 * GIB


class Card:
    """A driver with one card, of which so much is in use."""

    def __init__(self) -> None:
        self.used_gib = 0

    def read(self) -> Gpus:
        used = self.used_gib * GIB
        return Gpus((Gpu("GPU-a", "Card", SIZE, used, SIZE - used, processes=()),), None)

    def close(self) -> None:
        return


@pytest.fixture
def card() -> Card:
    return Card()


@pytest.fixture
def watch(card: Card) -> Iterator[GpuWatch]:
    watching = GpuWatch(card, 0.1)
    yield watching
    watching.close()


def on_card(name: str) -> EnginePlan:
    """Half of the card."""
    return replace(engine_plan(name, "--steps", gpu_uuids=("GPU-a",)), may_sleep=True)


async def test_an_engine_wakes_once_there_is_room_for_it(stage: Bench, card: Card, watch: GpuWatch) -> None:
    engine = stage.start(on_card("one"), watch=watch)
    first = await stage.ready(engine)
    engine.rest()
    await stage.state(engine, EngineState.SLEEPING)
    card.used_gib = 60
    engine.wake()
    waiting = await stage.until(engine, lambda view: "20.0 GiB" in view.progress)
    assert (waiting.state, waiting.pid) == (EngineState.SLEEPING, first.pid)
    card.used_gib = 0
    assert (await stage.ready(engine)).pid == first.pid


async def test_one_that_waits_for_room_to_wake_can_be_stopped(stage: Bench, card: Card, watch: GpuWatch) -> None:
    engine = stage.start(on_card("one"), watch=watch)
    await stage.ready(engine)
    engine.rest()
    await stage.state(engine, EngineState.SLEEPING)
    card.used_gib = 60
    engine.wake()
    await stage.until(engine, lambda view: "20.0 GiB" in view.progress)
    engine.stop()
    await stage.gone(engine)
    assert engine.state is EngineState.STOPPED


async def test_memory_that_a_dead_engine_keeps_is_told_and_so_is_its_return(
    stage: Bench, card: Card, watch: GpuWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settle, "GIVE_BACK_S", 1.0)
    monkeypatch.setattr(gate, "RETURN_LOOK_S", 0.2)
    told: list[tuple[str, str]] = []
    engine = stage.start(on_card("one"), watch=watch, unreturned=lambda uuid, why: told.append((uuid, why)))
    pid = (await stage.ready(engine)).pid
    assert pid
    card.used_gib = 60
    os.kill(pid, signal.SIGKILL)
    await stage.until(engine, lambda _: bool(told))
    assert told[0][0] == "GPU-a"
    assert told[0][1].startswith("has not given back 60.0 GiB,")
    card.used_gib = 0
    await stage.until(engine, lambda _: ("GPU-a", "") in told)
    await stage.until(engine, is_restarted)
