"""The GPUs of one supervisor, watched and judged: what is wrong with each, who holds its memory, what is free.

Opened with the first plan that has GPUs; a plan without any need not ask a driver. Ends nothing: it says what is so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path

from engines.gpus import xids
from engines.gpus.events import GpuEvents
from engines.gpus.nvml import open_reader
from engines.gpus.trouble import Trouble, expected, judged, weight
from engines.gpus.views import Strangers, strangers_of, views_of
from engines.gpus.watch import GpuWatch, Reading
from engines.host import read_host
from engines.plan import CPU, EnginePlan
from engines.processes.orphans import descendants
from engines.snapshot import GpuState, GpuView

GPUS_EVERY_S = 2.0


class Ward:
    """`keepers` are those of the supervisor that live, `say` is told of every GPU whose state changes."""

    def __init__(self, keepers: Collection[int], say: Callable[[str], None]) -> None:
        self._keepers, self._say = keepers, say
        self.watch: GpuWatch | None = None
        self._events: GpuEvents | None = None
        self._plans: tuple[EnginePlan, ...] = ()
        self._troubles: Mapping[str, Trouble] = {}
        self._unreturned: dict[str, str] = {}
        self._strangers: Mapping[str, Strangers] = {}
        self._read_s = 0.0

    def want(self, plans: Iterable[EnginePlan], without: Collection[str]) -> None:
        """The engines that are to run, and the GPUs that their plan does without."""
        self._plans = tuple(plans)
        uuids = dict.fromkeys([*(uuid for each in self._plans for uuid in each.gpu_uuids), *without])
        if uuids and self.watch is None:
            self.watch = GpuWatch(open_reader(), GPUS_EVERY_S)
            self._events = GpuEvents(hurry=self.watch.hurry)
        self._troubles = {**expected(list(uuids), time.monotonic()), **self._troubles}

    def unreturned(self, uuid: str, words: str) -> None:
        """Memory of ours that this GPU does not give back; "" once it is back."""
        if words:
            self._unreturned[uuid] = words
        else:
            self._unreturned.pop(uuid, None)

    def judge(self) -> None:
        """What is wrong now, by what has been told since this was asked last."""
        if self.watch is None or self._events is None:
            return
        reading, events, before = self.watch.latest(), self._events.take(), self._troubles
        for event in events:
            self._say(f"the driver told of GPU {event.uuid}: {xids.words(event)}")
        self._troubles = judged(before, reading, events, self._unreturned, time.monotonic())
        # A card that is to be reset is held by nobody.
        self.watch.let_go(bool(self.closed()))
        for uuid, trouble in self._troubles.items():
            was = before[uuid].state if uuid in before else GpuState.OK
            if trouble.state is not was:
                self._say(f"GPU {uuid} is {trouble.state}" + (f": it {trouble.why}" if trouble.why else ""))
        if reading.began_s != self._read_s:
            self._read_s = reading.began_s
            self._tell_strangers(self._who_else(reading))

    def _tell_strangers(self, found: Mapping[str, Strangers]) -> None:
        """The log names who takes memory of a GPU, once; how much that is at a time, `spillway status` shows."""
        for uuid, strangers in found.items():
            if strangers.words and not (uuid in self._strangers and self._strangers[uuid].words):
                self._say(f"GPU {uuid}: {strangers.words}")
        self._strangers = found

    def closed(self) -> Mapping[str, str]:
        """The GPUs on which nothing may run, and why in words that begin with a verb."""
        return {uuid: each.why for uuid, each in self._troubles.items() if each.state is GpuState.QUARANTINED}

    def weight(self, uuids: Sequence[str]) -> float:
        """What an engine on these GPUs is worth beside its like."""
        return weight(self._troubles, uuids)

    def views(self) -> tuple[GpuView, ...]:
        """As a Snapshot tells them. Never waits for the driver."""
        if self.watch is None:
            return ()
        return views_of(self.watch.latest(), self._troubles, self._strangers, time.monotonic())

    def free_bytes(self) -> dict[str, int]:
        """By device what nobody has taken. A GPU that the driver tells nothing of is not in it."""
        free = {CPU: read_host().available_bytes}
        if self.watch and not (reading := self.watch.latest()).is_stuck:
            free |= {gpu.uuid: gpu.free_bytes for gpu in reading.gpus.seen}
        return free

    def close(self) -> None:
        if self._events:
            self._events.close()
        if self.watch:
            self.watch.close()

    def _who_else(self, reading: Reading) -> Mapping[str, Strangers]:
        ours = {pid for keeper in self._keepers for pid in (keeper, *descendants(keeper))}
        own_bytes: dict[str, int] = {}
        for plan in self._plans:
            for uuid in plan.gpu_uuids:
                own_bytes[uuid] = own_bytes.get(uuid, 0) + plan.sum.total_bytes
        return strangers_of(reading.gpus.seen, ours, own_bytes, _name)


def _name(pid: int) -> str | None:
    """What a process is called, where it is one of this machine's."""
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
    except OSError:
        return None
