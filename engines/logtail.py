"""Reading a log file that its writer rotates: what is new, and the last lines. Knows nothing of what the lines mean."""

from __future__ import annotations

import os
from pathlib import Path

READ_BYTES = 256 * 1024


class LogTail:
    """The lines written to a log from now on (or, `from_start`, from the file's beginning)."""

    def __init__(self, path: Path, from_start: bool = False) -> None:
        self._path = path
        self._inode, size_bytes = _identity(path)
        self._offset = 0 if from_start else size_bytes
        self._partial = b""

    def new_lines(self) -> list[str]:
        """Complete lines since the last call, at most 256 KiB at once. A rotated file is read from its start."""
        inode, size_bytes = _identity(self._path)
        if inode != self._inode or size_bytes < self._offset:
            self._inode, self._offset, self._partial = inode, 0, b""
        if size_bytes == self._offset:
            return []
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                text = file.read(READ_BYTES)
        except OSError:
            return []
        self._offset += len(text)
        *whole, self._partial = (self._partial + text).split(b"\n")
        return [line.decode("utf-8", "replace") for line in whole]


def last_lines(path: Path, most: int) -> list[str]:
    """The last lines of a log; fewer if there are fewer, none if there is no such file."""
    try:
        with path.open("rb") as file:
            size_bytes = file.seek(0, os.SEEK_END)
            file.seek(max(0, size_bytes - READ_BYTES))
            return file.read().decode("utf-8", "replace").splitlines()[-most:]
    except OSError:
        return []


def _identity(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_ino, found.st_size
