"""The door to the driver, in a process of its own against a driver of ours: every number is the driver's, and what it
does not tell is unknown, each field on its own."""

from dataclasses import fields
from pathlib import Path as File

import pytest

from benchmarks.double.nvml_double import (
    FUNCTION_NOT_FOUND,
    GIB,
    Double,
    Foreign,
    pair,
)
from engines.gpus.gpu import Gpu, GpuProcess, Health
from engines.gpus.nvml import read_gpus
from tests.gpu_readings import Readings, card, cards, only, read_once

NOT_SUPPORTED, NO_PERMISSION, UNKNOWN = 3, 4, 999


def test_on_any_machine_there_are_gpus_or_a_reason() -> None:
    found = read_gpus()
    assert bool(found.seen) != bool(found.why_none)


def test_every_fact_of_a_gpu_is_the_drivers(double: Double) -> None:
    found = read_once(double.env)
    assert (found.driver, found.cuda, found.why_none, found.faults) == ("595.58.03", "13.2", None, ())
    assert [gpu.uuid for gpu in found.seen] == ["GPU-0", "GPU-1"]
    assert found.seen[0] == Gpu(
        uuid="GPU-0",
        name="NVIDIA H100 80GB HBM3",
        total_bytes=81559 * 2**20,
        used_bytes=0,
        free_bytes=81008 * 2**20,
        reserved_bytes=551 * 2**20,
        capability=(9, 0),
        pci_address="00000000:10:00.0",
        numa_node=0,
        processes=(),
        health=Health(31, 70.5, 700.0, (), 0, False, False, "none"),
    )


def test_memory_and_processes_are_read_anew_each_time(double: Double, readings: Readings) -> None:
    assert [gpu.used_bytes for gpu in readings.read().seen] == [0, 0]
    double.take(readings.pid, {"GPU-1": 20 * GIB})
    gpu = readings.read().seen[1]
    assert (gpu.used_bytes, gpu.processes) == (20 * GIB, (GpuProcess(readings.pid, 20 * GIB),))
    assert gpu.free_bytes == gpu.cuda_bytes - 20 * GIB
    double.give_back(readings.pid)
    assert readings.read().seen[1].used_bytes == 0


def test_what_does_not_change_is_asked_once(tmp_path: File) -> None:
    eight = cards(8, switch_links=18)
    double = Double(tmp_path, eight)
    double.change(counts=True, wires=pair(eight))
    with Readings(double.env) as readings:
        readings.read()
        first = len(double.calls())
        readings.read()
    again = double.calls()[first:]
    assert not {"nvmlInitWithFlags", "nvmlDeviceGetUUID", "nvmlDeviceGetNvLinkState"} & set(again)
    assert len(again) <= 8 * 12 + 1 < first


def test_processes_that_draw_or_use_mps_hold_memory_too_and_each_counts_once(double: Double) -> None:
    foreign = [("c", 7, 3), ("g", 7, 3), ("g", 8, 1), ("m", 9, 2)]
    double.change(foreign=tuple(Foreign("GPU-0", pid, count * GIB, kind) for kind, pid, count in foreign))
    processes = read_once(double.env).seen[0].processes
    assert processes == (GpuProcess(7, 3 * GIB), GpuProcess(8, GIB), GpuProcess(9, 2 * GIB))


def test_bytes_of_a_process_that_are_not_told_are_unknown(double: Double) -> None:
    double.change(foreign=(Foreign("GPU-0", 7, None),))
    assert read_once(double.env).seen[0].processes == (GpuProcess(7, None),)


def test_pids_of_the_host_are_told_as_they_are_in_a_container(double: Double, readings: Readings) -> None:
    double.take(readings.pid, {"GPU-0": GIB})
    double.change(pid_offset=1_000_000)
    assert readings.read().seen[0].processes == (GpuProcess(readings.pid + 1_000_000, GIB),)


UNTOLD = {
    "nvmlDeviceGetCudaComputeCapability": {"capability"},
    "nvmlDeviceGetPciInfo_v3": {"pci_address"},
    "nvmlDeviceGetMemoryAffinity": {"numa_node"},
    "nvmlDeviceGetComputeRunningProcesses_v3": {"processes"},
    "nvmlDeviceGetTemperature": {"temperature_c"},
    "nvmlDeviceGetPowerUsage": {"power_w"},
    "nvmlDeviceGetEnforcedPowerLimit": {"power_limit_w"},
    "nvmlDeviceGetTotalEccErrors": {"uncorrected_ecc_errors"},
    "nvmlDeviceGetRemappedRows": {"remap_pending", "remap_failed"},
    "nvmlDeviceGetFieldValues": {"recovery"},
}


@pytest.mark.parametrize("code", [NOT_SUPPORTED, FUNCTION_NOT_FOUND, NO_PERMISSION, UNKNOWN])
def test_each_field_that_is_not_told_is_unknown_on_its_own(double: Double, readings: Readings, code: int) -> None:
    for function, unknown in UNTOLD.items():
        double.change(answers=((function, -1, code),))
        readings.close()
        found = readings.read()
        assert found.faults == (), function
        assert [untold(gpu) for gpu in found.seen] == [unknown, unknown], function


def untold(gpu: Gpu) -> set[str]:
    """The facts that are unknown, of those that a whole GPU has."""
    facts = {field.name: getattr(gpu, field.name) for field in fields(gpu)}
    facts |= {field.name: getattr(gpu.health, field.name) for field in fields(gpu.health)}
    return {name for name, value in facts.items() if value is None} - {"parent_uuid"}


def test_a_card_that_tells_little_is_still_a_gpu(tmp_path: File) -> None:
    names = ("capability", "pci_address", "numa_node", "temperature_c", "power_mw", "power_limit_mw", "clock_reasons")
    double = Double(tmp_path, [card(0, **dict.fromkeys((*names, "ecc_errors", "remapped_rows", "recovery", "is_mig")))])
    double.change(driver=None, cuda=None)
    found = read_once(double.env)
    assert (found.driver, found.cuda, found.faults) == (None, None, ())
    assert only(found).health == Health()
    assert only(found).total_bytes == 81559 * 2**20


def test_an_old_driver_names_its_reasons_the_old_way(double: Double) -> None:
    double.change_gpu(0, clock_reasons=0x40)
    double.answer("nvmlDeviceGetCurrentClocksEventReasons", FUNCTION_NOT_FOUND)
    assert [gpu.health.throttles for gpu in read_once(double.env).seen] == [("hardware thermal",), ()]


@pytest.mark.parametrize(
    ("bits", "words"),
    [
        (0x0, ()),
        (0x1 | 0x4 | 0x100, ()),
        (0x8, ("hardware slowdown",)),
        (0x4 | 0x20 | 0x40 | 0x80, ("software thermal", "hardware thermal", "power brake")),
    ],
)
def test_only_faults_count_as_throttling(double: Double, bits: int, words: tuple[str, ...]) -> None:
    double.change_gpu(1, clock_reasons=bits)
    assert read_once(double.env).seen[1].health.throttles == words


def test_a_slow_driver_is_waited_for(double: Double) -> None:
    double.change(slow_ms=5)
    assert len(read_once(double.env).seen) == 2


def test_a_snapshot_shows_the_memory_of_all(double: Double) -> None:
    double.change_gpu(0, used_bytes=GIB)
    views = read_once(double.env).views()
    assert [(view.uuid, view.used_bytes) for view in views] == [("GPU-0", GIB), ("GPU-1", 0)]
    assert {view.total_bytes - view.used_bytes - view.free_bytes for view in views} == {551 * 2**20}
