"""What a person sees while a load runs: a bar with live figures on stderr, and nothing where that is no terminal.

Reads the Progress of the drive; it must not know where the figures come from or what becomes of them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from statistics import median

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from benchmarks.drive.progress import Progress
from benchmarks.report.quantity import number, seconds
from benchmarks.workload.spec import Spec

DRAWN_EACH_S = 0.25


class Screen:
    """One bar for each load, one after the other. `began` fits `Measuring.say`."""

    def __init__(self) -> None:
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(20),
            TimeElapsedColumn(),
            TextColumn("{task.fields[figures]}"),
            console=Console(stderr=True),
            transient=True,
            auto_refresh=False,
        )
        self._task: TaskID | None = None
        self._spec: Spec | None = None
        self._progress = Progress()
        self._seen = (0.0, 0)
        self._rate = 0.0

    def began(self, name: str, spec: Spec, progress: Progress) -> None:
        """Another load begins."""
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._spec, self._progress, self._seen, self._rate = spec, progress, (0.0, 0), 0.0
        self._task = self._bar.add_task(name, total=spec.requests or spec.duration_s, figures="")

    @asynccontextmanager
    async def shown(self) -> AsyncIterator[None]:
        """While the block runs."""
        if not self._bar.console.is_terminal:
            yield
            return
        with self._bar:
            drawing = asyncio.create_task(self._draw())
            try:
                yield
            finally:
                drawing.cancel()
                with suppress(asyncio.CancelledError):
                    await drawing

    async def _draw(self) -> None:
        while True:
            if self._task is not None and self._spec is not None and self._progress.began_s:
                progress, spec = self._progress, self._spec
                since_s = time.monotonic() - progress.began_s
                self._count(since_s)
                completed = progress.done + progress.failed if spec.requests else since_s
                self._bar.update(self._task, completed=completed, figures=self._figures())
                self._bar.refresh()
            await asyncio.sleep(DRAWN_EACH_S)

    def _count(self, since_s: float) -> None:
        before_s, before = self._seen
        if since_s - before_s >= 1.0:
            self._rate = (self._progress.events - before) / (since_s - before_s)
            self._seen = (since_s, self._progress.events)

    def _figures(self) -> str:
        progress = self._progress
        ttft_s = median(progress.recent_ttft_s) if progress.recent_ttft_s else None
        parts = [
            f"{progress.done} done",
            f"{progress.in_flight} in flight",
            f"{number(self._rate)} tokens/s",
            f"TTFT {seconds(ttft_s)}" if ttft_s is not None else "",
            f"[red]{progress.failed} failed[/red]" if progress.failed else "",
        ]
        return " · ".join(part for part in parts if part)
