"""A card is lost under one of two engines: the supervisor says so, the other serves on, and all is as before when the
card comes back. The supervisor and the engines are processes, the driver is ours."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.double.nvml_double import GIB, Double
from engines.home import logs_folder
from engines.snapshot import EngineState, GpuState, Snapshot
from tests.gpu_readings import card
from tests.supervised import Supervised, engine_plan


@pytest.fixture
def double(tmp_path: Path) -> Double:
    return Double(tmp_path, [card(0), card(1)])


@pytest.fixture
def stack(tmp_path: Path, double: Double) -> Iterator[Supervised]:
    plans = [
        engine_plan(name, "--hold", str(double.home), f"{uuid}={10 * GIB}", gpu_uuids=(uuid,))
        for name, uuid in (("one", "GPU-0"), ("two", "GPU-1"))
    ]
    made = Supervised.start(tmp_path / "home", *plans, **double.env)
    yield made
    made.end()


def _are(snapshot: Snapshot, one: EngineState, two: EngineState) -> bool:
    return {view.name: view.state for view in snapshot.engines} == {"one": one, "two": two}


def test_a_lost_card_ends_its_engine_alone_until_it_is_back(double: Double, stack: Supervised) -> None:
    ready, closed = EngineState.READY, EngineState.QUARANTINED
    before = stack.until(lambda seen: _are(seen, ready, ready))
    pids = {view.name: view.pid for view in before.engines}
    double.lose(1, xid=79)
    seen = stack.until(lambda seen: _are(seen, ready, closed))
    sound, lost = seen.gpus
    assert (sound.state, lost.state, lost.free_bytes) == (GpuState.OK, GpuState.QUARANTINED, 0)
    assert lost.why.startswith("has fallen off the bus: ")
    assert "has fallen off the bus" in (seen.engines[1].last_error or "")
    assert seen.engines[0].pid == pids["one"]
    double.change_gpu(1, code=0)
    after = stack.until(lambda seen: _are(seen, ready, ready))
    assert {gpu.state for gpu in after.gpus} == {GpuState.OK}
    assert (after.engines[0].pid, after.engines[0].restarts) == (pids["one"], 0)
    log = (logs_folder(stack.home) / "supervisor.log").read_text()
    assert "GPU-1 is quarantined: it has fallen off the bus" in log
    assert "GPU-1 is ok" in log
