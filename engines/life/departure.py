"""An engine that is to end finishes what it serves. Carries out what `draining` decides."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from engines.life.draining import Drain, is_drained
from engines.life.run import Run
from engines.life.site import Site

POLL_S = 0.05


async def drained(run: Run, site: Site, limit_s: Callable[[], float]) -> None:
    """Until nothing is in flight at it, `limit_s` is over (it may shrink meanwhile), or the run ends."""
    # The next Snapshot is the first that says so.
    began_s, sequence = time.monotonic(), site.sequence() + 1
    while not run.ended.done() and not run.verdict:
        now_s = time.monotonic()
        use = site.use(run.pulse.url)
        drain = Drain(began_s, limit_s(), sequence)
        if is_drained(drain, site.heard(sequence), use, run.pulse.load(now_s, use), now_s):
            return
        await asyncio.wait({run.ended}, timeout=POLL_S)
