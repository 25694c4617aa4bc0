"""Sentences for GPUs and drivers in trouble: what is wrong, and what mends it. Pure; codes are those of nvmlReturn_t.

Sources: nvml.h, nvmlReturn_t (NVIDIA NVML API reference, release 595).
"""

from __future__ import annotations

from engines.gpus.gpu import Health

NO_PERMISSION = 4
DRIVER_NOT_LOADED = 9
TIMEOUT = 10
IRQ_ISSUE = 11
LIBRARY_NOT_FOUND = 12
GPU_IS_LOST = 15
RESET_REQUIRED = 16
LIB_RM_VERSION_MISMATCH = 18

NO_GPU = "the NVIDIA driver is loaded and reports no GPU: look for one with `lspci`, and in a container ask for GPUs"
_DRIVER = {
    NO_PERMISSION: "the NVIDIA driver refuses this user: give it access to the devices /dev/nvidia*",
    DRIVER_NOT_LOADED: "the NVIDIA driver is installed but not loaded: load it with `modprobe nvidia`, or, after an "
    "update of the kernel, install the driver again",
    LIBRARY_NOT_FOUND: "the NVIDIA driver library (libnvidia-ml.so.1) is not installed: install the driver, or, in a "
    "container, start it with the NVIDIA container runtime",
    LIB_RM_VERSION_MISMATCH: "the NVIDIA driver library is not of the version of the loaded driver, which happens when "
    "it is updated while it runs: reboot, or reload the nvidia modules",
}
_GPU = {
    NO_PERMISSION: "refuses this user: give it access to the device",
    TIMEOUT: "does not answer in time: reset it with `nvidia-smi --gpu-reset`, or reboot",
    IRQ_ISSUE: "has an interrupt problem: look into the kernel's log for NVRM, and reboot",
    GPU_IS_LOST: "has fallen off the bus: look for its Xid in the kernel's log, and reboot or power-cycle the machine",
    RESET_REQUIRED: "must be reset: stop what runs on it, then `nvidia-smi --gpu-reset`",
}

# With these there is nothing to be mended on a machine without GPUs.
_ABSENCES = (NO_GPU, _DRIVER[LIBRARY_NOT_FOUND], _DRIVER[DRIVER_NOT_LOADED])


class DriverError(Exception):
    """A driver or a card that does not answer. `code` is its nvmlReturn_t, `text` the driver's own word for it."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code, self.text = code, text


def of_driver(error: DriverError) -> str:
    """Why there are no GPUs, for an error of the driver as a whole."""
    unknown = f"the NVIDIA driver does not answer ({error.text}): `nvidia-smi` should say more"
    return _DRIVER.get(error.code, unknown)


def is_absence(why_none: str | None) -> bool:
    """Whether a machine of which this is said may be one without GPUs. All else is a fault of GPUs that are there."""
    return why_none in _ABSENCES


def of_gpu(label: str, error: DriverError) -> str:
    """Why one GPU cannot be used. `label` names it: "GPU 1 (NVIDIA L4, GPU-...)"."""
    return f"{label} {what(error)}"


def what(error: DriverError) -> str:
    """The same without its name: "has fallen off the bus: ..."."""
    return _GPU.get(error.code, f"cannot be read ({error.text}): `nvidia-smi` should say more")


def no_instances(label: str) -> str:
    """For a GPU that is to be divided and is not."""
    return (
        f"{label} is in MIG mode and has no instances: make some with `nvidia-smi mig -cgi PROFILE -C`, or leave the "
        "mode with `nvidia-smi -mig 0`"
    )


def no_reserve(driver: str | None) -> str:
    """For a driver that knows only version 1 of the memory query."""
    which = f"driver {driver}" if driver else "the driver"
    return f"{which} counts what it keeps for itself as used memory: drivers from 510 on tell the two apart"


def of_health(label: str, health: Health) -> str | None:
    """Why nothing new may start on a GPU that answers, or None when it is fit.

    The driver's own recovery action decides, and a row of memory that could not be replaced. Engines that run there may
    finish (nvml.h, nvmlDeviceGpuRecoveryAction_t; NVIDIA GPU Memory Error Management, "Row-Remapping").
    """
    if health.is_fit:
        return None
    if health.remap_failed:
        return f"{label} takes nothing new: a faulty row of its memory could not be replaced, so the card must be"
    return f"{label} takes nothing new: its driver asks for {health.recovery!r} first, see `nvidia-smi -q`"
