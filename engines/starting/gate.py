"""The gate before a launch: one start at a time on each device, and only onto memory that has settled.

Carries out what `settle` decides. Knows no engine process, only what the driver says of the GPUs.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from engines.gpus.watch import GpuWatch, Reading
from engines.pause import pause
from engines.plan import EnginePlan
from engines.processes.orphans import descendants
from engines.starting.settle import GO, Settled, Verdict, Waiting, is_lost, settled, unexplained_bytes

PAUSE_S = 0.25
# A healthy driver answers within milliseconds, one that sets up its cards within a second or two.
READ_LIMIT_S = 5.0
LOOK_S = 0.02
RETURN_LOOK_S = 2.0


class Device:
    """One GPU, or the processor, as engines share it: who starts on it holds `lock` until it serves."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lock = asyncio.Lock()
        self._ended_at_s: float | None = None
        self._usual_bytes: int | None = None
        self._returning: asyncio.Task[None] | None = None

    def when_returned(self, watch: GpuWatch, tell: Callable[[], None]) -> None:
        """Look at its memory, which it has not given back, until it has; then `tell`, once."""
        if self._returning is None or self._returning.done():
            self._returning = asyncio.create_task(_returned(self, watch, tell))

    def note_end(self) -> None:
        """An engine on it has ended: its memory may still be on its way back."""
        self._ended_at_s = time.monotonic()

    def note_usual(self, count: int) -> None:
        """What no process held when the first of ours was about to start."""
        if self._usual_bytes is None:
            self._usual_bytes = count

    @property
    def ended_s(self) -> float | None:
        """How long ago one of ours ended here."""
        return None if self._ended_at_s is None else time.monotonic() - self._ended_at_s

    @property
    def usual_bytes(self) -> int:
        return self._usual_bytes or 0


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is known beside the devices: the watch of the GPUs, None where there are none; the keepers of our processes;
    what the engine holds of its GPUs already, if it only wakes up."""

    watch: GpuWatch | None
    keepers: Collection[int] = ()
    held_bytes: Mapping[str, int] = field(default_factory=dict)


@asynccontextmanager
async def held(devices: Iterable[Device], stopping: asyncio.Event) -> AsyncIterator[bool]:
    """All of them, taken in the order of their names, so that two groups can never wait for each other; False, and none
    of them, if `stopping` comes first."""
    async with AsyncExitStack() as stack:
        for device in sorted(devices, key=lambda each: each.name):
            if not await _taken(device.lock, stopping):
                await stack.aclose()
                yield False
                return
            stack.callback(device.lock.release)
        yield True


@asynccontextmanager
async def held_if_free(devices: Iterable[Device]) -> AsyncIterator[None]:
    """Those of them that nobody holds: for what is there already and waits for no turn."""
    async with AsyncExitStack() as stack:
        for device in devices:
            if not device.lock.locked():
                await stack.enter_async_context(device.lock)
        yield


async def _taken(lock: asyncio.Lock, stopping: asyncio.Event) -> bool:
    taking = asyncio.ensure_future(lock.acquire())
    leaving = asyncio.ensure_future(stopping.wait())
    try:
        await asyncio.wait({taking, leaving}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        leaving.cancel()
    # Whoever waits and is let in at the same moment has it.
    return taking.done() or not taking.cancel()


async def wait_for_memory(
    plan: EnginePlan,
    devices: Sequence[Device],
    outlook: Outlook,
    stopping: asyncio.Event,
    say: Callable[[str], None],
) -> tuple[Settled, Reading | None]:
    """Until the GPUs of `plan` can take it, cannot, or a stop is asked for; with the last reading."""
    watch = outlook.watch
    began_s = time.monotonic()
    found: list[Reading] = []
    verdict = GO
    while watch and plan.gpu_uuids and not stopping.is_set():
        reading = await fresh(watch)
        found += [reading] if reading else []
        waiting = _waiting(devices, found, time.monotonic() - began_s, outlook)
        verdict = settled(plan, found, waiting)
        if verdict.verdict is not Verdict.WAIT:
            break
        say(verdict.why)
        await pause(stopping, PAUSE_S)
    last = found[-1] if found else None
    if last and verdict.verdict is Verdict.GO:
        _note_usual(devices, last)
    return verdict, last


async def fresh(watch: GpuWatch) -> Reading | None:
    """What the driver says now; None if it does not say it in time."""
    asked_s = time.monotonic()
    watch.hurry()
    while (waited_s := time.monotonic() - asked_s) < READ_LIMIT_S:
        if (reading := watch.latest()).began_s >= asked_s:
            return reading
        await asyncio.sleep(min(LOOK_S, READ_LIMIT_S - waited_s))
    return None


async def _returned(device: Device, watch: GpuWatch, tell: Callable[[], None]) -> None:
    while True:
        await asyncio.sleep(RETURN_LOOK_S)
        reading = watch.latest()
        waiting = _waiting([device], [reading], 0.0, Outlook(watch))
        # A stranger's memory explains itself, so what is not explained any more is back.
        waiting = replace(waiting, ours={process.pid for card in reading.gpus.seen for process in card.processes or ()})
        if any(card.uuid == device.name and not is_lost(card, waiting) for card in reading.gpus.seen):
            tell()
            return


def _waiting(devices: Sequence[Device], found: Sequence[Reading], waited_s: float, outlook: Outlook) -> Waiting:
    ended = [device.ended_s for device in devices if device.ended_s is not None]
    ours = descendants(os.getpid())
    # What an earlier supervisor started does not descend from this one.
    for keeper in outlook.keepers:
        ours |= {keeper, *descendants(keeper)} if keeper not in ours else set()
    cards = found[-1].gpus.seen if found else ()
    strangers = {process.pid for card in cards for process in card.processes or ()} - ours
    return Waiting(
        waited_s=waited_s,
        ended_s=min(ended, default=None),
        usual_bytes={device.name: device.usual_bytes for device in devices},
        ours=ours,
        names={pid: name for pid in strangers if (name := _name(pid))},
        held_bytes=outlook.held_bytes,
    )


def _note_usual(devices: Sequence[Device], reading: Reading) -> None:
    cards = {card.uuid: card for card in reading.gpus.seen}
    for device in devices:
        if device.name in cards:
            device.note_usual(unexplained_bytes(cards[device.name]))


def _name(pid: int) -> str | None:
    """The name of a process, where it is one of this machine's."""
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
    except OSError:
        return None
