"""The watch over an engine that serves: reads its load, and ends it when it hangs."""

from __future__ import annotations

import asyncio
import time

from engines.life.run import Run
from engines.life.site import Site
from engines.starting import failure

LOOK_S = 0.25
SILENT_S = 60.0


class Guard:
    """One run's watch; goes on where it was interrupted."""

    def __init__(self, run: Run, site: Site) -> None:
        self._run, self._site = run, site

    async def __call__(self) -> None:
        """Until the run is condemned."""
        heard_s = time.monotonic()
        while True:
            await self._run.pulse.listen()
            heard_s = max(heard_s, self._run.pulse.heard_s() or 0.0)
            if time.monotonic() - heard_s > SILENT_S:
                self._run.condemn(failure.hung("silent"))
                return
            await asyncio.sleep(LOOK_S)
