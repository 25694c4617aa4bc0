"""Whose memory it is: ours by its processes, or by the plan where the driver does not tell; and when ours is back."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest

from benchmarks.double.nvml_double import GIB, Double, DoubleGpu, Foreign
from engines.foreign import foreign_bytes, wait_given_back
from engines.gpus.gpu import Gpus
from engines.plan import EnginePlan, Sum
from engines.snapshot import EngineState
from tests.noted import noted
from tests.supervised import Supervised, engine_plan
from tests.wants import gpu

ASK = """
import sys; from pathlib import Path; from engines.foreign import foreign_bytes; from engines.gpus.nvml import read_gpus
print(foreign_bytes(read_gpus().seen, Path(sys.argv[1]))["GPU-a"])
"""


@pytest.fixture
def double(tmp_path: Path) -> Double:
    """A card of 80 GiB, 5 of which another program holds."""
    card = DoubleGpu(total_bytes=80 * GIB, reserved_bytes=0)
    made = Double(tmp_path / "nvml", [card])
    made.change(foreign=(Foreign("GPU-a", 4_000_001, 5 * GIB),))
    return made


@pytest.fixture
def stack(double: Double, tmp_path: Path) -> Iterator[Supervised]:
    """One engine that holds 30 GiB of it, for which 31 were set aside."""
    held = ("--hold", str(double.home), f"GPU-a={30 * GIB}")
    engine = replace(
        engine_plan("one", *held, gpu_uuids=("GPU-a",)), sum=Sum(weights_bytes=20 * GIB, kv_bytes=11 * GIB)
    )
    started = Supervised.start(tmp_path / "home", engine, **double.env)
    started.engine("one", lambda view: view.state is EngineState.READY)
    yield started
    started.end()


def foreign_gib(double: Double, home: Path) -> float:
    command = [sys.executable, "-c", ASK, str(home)]
    return int(subprocess.check_output(command, env=os.environ | double.env)) / GIB


def test_what_our_own_processes_hold_is_not_foreign(double: Double, stack: Supervised, tmp_path: Path) -> None:
    assert foreign_gib(double, tmp_path / "another home") == 35
    assert foreign_gib(double, stack.home) == 5


def test_in_a_container_our_engines_hold_what_was_set_aside_for_them(double: Double, stack: Supervised) -> None:
    double.change(pid_offset=1_000_000)
    assert foreign_gib(double, stack.home) == 4
    stack.end()
    assert foreign_gib(double, stack.home) == 5


def test_what_runs_on_after_its_supervisor_is_not_foreign(double: Double, stack: Supervised) -> None:
    stack.process.kill()
    stack.process.wait()
    assert stack.record("one").keeper.lives()
    assert foreign_gib(double, stack.home) == 5


def planned(name: str, gib: int, **changes: Any) -> EnginePlan:
    return replace(engine_plan(name, gpu_uuids=("GPU-0",)), sum=Sum(weights_bytes=gib * GIB), **changes)


def test_in_a_container_an_engine_and_the_one_that_takes_over_from_it_both_count(tmp_path: Path) -> None:
    noted(tmp_path, planned("one", 20), planned("one", 30))
    assert foreign_bytes([gpu(0, used_gib=55)], tmp_path) == {"GPU-0": 5 * GIB}


def test_in_a_container_those_that_take_turns_count_no_more_than_may_be_awake(tmp_path: Path) -> None:
    noted(tmp_path, planned("one", 50, keep=False), planned("two", 40, keep=False, is_alternate=True))
    assert foreign_bytes([gpu(0, used_gib=55)], tmp_path) == {"GPU-0": 5 * GIB}


def test_a_plan_waits_until_what_ended_has_given_its_memory_back() -> None:
    used = chain([35.0, 20.0, 5.0], repeat(99.0))
    said: list[str] = []
    wait_given_back({"GPU-0": 5 * GIB}, said.append, lambda: Gpus((gpu(0, used_gib=next(used)),), None))
    assert (len(said), next(used)) == (2, 99.0)


def test_memory_that_never_comes_back_is_not_waited_for_long() -> None:
    said: list[str] = []
    wait_given_back({"GPU-0": 0}, said.append, lambda: Gpus((gpu(0, used_gib=35),), None), limit_s=0.3)
    assert said
