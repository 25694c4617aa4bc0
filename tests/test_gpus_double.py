"""The driver of ours tells the truth of its state to the unmodified binding, with a real driver's structs and codes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.double.nvml_double import FUNCTION_NOT_FOUND, GIB, Double, hold, library
from tests.gpu_readings import Asked, Readings, card, cards, only
from tests.routers import until

# Opens a session, and answers each line with what it evaluates to, or with the error's class.
ASKS = """
import json, sys, pynvml
from pynvml import *
nvmlInit()
state = {}
for line in sys.stdin:
    try:
        told = eval(line, globals(), state)
    except NVMLError as error:
        told = type(error).__name__
    print(json.dumps(told, default=repr), flush=True)
"""
# Stands in for an engine: holds so many bytes from its first line on, until it ends.
HOLDS = """
import sys
from benchmarks.double.nvml_double import hold
for line in sys.stdin:
    hold({"GPU-0": int(line)})
    print(flush=True)
"""


class Binding(Asked):
    """A session of the plain binding."""

    def __init__(self, double: Double) -> None:
        super().__init__(ASKS, double.env)

    def told(self, expression: str) -> object:
        told: object = json.loads(self.ask(expression))
        return told


def test_both_versions_of_the_memory_query_agree(tmp_path: Path) -> None:
    double = Double(tmp_path, [card(0, total_bytes=80 * GIB, reserved_bytes=GIB, used_bytes=20 * GIB)])
    with Binding(double) as binding:
        binding.told("state.update(gpu=nvmlDeviceGetHandleByUUID('GPU-0'))")
        old = binding.told("(lambda m: [m.total, m.used, m.free])(nvmlDeviceGetMemoryInfo(gpu))")
        new = binding.told(
            "(lambda m: [m.total, m.reserved, m.used, m.free])(nvmlDeviceGetMemoryInfo(gpu, version=nvmlMemory_v2))"
        )
        wrong = binding.told("nvmlDeviceGetMemoryInfo(gpu, version=nvmlMemory_v2 + 1)")
    assert old == [80 * GIB, 21 * GIB, 59 * GIB]
    assert new == [80 * GIB, GIB, 20 * GIB, 59 * GIB]
    assert wrong == "NVMLError_ArgumentVersionMismatch"


def test_an_xid_is_an_event_and_then_the_gpu_is_lost(tmp_path: Path) -> None:
    double = Double(tmp_path, cards(2))
    with Binding(double) as binding:
        binding.told("state.update(gpu=nvmlDeviceGetHandleByIndex(1), events=nvmlEventSetCreate())")
        binding.told("nvmlDeviceRegisterEvents(gpu, nvmlEventTypeXidCriticalError, events)")
        assert binding.told("nvmlEventSetWait_v2(events, 10)") == "NVMLError_Timeout"
        double.lose(1, xid=79)
        event = binding.told("(lambda e: [e.eventType, e.eventData])(nvmlEventSetWait_v2(events, 10000))")
        assert event == [8, 79]
        assert binding.told("nvmlEventSetWait_v2(events, 10)") == "NVMLError_GpuIsLost"
        assert binding.told("nvmlDeviceGetPowerUsage(gpu)") == "NVMLError_GpuIsLost"
        assert binding.told("nvmlDeviceGetHandleByIndex(1)") == "NVMLError_GpuIsLost"
        assert binding.told("nvmlDeviceGetPowerUsage(nvmlDeviceGetHandleByIndex(0))") == 70_500
        assert binding.told("nvmlDeviceGetCount()") == 2


def test_events_are_those_of_registered_cards_and_kinds_since_the_set_was_made(tmp_path: Path) -> None:
    double = Double(tmp_path, [card(0), card(1), card(2, event_kinds=None)])
    double.xid(0, 31)
    with Binding(double) as binding:
        binding.told(
            "state.update(gpus=[nvmlDeviceGetHandleByIndex(n) for n in range(3)], events=nvmlEventSetCreate())"
        )
        assert binding.told("nvmlDeviceGetSupportedEventTypes(gpus[0])") == 0xEC08
        assert binding.told("nvmlDeviceGetSupportedEventTypes(gpus[2])") == "NVMLError_NotSupported"
        assert binding.told("nvmlDeviceRegisterEvents(gpus[2], 8, events)") == "NVMLError_NotSupported"
        binding.told("nvmlDeviceRegisterEvents(gpus[0], 8, events)")
        double.xid(1, 13)
        double.event(0, 0x8000)
        double.xid(0, 94)
        assert binding.told("nvmlEventSetWait_v2(events, 10000).eventData") == 94
        assert binding.told("nvmlEventSetWait_v2(events, 10)") == "NVMLError_Timeout"
        assert binding.told("nvmlEventSetFree(events)") is None


def test_what_is_not_told_missing_or_not_there_has_its_own_error(tmp_path: Path) -> None:
    double = Double(tmp_path, [card(0, power_mw=None)])
    double.answer("nvmlDeviceGetName", FUNCTION_NOT_FOUND)
    with Binding(double) as binding:
        binding.told("state.update(gpu=nvmlDeviceGetHandleByIndex(0))")
        assert binding.told("nvmlDeviceGetPowerUsage(gpu)") == "NVMLError_NotSupported"
        assert binding.told("nvmlDeviceGetName(gpu)") == "NVMLError_FunctionNotFound"
        assert binding.told("nvmlDeviceGetFanSpeed(gpu)") == "NVMLError_FunctionNotFound"
        assert binding.told("nvmlDeviceGetHandleByUUID('GPU-9')") == "NVMLError_NotFound"
        assert binding.told("nvmlDeviceGetHandleByIndex(1)") == "NVMLError_InvalidArgument"
        assert binding.told("nvmlShutdown()") is None
        assert binding.told("nvmlDeviceGetCount()") == "NVMLError_Uninitialized"


def test_several_processes_hold_memory_and_give_it_back_as_they_end(tmp_path: Path) -> None:
    double = Double(tmp_path, [card(0)])
    with Readings(double.env) as readings, Asked(HOLDS, double.env) as one, Asked(HOLDS, double.env) as other:
        one.ask(str(GIB))
        other.ask(str(2 * GIB))
        gpu = only(readings.read())
        assert {(each.pid, each.used_bytes) for each in gpu.processes or ()} == {(one.pid, GIB), (other.pid, 2 * GIB)}
        assert gpu.used_bytes == 3 * GIB
        # Killed and not yet waited for: the memory is free when the process is dead, not when its parent has seen it.
        other.kill()
        until(lambda: only(readings.read()).used_bytes == GIB)
        one.end()
        assert only(readings.read()).processes == ()


def test_memory_can_linger_after_its_process(tmp_path: Path) -> None:
    double = Double(tmp_path, [card(0)])
    double.change(linger=True)
    with Readings(double.env) as readings, Asked(HOLDS, double.env) as holder:
        holder.ask(str(GIB))
        holder.end()
        gpu = only(readings.read())
        assert (gpu.used_bytes, gpu.processes) == (GIB, ())
        double.change(linger=False)
        assert only(readings.read()).used_bytes == 0


def test_what_a_process_holds_changes_as_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    double = Double(tmp_path, cards(2))
    monkeypatch.setenv("NVML_DOUBLE", double.env["NVML_DOUBLE"])
    with Readings(double.env) as readings:
        hold({"GPU-0": GIB, "GPU-1": GIB})
        assert [gpu.used_bytes for gpu in readings.read().seen] == [GIB, GIB]
        hold({"GPU-1": 3 * GIB})
        assert [gpu.used_bytes for gpu in readings.read().seen] == [0, 3 * GIB]
        hold({"GPU-1": 300 * GIB})
        assert readings.read().seen[1].free_bytes == 0
        double.give_back(os.getpid())
        assert [gpu.used_bytes for gpu in readings.read().seen] == [0, 0]


def test_the_library_is_built_once_for_all_processes_that_ask() -> None:
    program = "from benchmarks.double.nvml_double import library; print(library().stat().st_ino)"
    command = [sys.executable, "-c", program]
    asking = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    inodes = {process.communicate()[0].strip() for process in asking}
    assert inodes == {str(library().stat().st_ino)}
