"""What all engines of one supervisor share, and the doors that it keeps open for them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from engines.gpus.watch import GpuWatch
from engines.kinds.wire import Wire
from engines.memory.measured import Measured
from engines.plan import EnginePlan
from engines.snapshot import EngineUse
from engines.starting.effort import QUIET_S


class FetchError(Exception):
    """The files of an engine are not all there and whole. The message says why, as a sentence."""


async def nothing_to_fetch(plan: EnginePlan, say: Callable[[str], None]) -> None:
    """For engines whose files are there."""
    del plan, say


@dataclass(frozen=True, slots=True)
class Site:
    """What all engines of one supervisor share. `watch` is of the GPUs, None where there is none in the plan; `keepers`
    is its set of keepers that live; `learn` takes what a good start told; `quiet_s`: how long a start may do nothing.

    `use` is what routers have at a URL; `sequence` is the number of the newest Snapshot, and `heard` whether all
    connected routers have heard the one of a number. `fetch` says its progress and raises FetchError. `reviver` starts
    the next supervisor should this one die. `weight` is that of an engine on these GPUs; `unreturned` takes a GPU and
    why its memory counts as lost, "" once it is back.
    """

    home: Path
    http: Wire
    watch: GpuWatch | None
    keepers: set[int]
    learn: Callable[[EnginePlan, Measured], None]
    quiet_s: float = QUIET_S
    use: Callable[[str], EngineUse] = lambda url: EngineUse()
    heard: Callable[[int], bool] = lambda sequence: True
    sequence: Callable[[], int] = lambda: 0
    fetch: Callable[[EnginePlan, Callable[[str], None]], Awaitable[None]] = nothing_to_fetch
    reviver: tuple[str, ...] = ()
    weight: Callable[[Sequence[str]], float] = lambda gpu_uuids: 1.0
    unreturned: Callable[[str, str], None] = lambda gpu_uuid, words: None
