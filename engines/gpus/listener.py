"""The events of the driver as NVML tells them: one session that listens to all cards that can be listened to.

Not for two threads at once.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Collection
from typing import Any

import pynvml

from engines.gpus.binding import told, translated
from engines.gpus.faults import DriverError
from engines.gpus.nvml import recovery_of
from engines.gpus.xids import XID, XidEvent

NOT_SUPPORTED = 3
# Beside Xids, those that bear on whether a GPU may go on (nvml.h, nvmlEventType).
_KINDS = {
    pynvml.nvmlEventTypeXidCriticalError: XID,
    pynvml.nvmlEventTypeDramRetirementEvent: "a row of memory was retired",
    pynvml.nvmlEventTypeDramRetirementFailure: "a row of memory could not be retired",
    pynvml.nvmlEventTypeFatalPoisonError: "a fatal poison error",
    pynvml.nvmlEventTypeGpuUnavailableError: "the GPU became unavailable",
    pynvml.nvmlEventTypeGpuRecoveryAction: "the driver changed the recovery action that it asks for",
}
_WANTED = sum(_KINDS)


class NvmlListener:
    """The door that `engines.gpus.events.GpuEvents` asks."""

    def __init__(self) -> None:
        self._is_open = False
        self._set: Any = None
        self._uuids: dict[int | None, str] = {}

    @translated()
    def open(self, leave: Collection[str]) -> bool:
        """Begin to listen to every card that answers and asks for no recovery, but for those to `leave`. Whether no
        card is missed; one that tells no events is none. Raises DriverError, also where there is nothing to listen to.
        """
        count = self._begin()
        fit = [number for number in range(count) if _is_fit(number, leave)]
        if len(fit) < count:
            # A session holds every card open that it has looked at, and one that is held cannot be reset: the next
            # looks at none of those.
            self.close()
            self._begin()
        self._set = pynvml.nvmlEventSetCreate()
        is_whole = all([self._listens(number) for number in fit]) and len(fit) == count
        if not self._uuids:
            raise DriverError(NOT_SUPPORTED, "no GPU tells events")
        return is_whole

    def _begin(self) -> int:
        """A session, and how many cards there are."""
        pynvml.nvmlInit()
        self._is_open = True
        return int(pynvml.nvmlDeviceGetCount())

    @translated()
    def wait(self, limit_s: float) -> XidEvent | None:
        """The next event, or None if none comes in time. Raises DriverError, for one when a card is lost."""
        try:
            data = pynvml.nvmlEventSetWait_v2(self._set, round(limit_s * 1000))
        except pynvml.NVMLError_Timeout:
            return None
        uuid = self._uuids.get(_address(data.device), "unknown GPU")
        kind = _KINDS.get(data.eventType, f"event {data.eventType:#x}")
        return XidEvent(uuid, int(data.eventData) if kind == XID else None, time.monotonic(), kind)

    def close(self) -> None:
        """End the session. A driver that is gone needs no farewell."""
        if self._set is not None:
            told(pynvml.nvmlEventSetFree, self._set, gone=())
        if self._is_open:
            told(pynvml.nvmlShutdown, gone=())
        self._set, self._is_open, self._uuids = None, False, {}

    def _listens(self, number: int) -> bool:
        """Listen to one card; whether it is not missed."""
        try:
            handle = pynvml.nvmlDeviceGetHandleByIndex(number)
            kinds = (told(pynvml.nvmlDeviceGetSupportedEventTypes, handle) or 0) & _WANTED
            if kinds:
                pynvml.nvmlDeviceRegisterEvents(handle, kinds, self._set)
                self._uuids[_address(handle)] = pynvml.nvmlDeviceGetUUID(handle)
        except pynvml.NVMLError_NotSupported:
            return True
        except pynvml.NVMLError:
            return False
        return True


def _is_fit(number: int, leave: Collection[str]) -> bool:
    """Whether a card answers, is none of those to leave, and its driver asks for nothing to be done first."""
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(number)
        return pynvml.nvmlDeviceGetUUID(handle) not in leave and recovery_of(handle) in (None, "none")
    except pynvml.NVMLError:
        return False


def _address(handle: Any) -> int | None:
    """Handles are pointers, each read anew: the same card has the same address."""
    return ctypes.cast(handle, ctypes.c_void_p).value
