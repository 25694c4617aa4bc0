"""Calls into the NVML binding: which of its errors mean a field that is not told, which a card or driver that is gone.

With the doors `nvml` and `listener` the only file that imports pynvml.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import pynvml

from engines.gpus.faults import DriverError

T = TypeVar("T")

# Errors of a whole card or driver; any other concerns only the field that was asked for.
_GONE = (
    pynvml.NVMLError_GpuIsLost,
    pynvml.NVMLError_ResetRequired,
    pynvml.NVMLError_IrqIssue,
    pynvml.NVMLError_Uninitialized,
    pynvml.NVMLError_DriverNotLoaded,
    pynvml.NVMLError_LibRmVersionMismatch,
)


@contextmanager
def translated() -> Iterator[None]:
    """The binding's errors leave as DriverError."""
    try:
        yield
    except pynvml.NVMLError as error:
        raise DriverError(error.value, str(error)) from error


def told(ask: Callable[..., T], *arguments: Any, gone: tuple[type[Exception], ...] = _GONE) -> T | None:
    """The answer, or None when this card or driver does not tell. Raises NVMLError when it is `gone` as a whole."""
    try:
        return ask(*arguments)
    except gone:
        raise
    except (pynvml.NVMLError, pynvml.NVMLLibraryMismatchError):
        return None
