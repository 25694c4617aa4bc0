"""GPUs and drivers in trouble, read in a process of its own: each is named with what mends it, and the others go on."""

from pathlib import Path as File

import pytest

from benchmarks.double.nvml_double import (
    FUNCTION_NOT_FOUND,
    GIB,
    LIB_RM_VERSION_MISMATCH,
    RESET_REQUIRED,
    Double,
    without_library,
)
from tests.gpu_readings import Readings, only, read_once

NO_PERMISSION, DRIVER_NOT_LOADED, UNKNOWN = 4, 9, 999


def test_an_old_driver_counts_its_reserve_as_used_and_says_so(double: Double) -> None:
    double.answer("nvmlDeviceGetMemoryInfo_v2", FUNCTION_NOT_FOUND)
    found = read_once(double.env)
    assert (found.seen[0].reserved_bytes, found.seen[0].used_bytes) == (None, 551 * 2**20)
    assert found.seen[0].free_bytes == 81008 * 2**20
    assert found.faults == (
        "driver 595.58.03 counts what it keeps for itself as used memory: drivers from 510 on tell the two apart",
    )


def test_errors_of_memory_are_told(double: Double) -> None:
    double.change_gpu(0, ecc_errors=3, remapped_rows=(0, 1, 1, 0))
    health = read_once(double.env).seen[0].health
    assert (health.uncorrected_ecc_errors, health.remap_pending, health.remap_failed) == (3, True, False)
    assert health.is_fit


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"recovery": 1}, "asks for 'gpu reset'"),
        ({"recovery": 3}, "asks for 'drain p2p'"),
        ({"recovery": 99}, "asks for 'action 99'"),
        ({"remapped_rows": (0, 1, 0, 1)}, "could not be replaced"),
    ],
)
def test_a_gpu_that_needs_care_is_seen_and_takes_nothing_new(double: Double, facts: dict[str, int], words: str) -> None:
    double.change_gpu(1, **facts)
    found = read_once(double.env)
    assert [gpu.uuid for gpu in found.seen] == ["GPU-0", "GPU-1"]
    assert [gpu.uuid for gpu in found.fit()] == ["GPU-0"]
    (fault,) = found.faults
    assert fault.startswith("GPU 1 (NVIDIA H100 80GB HBM3, GPU-1) takes nothing new: ")
    assert words in fault


def test_a_gpu_that_falls_off_the_bus_is_named_and_the_others_go_on(double: Double, readings: Readings) -> None:
    assert len(readings.read().seen) == 2
    double.take(readings.pid, {"GPU-0": GIB})
    double.lose(1)
    found = readings.read()
    assert (only(found).uuid, only(found).used_bytes) == ("GPU-0", GIB)
    (fault,) = found.faults
    assert fault.startswith("GPU 1 (NVIDIA H100 80GB HBM3, GPU-1) has fallen off the bus: ")
    assert readings.read() == found


def test_a_gpu_that_is_lost_is_known_as_it_was_read_last_until_it_comes_back(
    double: Double, readings: Readings
) -> None:
    double.take(readings.pid, {"GPU-1": GIB})
    before = readings.read()
    assert before.lost == ()
    double.lose(1)
    (lost,) = readings.read().lost
    assert lost.gpu == before.seen[1]
    assert lost.why.startswith("has fallen off the bus: ")
    assert readings.read().lost == (lost,)
    double.change_gpu(1, code=0)
    assert readings.read().lost == ()


def test_a_gpu_that_was_lost_before_is_named_by_its_number(double: Double) -> None:
    double.lose(0)
    found = read_once(double.env)
    assert only(found).uuid == "GPU-1"
    assert found.faults[0].startswith("GPU 0 has fallen off the bus")


def test_a_gpu_that_comes_back_is_seen_again(double: Double, readings: Readings) -> None:
    before = readings.read()
    double.lose(0, code=RESET_REQUIRED)
    assert "GPU 0 (NVIDIA H100 80GB HBM3, GPU-0) must be reset" in readings.read().faults[0]
    double.change_gpu(0, code=0)
    assert readings.read() == before


def test_no_session_is_left_open_that_would_keep_a_gpu_from_its_reset(double: Double, readings: Readings) -> None:
    double.change(counts=True)
    readings.read()
    assert "nvmlShutdown" not in double.calls()
    double.lose(0, code=RESET_REQUIRED)
    readings.read()
    assert double.calls()[-1] == "nvmlShutdown"


def test_a_gpu_lost_half_way_through_its_questions_is_a_fault(double: Double) -> None:
    double.answer("nvmlDeviceGetTemperature", RESET_REQUIRED, gpu=1)
    found = read_once(double.env)
    assert only(found).uuid == "GPU-0"
    assert "GPU-1) must be reset" in found.faults[0]


def test_a_gpu_without_memory_to_tell_is_a_fault(double: Double) -> None:
    double.change_gpu(0, total_bytes=0, reserved_bytes=0)
    found = read_once(double.env)
    assert only(found).uuid == "GPU-1"
    assert "GPU-0) cannot be read (Not Supported)" in found.faults[0]


def test_when_every_gpu_is_lost_the_reason_names_them(double: Double, readings: Readings) -> None:
    double.lose(0)
    double.lose(1)
    found = readings.read()
    assert found.seen == ()
    assert found.why_none is not None
    assert "no GPU can be used: GPU 0 has fallen off the bus" in found.why_none
    assert "GPU 1 has" in found.why_none
    assert found.driver == "595.58.03"


def test_a_driver_without_a_gpu_says_so(tmp_path: File) -> None:
    found = read_once(Double(tmp_path, []).env)
    assert found.seen == ()
    assert "reports no GPU" in str(found.why_none)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (DRIVER_NOT_LOADED, "installed but not loaded: load it with `modprobe nvidia`"),
        (LIB_RM_VERSION_MISMATCH, "not of the version of the loaded driver"),
        (NO_PERMISSION, "refuses this user"),
        (UNKNOWN, "does not answer (Unknown Error): `nvidia-smi` should say more"),
    ],
)
def test_a_driver_in_trouble_is_a_reason_that_says_how_to_mend_it(double: Double, code: int, words: str) -> None:
    double.change(init_code=code)
    found = read_once(double.env)
    assert found.seen == ()
    assert words in str(found.why_none)


def test_a_machine_without_the_library_says_so(tmp_path: File) -> None:
    found = read_once(without_library(tmp_path))
    assert found.seen == ()
    assert "is not installed: install the driver, or, in a container" in str(found.why_none)


def test_a_driver_that_is_loaded_later_is_found(double: Double, readings: Readings) -> None:
    double.change(init_code=DRIVER_NOT_LOADED)
    assert not readings.read().seen
    double.change(init_code=0)
    assert len(readings.read().seen) == 2


def test_a_driver_that_tells_nothing_is_down_and_one_without_a_gpu_is_not(double: Double, readings: Readings) -> None:
    assert not readings.read().is_down
    double.lose(0)
    double.lose(1)
    assert not readings.read().is_down
    double.change(init_code=LIB_RM_VERSION_MISMATCH)
    found = readings.read()
    assert (found.is_down, found.lost) == (True, ())


def test_a_driver_that_is_unloaded_under_a_session_is_a_reason(double: Double, readings: Readings) -> None:
    assert len(readings.read().seen) == 2
    double.change(init_code=DRIVER_NOT_LOADED)
    assert "not loaded" in str(readings.read().why_none)
    double.change(init_code=0)
    assert len(readings.read().seen) == 2
