"""A log file that rotates by size and never makes its writer wait for a full disk.

Standard library only and small, because every keeper loads it. Knows nothing of what it writes.
"""

from __future__ import annotations

import os


class Log:
    """A log file that rotates by size. A full disk drops lines: the child must never wait for its log."""

    def __init__(self, path: str, most_bytes: int, files: int) -> None:
        self._path, self._most_bytes, self._files = path, most_bytes, files
        self._fd = -1
        self._size_bytes = 0
        self._dropped_bytes = 0

    def write(self, text: bytes) -> None:
        """Append, then rotate at a line's end once the file is full."""
        try:
            self._append(text)
            at_line_end = text.endswith(b"\n") or self._size_bytes > 2 * self._most_bytes
            if at_line_end and self._size_bytes >= self._most_bytes:
                self._rotate()
        except OSError:
            self._dropped_bytes += len(text)

    def note(self, text: str) -> None:
        """A line of the keeper's own."""
        self.write(f"[keeper] {text}\n".encode())

    def _append(self, text: bytes) -> None:
        if self._fd < 0:
            self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            self._size_bytes = os.fstat(self._fd).st_size
        if self._dropped_bytes:
            os.write(self._fd, f"[keeper] the disk was full: {self._dropped_bytes} bytes of log are lost\n".encode())
            self._dropped_bytes = 0
        written = os.write(self._fd, text)
        self._size_bytes += written
        self._dropped_bytes += len(text) - written

    def _rotate(self) -> None:
        os.close(self._fd)
        self._fd = -1
        for number in range(self._files - 1, 0, -1):
            older = f"{self._path}.{number}"
            newer = f"{self._path}.{number - 1}" if number > 1 else self._path
            if os.path.exists(newer):
                os.replace(newer, older)
