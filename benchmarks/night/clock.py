"""A wall clock that jumps, for the processes of one stage alone; the machine's clock is never touched.

The door to `clock_shift.c`, which those processes load before the C library.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path

SOURCE = Path(__file__).with_name("clock_shift.c")


class Shift:
    """The one writer of the shift."""

    def __init__(self, folder: Path) -> None:
        """Compiles the library into `folder`. Raises ValueError where there is no C compiler."""
        compiler = shutil.which("cc")
        if compiler is None:
            raise ValueError("clock-jump needs a C compiler (`cc`), and there is none")
        self._file, library = folder / "clock.shift", folder / "clock_shift.so"
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-Wall", "-o", library, SOURCE], check=True)
        self._library = library
        self.jump(0.0)

    @property
    def environment(self) -> Mapping[str, str]:
        """What a process needs to have this clock."""
        return {"LD_PRELOAD": str(self._library), "SPILLWAY_CLOCK_SHIFT": str(self._file)}

    def jump(self, seconds: float) -> None:
        """From now on the clock is off by so much."""
        # In place: it is mapped by those who read it, and eight aligned bytes are written at once.
        fd = os.open(self._file, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.pwrite(fd, struct.pack("=q", int(seconds * 1e9)), 0)
        finally:
            os.close(fd)
