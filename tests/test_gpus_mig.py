"""Cards that are divided: their instances are the GPUs."""

from benchmarks.double.nvml_double import (
    GIB,
    Double,
    Foreign,
    Part,
    Wire,
)
from engines.gpus.gpu import GpuProcess
from tests.gpu_readings import Readings, only, read_once


def test_mig_instances_stand_in_place_of_their_card(double: Double) -> None:
    parts = [Part(f"MIG-{number}", 9984 * 2**20) for number in range(3)]
    double.divide(1, parts)
    double.change(foreign=(Foreign("MIG-2", 7, GIB),), wires=(Wire(0, 1, 30),))
    found = read_once(double.env)
    assert [gpu.uuid for gpu in found.seen] == ["GPU-0", "MIG-0", "MIG-1", "MIG-2"]
    last = found.seen[3]
    assert (last.parent_uuid, last.name) == ("GPU-1", "NVIDIA H100 80GB HBM3 MIG 1g.10gb")
    assert (last.total_bytes, last.used_bytes, last.processes) == (9984 * 2**20, GIB, (GpuProcess(7, GIB),))
    assert (last.capability, last.links, last.health) == ((9, 0), (), found.seen[0].health)
    assert found.seen[1].used_bytes == 0
    assert found.faults == ()


def test_instances_that_are_made_and_removed_are_seen_at_once(double: Double, readings: Readings) -> None:
    double.divide(0, [Part("MIG-a", GIB)])
    assert [gpu.uuid for gpu in readings.read().seen] == ["MIG-a", "GPU-1"]
    # The second place of the two is left empty, as the driver does.
    double.divide(0, [Part("", 0), Part("MIG-b", GIB)])
    assert [gpu.uuid for gpu in readings.read().seen] == ["MIG-b", "GPU-1"]
    double.change_gpu(0, is_mig=False, parts=())
    assert [gpu.uuid for gpu in readings.read().seen] == ["GPU-0", "GPU-1"]


def test_a_card_in_mig_mode_without_instances_cannot_be_used(double: Double) -> None:
    double.divide(0, [])
    found = read_once(double.env)
    assert only(found).uuid == "GPU-1"
    assert "GPU-0) is in MIG mode and has no instances: make some with" in found.faults[0]
