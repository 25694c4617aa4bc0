"""What is known of the GPUs: frozen values, whoever made them (the driver, or a declaration). None means unknown."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from engines.snapshot import GpuView

Capability = tuple[int, int]


class Path(StrEnum):
    """How two GPUs reach each other, nearest first; NVML's common ancestors with NVLink before them."""

    NVLINK = "nvlink"
    BOARD = "board"
    SWITCH = "switch"
    SWITCHES = "switches"
    HOST_BRIDGE = "host bridge"
    NUMA_NODE = "numa node"
    SYSTEM = "system"


@dataclass(frozen=True, slots=True)
class Link:
    """From one GPU to another. `peer_access`: whether either may read the other's memory directly."""

    peer_uuid: str
    path: Path
    nvlinks: int = 0
    peer_access: bool | None = None


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """One process with memory on a GPU. `pid` is that of the host, whatever container we are in."""

    pid: int
    used_bytes: int | None


@dataclass(frozen=True, slots=True)
class Health:
    """How a GPU fares. `throttles` are words for the reasons that slow it down now; () is none.

    `recovery` is what the driver asks for in a word ("none", "gpu reset", "drain p2p" ...).
    """

    temperature_c: int | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    throttles: tuple[str, ...] | None = None
    uncorrected_ecc_errors: int | None = None
    remap_pending: bool | None = None
    remap_failed: bool | None = None
    recovery: str | None = None

    @property
    def is_fit(self) -> bool:
        """Whether something new may start here. Engines that run on a GPU that is not fit may finish."""
        return self.recovery in (None, "none") and not self.remap_failed


@dataclass(frozen=True, slots=True)
class Gpu:
    """One device on which an engine can run: a whole GPU, or one MIG instance of it (then `parent_uuid` is set).

    Bytes are NVML's. `reserved_bytes` is what the driver keeps, apart from `used_bytes`; CUDA sees the rest.
    """

    uuid: str
    name: str
    total_bytes: int
    used_bytes: int
    free_bytes: int
    reserved_bytes: int | None = None
    capability: Capability | None = None
    pci_address: str | None = None
    numa_node: int | None = None
    links: tuple[Link, ...] = ()
    parent_uuid: str | None = None
    processes: tuple[GpuProcess, ...] | None = None
    health: Health = Health()
    is_declared: bool = False

    @property
    def cuda_bytes(self) -> int:
        """The total that CUDA reports, of which vLLM's --gpu-memory-utilization is a fraction."""
        return self.total_bytes - (self.reserved_bytes or 0)


@dataclass(frozen=True, slots=True)
class Lost:
    """A GPU that does not answer any more: as it was read last, and the driver's fault in words."""

    gpu: Gpu
    why: str


@dataclass(frozen=True, slots=True)
class Gpus:
    """All of them in PCI order, MIG instances in place of their parent. `why_none` is set exactly when none is seen.

    `faults`: a sentence for each GPU that is there and cannot be used, and for a driver that tells only part. `lost`
    are those among them that were seen before. `is_down`: the driver as a whole did not answer.
    """

    seen: tuple[Gpu, ...]
    why_none: str | None
    driver: str | None = None
    cuda: str | None = None
    faults: tuple[str, ...] = ()
    lost: tuple[Lost, ...] = ()
    is_down: bool = False

    def fit(self) -> tuple[Gpu, ...]:
        """Those on which something new may start; `faults` says of the others why not."""
        return tuple(gpu for gpu in self.seen if gpu.health.is_fit)

    def views(self) -> tuple[GpuView, ...]:
        """What a Snapshot tells of them."""
        return tuple(GpuView(gpu.uuid, gpu.name, gpu.total_bytes, gpu.used_bytes, gpu.free_bytes) for gpu in self.seen)
