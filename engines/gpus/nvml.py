"""The GPUs as NVML reports them. Its errors end here.

A machine without driver or GPU is normal: the answer is empty and says why. What a card, a driver or a container does
not tell is None, each field on its own; a card that does not answer at all is a fault, and the others are read.

A call into a wedged driver may block for good, and nothing can interrupt it: whoever must not hang reads with
`read_gpus`, or gives a reader to `engines.gpus.watch.GpuWatch`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import pynvml

from engines.gpus import health
from engines.gpus.binding import told, translated
from engines.gpus.gpu import Gpu, GpuProcess, Gpus, Health, Link, Path
from engines.gpus.reader import Card, GpuReader
from engines.gpus.watch import read_once

# NVML's levels of topology, nvmlGpuTopologyLevel_t: 0, 10 ... 50.
_BY_PCIE = (Path.BOARD, Path.SWITCH, Path.SWITCHES, Path.HOST_BRIDGE, Path.NUMA_NODE, Path.SYSTEM)
_ANCESTORS: dict[int | None, Path] = {10 * place: path for place, path in enumerate(_BY_PCIE)}
# The binding's NVML_P2P_CAPS_INDEX_READ is a tuple by a slip of a comma (nvidia-ml-py 13.615), so the number is ours.
_P2P_READ = 0
_P2P_OK = pynvml.NVML_P2P_STATUS_OK
# Enough words of 64 bits for 1024 NUMA nodes.
_NODE_WORDS = 16


@dataclass(frozen=True, slots=True)
class GpuDraw:
    """What one GPU takes now. Power is the driver's average of the last moments (up to a second), in watts; energy in
    joules since the driver was loaded. None where the card does not tell: old ones, and parts of a divided one."""

    uuid: str
    used_bytes: int
    power_w: float | None
    energy_j: float | None


class GpuMeter:
    """Reads what GPUs draw, again and again. NVML stays open in between: to open it takes longer than to read.

    A machine without a driver or a GPU reads as (), and so does a driver that stops to answer. Not for two threads at
    once. Close it after use.
    """

    def __init__(self) -> None:
        self._is_open = False
        try:
            pynvml.nvmlInit()
            self._is_open = True
            count = pynvml.nvmlDeviceGetCount()
        except pynvml.NVMLError:
            count = 0
        self._gpus = [gpu for gpu in map(_opened, range(count)) if gpu]

    def read(self) -> tuple[GpuDraw, ...]:
        """All GPUs in PCI order."""
        draws = (_draw(uuid, handle) for uuid, handle in self._gpus)
        return tuple(draw for draw in draws if draw)

    def close(self) -> None:
        """Let go of the driver. Reads nothing afterwards."""
        self._gpus = []
        if self._is_open:
            self._is_open = False
            pynvml.nvmlShutdown()


def open_reader() -> GpuReader:
    """To read the GPUs again and again. Nothing is asked before its first `read`."""
    return GpuReader(_Nvml())


def read_gpus() -> Gpus:
    """All GPUs in PCI order, once. Returns also when the driver is wedged, after `watch.PATIENCE_S`."""
    return read_once(open_reader())


class _Nvml:
    """The door that `GpuReader` asks."""

    @translated()
    def open(self) -> tuple[str | None, str | None]:
        pynvml.nvmlInit()
        cuda = told(pynvml.nvmlSystemGetCudaDriverVersion)
        version = None if cuda is None else f"{cuda // 1000}.{cuda % 1000 // 10}"
        return told(pynvml.nvmlSystemGetDriverVersion), version

    def close(self) -> None:
        # A driver that is gone needs no farewell.
        told(pynvml.nvmlShutdown, gone=())

    @translated()
    def count(self) -> int:
        return int(pynvml.nvmlDeviceGetCount())

    @translated()
    def card(self, number: int) -> Card:
        handle = pynvml.nvmlDeviceGetHandleByIndex(number)
        pci = told(pynvml.nvmlDeviceGetPciInfo, handle)
        gpu = Gpu(
            uuid=pynvml.nvmlDeviceGetUUID(handle),
            name=pynvml.nvmlDeviceGetName(handle),
            total_bytes=0,
            used_bytes=0,
            free_bytes=0,
            capability=told(pynvml.nvmlDeviceGetCudaComputeCapability, handle),
            pci_address=pci and _text(pci.busId),
            numa_node=_numa_node(handle),
        )
        return Card(handle, gpu)

    def links(self, cards: Sequence[Card]) -> Mapping[str, tuple[Link, ...]]:
        wires = {card.gpu.uuid: _wires(card) for card in cards}
        found: dict[str, list[Link]] = {card.gpu.uuid: [] for card in cards}
        for one, other in combinations(cards, 2):
            for card, link in _between(one, other, wires):
                found[card.gpu.uuid].append(link)
        return {uuid: tuple(links) for uuid, links in found.items()}

    @translated()
    def instances(self, card: Card) -> Sequence[Card] | None:
        mode = told(pynvml.nvmlDeviceGetMigMode, card.handle)
        if not mode or not mode[0]:
            return None
        most = told(pynvml.nvmlDeviceGetMaxMigDeviceCount, card.handle) or 0
        # Places in between may be empty.
        handles = [told(pynvml.nvmlDeviceGetMigDeviceHandleByIndex, card.handle, place) for place in range(most)]
        return [_instance(card, handle) for handle in handles if handle is not None]

    @translated()
    def health(self, card: Card) -> Health:
        return _health(card.handle)

    @translated()
    def read(self, card: Card, health: Health) -> Gpu:
        memory = _memory(card.handle)
        return replace(
            card.gpu,
            total_bytes=memory.total,
            used_bytes=memory.used,
            free_bytes=memory.free,
            reserved_bytes=getattr(memory, "reserved", None),
            processes=_processes(card.handle),
            health=health,
        )


def _instance(card: Card, handle: Any) -> Card:
    name = told(pynvml.nvmlDeviceGetName, handle) or f"{card.gpu.name} MIG"
    uuid = pynvml.nvmlDeviceGetUUID(handle)
    # Peer access does not reach into instances (NVIDIA MIG User Guide, "Application Considerations").
    return Card(handle, replace(card.gpu, uuid=uuid, name=name, parent_uuid=card.gpu.uuid, links=()))


def _health(handle: Any) -> Health:
    reasons = told(pynvml.nvmlDeviceGetCurrentClocksEventReasons, handle)
    if reasons is None:
        # The name of the same call in drivers before 535.
        reasons = told(pynvml.nvmlDeviceGetCurrentClocksThrottleReasons, handle)
    uncorrected = pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, pynvml.NVML_VOLATILE_ECC
    rows = told(pynvml.nvmlDeviceGetRemappedRows, handle)
    return Health(
        temperature_c=told(pynvml.nvmlDeviceGetTemperature, handle, pynvml.NVML_TEMPERATURE_GPU),
        power_w=_thousandth(told(pynvml.nvmlDeviceGetPowerUsage, handle)),
        power_limit_w=_thousandth(told(pynvml.nvmlDeviceGetEnforcedPowerLimit, handle)),
        throttles=None if reasons is None else health.throttles(reasons),
        uncorrected_ecc_errors=told(pynvml.nvmlDeviceGetTotalEccErrors, handle, *uncorrected),
        remap_pending=None if rows is None else bool(rows[2]),
        remap_failed=None if rows is None else bool(rows[3]),
        recovery=recovery_of(handle),
    )


def recovery_of(handle: Any) -> str | None:
    """The recovery action that the driver asks for; None where it does not tell. Raises NVMLError for a lost card."""
    fields = told(pynvml.nvmlDeviceGetFieldValues, handle, [pynvml.NVML_FI_DEV_GET_GPU_RECOVERY_ACTION])
    action = fields[0] if fields and fields[0].nvmlReturn == pynvml.NVML_SUCCESS else None
    return None if action is None else health.recovery(action.value.uiVal)


def _processes(handle: Any) -> tuple[GpuProcess, ...] | None:
    """Those that compute, also through MPS, and those that draw: a desktop's memory is gone too. One may be listed
    as several of these, with the same bytes."""
    computing = told(pynvml.nvmlDeviceGetComputeRunningProcesses, handle)
    if computing is None:
        return None
    others = (pynvml.nvmlDeviceGetMPSComputeRunningProcesses, pynvml.nvmlDeviceGetGraphicsRunningProcesses)
    found: dict[int, int | None] = {}
    for process in [*computing, *(process for ask in others for process in told(ask, handle) or ())]:
        known, held = found.get(process.pid), process.usedGpuMemory
        found[process.pid] = known if held is None else max(held, known or 0)
    return tuple(GpuProcess(pid, found[pid]) for pid in sorted(found))


def _wires(card: Card) -> Counter[str]:
    """How many active NVLinks end at which PCI address; "" where that is not told."""
    wires: Counter[str] = Counter()
    for number in range(pynvml.NVML_NVLINK_MAX_LINKS):
        state = told(pynvml.nvmlDeviceGetNvLinkState, card.handle, number, gone=())
        if state is None:
            break
        if state:
            remote = told(pynvml.nvmlDeviceGetNvLinkRemotePciInfo, card.handle, number, gone=())
            wires["" if remote is None else _text(remote.busId)] += 1
    return wires


def _between(one: Card, other: Card, wires: Mapping[str, Counter[str]]) -> Sequence[tuple[Card, Link]]:
    """The link of each to the other; none when nothing is told of their way."""
    pair = one.handle, other.handle
    ancestor = told(pynvml.nvmlDeviceGetTopologyCommonAncestor, *pair, gone=())
    read = told(pynvml.nvmlDeviceGetP2PStatus, *pair, _P2P_READ, gone=())
    is_nvlink = told(pynvml.nvmlDeviceGetP2PStatus, *pair, pynvml.NVML_P2P_CAPS_INDEX_NVLINK, gone=()) == _P2P_OK
    mine, theirs = wires[one.gpu.uuid], wires[other.gpu.uuid]
    nvlinks = mine[other.gpu.pci_address or "?"]
    if is_nvlink and not nvlinks:
        # Through NVSwitch no link ends at the peer; all those of the card with fewer carry what the two share.
        nvlinks = min(mine.total(), theirs.total())
    path = Path.NVLINK if is_nvlink or nvlinks else _ANCESTORS.get(ancestor)
    if path is None:
        return ()
    can_read = None if read is None else read == _P2P_OK
    return tuple((a, Link(b.gpu.uuid, path, nvlinks, can_read)) for a, b in ((one, other), (other, one)))


def _numa_node(handle: Any) -> int | None:
    """The nearest node of the host. (nvmlDeviceGetNumaNodeId is for cards that are nodes themselves.)"""
    words = told(pynvml.nvmlDeviceGetMemoryAffinity, handle, _NODE_WORDS, pynvml.NVML_AFFINITY_SCOPE_NODE) or ()
    return next((64 * place + bit for place, word in enumerate(words) for bit in range(64) if word >> bit & 1), None)


def _opened(number: int) -> tuple[str, Any] | None:
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(number)
        return pynvml.nvmlDeviceGetUUID(handle), handle
    except pynvml.NVMLError:
        return None


def _draw(uuid: str, handle: Any) -> GpuDraw | None:
    try:
        power_w = _thousandth(told(pynvml.nvmlDeviceGetPowerUsage, handle))
        energy_j = _thousandth(told(pynvml.nvmlDeviceGetTotalEnergyConsumption, handle))
        return GpuDraw(uuid, _memory(handle).used, power_w, energy_j)
    except pynvml.NVMLError:
        return None


def _memory(handle: Any) -> Any:
    # Version 2 counts what the driver keeps for itself apart from `used`; old drivers know only version 1.
    memory = told(lambda: pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2))
    return memory or pynvml.nvmlDeviceGetMemoryInfo(handle)


def _thousandth(value: int | None) -> float | None:
    """Watts of milliwatts, joules of millijoules."""
    return None if value is None else value / 1000


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
