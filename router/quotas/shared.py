"""One pool in a file that all workers of a router share, and that outlives them: the door to that file.

Times in it are those of the day (Unix), so that what was counted still holds after a restart. Layout: a word of eight
bytes at the beginning, then two copies, each a length of four bytes and the pool as msgpack:

    word     u64     crc32 of the copy << 32 | turn; the last bit of the turn picks the copy; 0: nothing yet

Who changes it holds a lock (flock) from the look to the store; readers take none. They find a copy whole or its sum
wrong, and look again: as in `router.rows`, where it says why. A process that is stopped while it holds the lock keeps
the others waiting for PATIENCE_S once in RESENTMENT_S; then they go on without it, and may lose one of two changes.
"""

from __future__ import annotations

import fcntl
import math
import mmap
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from zlib import crc32

import msgspec
import structlog

from router.quotas.pool import Pool

HEAD_BYTES = mmap.PAGESIZE
# A file with holes: only pages that are written take memory. Keys times deployments times 300 bytes fit.
COPY_BYTES = 1 << 20
LENGTH_BYTES = 4
WORD_BYTES = 8
# Longer than a process that computes can be kept from a processor where others want it too.
PATIENCE_S = 0.05
RESENTMENT_S = 5.0
LOOKS = 8

log = structlog.get_logger()

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Pool).decode


class SharedPool:
    """A pool that others may change at any moment."""

    def __init__(self, path: Path) -> None:
        self._fd = _opened(path)
        self._memory = mmap.mmap(self._fd, HEAD_BYTES + 2 * COPY_BYTES, prot=mmap.PROT_READ)
        self._words = memoryview(self._memory)[:WORD_BYTES].cast("Q")
        self._word = 0
        self._pool = Pool()
        self._impatient_until_s = -math.inf

    def read(self) -> Pool:
        """The newest. The same object as long as nobody has changed it."""
        if self._words[0] == self._word:
            return self._pool
        for _ in range(LOOKS):
            word = self._words[0]
            found = self._copy(word)
            if found is not None:
                self._word, self._pool = word, found
                break
        return self._pool

    def change(self, step: Callable[[Pool], Pool]) -> Pool:
        """Replace the pool by what `step` makes of it; nothing is written where that is the pool itself."""
        with self._locked():
            old = self.read()
            new = step(old)
            if new is not old:
                self._store(new)
        return new

    def close(self) -> None:
        self._words.release()
        self._memory.close()
        os.close(self._fd)

    def _copy(self, word: int) -> Pool | None:
        """None where it is being written over, or was when the machine lost its power."""
        at = _at(word)
        length = int.from_bytes(self._memory[at : at + LENGTH_BYTES], "little")
        body = self._memory[at + LENGTH_BYTES : at + LENGTH_BYTES + min(length, COPY_BYTES)]
        if not word or crc32(body) != word >> 32:
            return None
        try:
            return _decode(body)
        except msgspec.DecodeError:
            # Of another version of this program.
            return Pool()

    def _store(self, pool: Pool) -> None:
        """Where the disk is full, or there are thousands of windows, it holds in this process alone."""
        self._pool = pool
        body = _encode(pool)
        if len(body) > COPY_BYTES - LENGTH_BYTES:
            return
        turn = (self._words[0] + 1) & 0xFFFFFFFF
        word = crc32(body) << 32 | turn
        # Written by calls, which fail on a full disk. Through the memory it would end the process.
        with suppress(OSError):
            os.pwrite(self._fd, len(body).to_bytes(LENGTH_BYTES, "little") + body, _at(turn))
            os.pwrite(self._fd, word.to_bytes(WORD_BYTES, sys.byteorder), 0)
            self._word = word

    @contextmanager
    def _locked(self) -> Iterator[None]:
        until_s = time.monotonic() + PATIENCE_S
        while not self._lock():
            now_s = time.monotonic()
            if now_s < self._impatient_until_s:
                break
            if now_s > until_s:
                self._impatient_until_s = now_s + RESENTMENT_S
                break
            os.sched_yield()
        try:
            yield
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def _lock(self) -> bool:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def _opened(path: Path) -> int:
    """Where there can be no file, each process counts for itself: a provider that is full says so, and nobody is
    turned away because a disk is."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.truncate(fd, HEAD_BYTES + 2 * COPY_BYTES)
    except OSError as error:
        log.warning("limits of a provider are kept by each worker alone", path=str(path), why=error.strerror)
        fd = os.memfd_create("spillway-quotas")
        os.truncate(fd, HEAD_BYTES + 2 * COPY_BYTES)
    return fd


def _at(word: int) -> int:
    return HEAD_BYTES + (word & 1) * COPY_BYTES
