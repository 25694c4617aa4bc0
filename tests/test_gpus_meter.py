"""The meter of power, energy and memory, in a process of its own against a driver of ours."""

from dataclasses import asdict
from pathlib import Path

import pytest

from benchmarks.double.nvml_double import GIB, Double
from engines.gpus.nvml import GpuDraw
from tests.gpu_readings import Readings, cards


def test_a_meter_reads_power_energy_and_memory_again_and_again(tmp_path: Path) -> None:
    double = Double(tmp_path, cards(2))
    double.change_gpu(1, power_mw=250_500, used_bytes=4 * GIB)
    with Readings(double.env) as readings:
        first = GpuDraw("GPU-0", 0, 70.5, 7_000_000.0)
        assert readings.draw() == (first, GpuDraw("GPU-1", 4 * GIB, 250.5, 7_000_000.0))
        double.change_gpu(1, energy_mj=7_000_001_000)
        assert readings.draw() == (first, GpuDraw("GPU-1", 4 * GIB, 250.5, 7_000_001.0))
        assert readings.close() == ()


@pytest.mark.parametrize(("fact", "unknown"), [("power_mw", "power_w"), ("energy_mj", "energy_j")])
def test_what_a_card_does_not_tell_is_unknown_and_not_zero(tmp_path: Path, fact: str, unknown: str) -> None:
    double = Double(tmp_path, cards(2, **{fact: None}))
    with Readings(double.env) as readings:
        draws = readings.draw()
    assert [[name for name, value in asdict(draw).items() if value is None] for draw in draws] == [[unknown], [unknown]]


def test_a_meter_leaves_out_a_gpu_that_is_lost(tmp_path: Path) -> None:
    double = Double(tmp_path, cards(2))
    with Readings(double.env) as readings:
        assert len(readings.draw()) == 2
        double.lose(1)
        assert [draw.uuid for draw in readings.draw()] == ["GPU-0"]


@pytest.mark.parametrize("facts", [{"init_code": 9}, {"answers": (("nvmlDeviceGetCount_v2", -1, 999),)}])
def test_a_meter_on_a_machine_in_trouble_reads_nothing(tmp_path: Path, facts: dict[str, object]) -> None:
    double = Double(tmp_path, cards(2))
    double.change(**facts)
    with Readings(double.env) as readings:
        assert readings.draw() == ()
        assert readings.close() == ()


def test_a_gpu_without_memory_to_tell_is_left_out(tmp_path: Path) -> None:
    double = Double(tmp_path, cards(2))
    double.change_gpu(0, total_bytes=0, reserved_bytes=0)
    with Readings(double.env) as readings:
        assert [draw.uuid for draw in readings.draw()] == ["GPU-1"]
