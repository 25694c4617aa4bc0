"""What each worker shows of itself as a whole, in shared memory, so that any of them can answer for all.

The parent holds the memory: what a worker showed last stays when it is killed, its successor goes on from there, and
nothing of it is left when the router ends. One writer per space, no lock. A space has a head and two copies; the
writer fills the copy that does not count and then writes the head, which says which copy counts and what its length
and CRC-32 must be. A reader that finds something else has met the writer, and looks again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from struct import Struct
from zlib import crc32

# Where a space and its second copy begin. The file is sparse: only what was written takes memory.
SPACE_BYTES = 2**34
COPY_BYTES = 2**33
HEAD = Struct("=QQQ")
LOOKS = 8


def open_shown() -> int:
    """Room for what any number of workers show: a file descriptor in memory, to be handed to each of them."""
    return os.memfd_create("spillway-shown")


class Shown:
    """The spaces of all workers, of which worker `number` writes its own."""

    def __init__(self, fd: int, number: int, workers: int) -> None:
        self._fd = fd
        self._number = number
        self._siblings = tuple(each for each in range(workers) if each != number)
        self._last = dict.fromkeys(range(workers), b"")
        self._turn = self._head(number)[0]

    def __repr__(self) -> str:
        return f"<Shown number={self._number} turn={self._turn}>"

    def show(self, content: bytes) -> None:
        """Put this in place of what this worker showed last."""
        turn = self._turn + 1
        os.pwrite(self._fd, content, _copy_at(self._number, turn))
        os.pwrite(self._fd, HEAD.pack(turn, len(content), crc32(content)), self._number * SPACE_BYTES)
        self._turn = turn

    def own(self) -> bytes:
        """What this worker, or the one that had its seat before, showed last; empty if nothing."""
        return self._read(self._number)

    def others(self) -> Iterator[bytes]:
        """What each sibling showed last, whether it still lives or not; nothing of one that never showed anything."""
        yield from filter(None, map(self._read, self._siblings))

    def _read(self, number: int) -> bytes:
        for _ in range(LOOKS):
            turn, length, crc = self._head(number)
            content = os.pread(self._fd, length, _copy_at(number, turn)) if turn else b""
            if crc32(content) == crc:
                self._last[number] = content
                break
        return self._last[number]

    def _head(self, number: int) -> tuple[int, int, int]:
        read = os.pread(self._fd, HEAD.size, number * SPACE_BYTES)
        return HEAD.unpack(read) if len(read) == HEAD.size else (0, 0, 0)


def _copy_at(number: int, turn: int) -> int:
    return number * SPACE_BYTES + turn % 2 * COPY_BYTES + HEAD.size
