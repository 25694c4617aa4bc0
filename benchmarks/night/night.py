"""What a fault finds when it strikes: the stage, its visitors, and who watches the supervisor."""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import ExitStack
from dataclasses import dataclass, field

from benchmarks.night.kinship import Process, Record
from benchmarks.night.scenery import MODEL
from benchmarks.night.stage import Stage, StageError
from benchmarks.night.visitors import Visitors
from benchmarks.night.witness import Wanted, Witness
from engines.snapshot import EngineView


@dataclass
class Night:
    """One trial. The one writer of `struck_s`, the moment from which all is counted. `afterwards` is closed at its end,
    whatever happened."""

    stage: Stage
    witness: Witness
    visitors: Visitors
    struck_s: float = 0.0
    afterwards: ExitStack = field(default_factory=ExitStack)

    def mark(self) -> None:
        """It happens now."""
        self.struck_s = time.monotonic()

    def tell(self, process: Process, number: signal.Signals) -> None:
        """Strike one of our own processes."""
        self.mark()
        process.tell(number)

    def view(self, name: str = MODEL) -> EngineView:
        """An engine as the supervisor has it now. Raises ValueError for one that is not there."""
        for view in self.witness.latest().engines:
            if view.name == name:
                return view
        raise ValueError(f"the supervisor knows no engine {name}")

    def record(self, name: str = MODEL) -> Record:
        """Of the engine that has this name now; its record may be called by another. Raises ValueError for none."""
        pid = self.view(name).pid
        for record in self.stage.kin.records().values():
            if record.child and record.child.pid == pid and record.child.lives():
                return record
        raise ValueError(f"engine {name} has no living process in the records of {self.stage.home}")

    def server(self, name: str = MODEL) -> Process:
        """The process that answers for an engine. Raises ValueError."""
        child = self.record(name).child
        assert child is not None
        return child

    def inner(self, title: str, name: str = MODEL) -> Process:
        """A process of that title below an engine's keeper. Raises ValueError."""
        return self.stage.kin.below(self.record(name).name, title)

    async def until(self, wanted: Wanted, limit_s: float, why: str) -> None:
        """Wait for a Snapshot after the fault. Raises StageError where it does not come in time."""
        if await self.witness.until(wanted, self.struck_s, limit_s) is None:
            raise StageError(f"{why}: not within {limit_s:g} s")

    async def sleep(self, seconds: float) -> None:
        """Let the fault last."""
        await asyncio.sleep(seconds)
