"""The memory that an engine's processes hold: on its GPUs as the driver counts it, else that of the host."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection

from engines.gpus.gpu import Gpu
from engines.life.run import Run
from engines.life.site import Site
from engines.processes.orphans import descendants

# Adding up the pages of a large process takes the kernel milliseconds for each GiB.
EVERY_S = 5.0


class Holding:
    """The last reading of one run, None where nobody tells."""

    def __init__(self, run: Run, site: Site) -> None:
        self._run, self._site = run, site
        self._bytes: int | None = None
        self._read_s = 0.0

    @property
    def memory_bytes(self) -> int | None:
        return self._bytes

    @property
    def age_s(self) -> float | None:
        return None if self._bytes is None else round(time.monotonic() - self._read_s, 3)

    async def follow(self) -> None:
        """Read it again and again, until cancelled."""
        while True:
            await self.read()
            await asyncio.sleep(EVERY_S)

    async def read(self) -> None:
        pids = descendants(self._run.kept.keeper_pid)
        watch, uuids = self._site.watch, self._run.plan.gpu_uuids
        if not uuids:
            found, read_s = await asyncio.to_thread(host_bytes, pids), time.monotonic()
        elif watch:
            reading = watch.latest()
            cards = [card for card in reading.gpus.seen if card.uuid in uuids]
            found, read_s = gpu_bytes(cards, pids), reading.began_s
        else:
            return
        # What was read once is shown with its age, should the driver fall silent.
        if found is not None:
            self._bytes, self._read_s = found, read_s


def held_bytes(run: Run, site: Site) -> dict[str, int]:
    """What a run holds of each of its GPUs, as far as the driver says so."""
    pids = descendants(run.kept.keeper_pid)
    cards = site.watch.latest().gpus.seen if site.watch else ()
    return {card.uuid: gpu_bytes([card], pids) or 0 for card in cards if card.uuid in run.plan.gpu_uuids}


def gpu_bytes(cards: Collection[Gpu], pids: Collection[int]) -> int | None:
    """What these processes hold on these cards; None where the driver does not know them (in a container it counts by
    other pids) or does not say how much they hold."""
    own = [process.used_bytes for card in cards for process in card.processes or () if process.pid in pids]
    known = [count for count in own if count is not None]
    return sum(known) if own and len(known) == len(own) else None


def host_bytes(pids: Collection[int]) -> int | None:
    """What these processes hold of the host's memory, shared pages counted once (Linux, /proc/PID/smaps_rollup, Pss);
    None if none of them can be read."""
    found = [count for pid in pids if (count := _proportional_bytes(pid)) is not None]
    return sum(found) if found else None


def _proportional_bytes(pid: int) -> int | None:
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            return next((int(line.split()[1]) * 1024 for line in file if line.startswith(b"Pss:")), None)
    except OSError:
        return None
