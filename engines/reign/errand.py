"""A short-lived process of ours beside the supervisor, for work that would hold up its tick: planning, fetching files.

Knows nothing of what it does. Its pid stands among those that no sweep of orphans may touch.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import IO

MOST_BYTES = 64 * 1024
REAP_PAUSE_S = 0.02


@dataclass(frozen=True, slots=True)
class Ended:
    """How an errand ended: its exit code, and what it said on stderr, the end of it if that was much."""

    code: int
    said: str


async def run_errand(arguments: Sequence[str], spared: set[int], tell: Callable[[str], None]) -> Ended:
    """`python ARGUMENTS` to its end. `tell` hears each line of its stdout; `spared` are pids that are not swept up.
    Raises OSError if there is no process to be had. Cancelled, it takes the process along."""
    process = subprocess.Popen(
        [sys.executable, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    spared.add(process.pid)
    try:
        _, said = await asyncio.gather(_lines(process.stdout, tell), _last_words(process.stderr))
        while process.poll() is None:
            await asyncio.sleep(REAP_PAUSE_S)
        return Ended(process.returncode, said)
    finally:
        process.kill()
        process.wait()
        spared.discard(process.pid)


async def _lines(pipe: IO[bytes] | None, tell: Callable[[str], None]) -> None:
    reader, transport = await _open(pipe)
    try:
        while line := await reader.readline():
            tell(line.decode(errors="replace").rstrip())
    except ValueError:
        # A line without an end is no progress that anybody could read.
        return
    finally:
        transport.close()


async def _last_words(pipe: IO[bytes] | None) -> str:
    reader, transport = await _open(pipe)
    said = b""
    try:
        while text := await reader.read(MOST_BYTES):
            said = (said + text)[-MOST_BYTES:]
    finally:
        transport.close()
    return said.decode(errors="replace").strip()


async def _open(pipe: IO[bytes] | None) -> tuple[asyncio.StreamReader, asyncio.ReadTransport]:
    reader = asyncio.StreamReader(MOST_BYTES)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), pipe
    )
    return reader, transport
