"""The GPUs as NVML reports them. The only file that imports pynvml; its errors end here.

A machine without driver or GPU is normal: the answer is empty and says why.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pynvml

from engines.snapshot import GpuView


@dataclass(frozen=True, slots=True)
class Gpus:
    """What NVML sees now. `why_none` is set exactly when `seen` is empty."""

    seen: tuple[GpuView, ...]
    why_none: str | None


def read_gpus() -> Gpus:
    """All GPUs in PCI order. A GPU that cannot be read is left out: nothing can be started on it."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError_LibraryNotFound:
        return Gpus((), "the NVIDIA driver library is not installed")
    except pynvml.NVMLError_DriverNotLoaded:
        return Gpus((), "the NVIDIA driver is installed but not loaded")
    except pynvml.NVMLError as error:
        return Gpus((), f"NVML does not start: {error}")
    try:
        found = [_read_one(number) for number in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError as error:
        return Gpus((), f"NVML does not answer: {error}")
    finally:
        pynvml.nvmlShutdown()
    seen = tuple(gpu for gpu in found if gpu)
    return Gpus(seen, None if seen else "the NVIDIA driver reports no usable GPU")


def _read_one(number: int) -> GpuView | None:
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(number)
        memory = _memory(handle)
        return GpuView(
            uuid=_text(pynvml.nvmlDeviceGetUUID(handle)),
            name=_text(pynvml.nvmlDeviceGetName(handle)),
            total_bytes=memory.total,
            used_bytes=memory.used,
            free_bytes=memory.free,
        )
    except pynvml.NVMLError:
        return None


def _memory(handle: Any) -> Any:
    # Version 2 counts what the driver keeps for itself apart from `used`; old drivers know only version 1.
    try:
        return pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2)
    except pynvml.NVMLError:
        return pynvml.nvmlDeviceGetMemoryInfo(handle)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
