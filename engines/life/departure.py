"""An engine that is to end finishes what it serves. Carries out what `draining` decides."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from engines.life.draining import STILL_S, Drain, Seen, is_drained
from engines.life.run import Run
from engines.life.site import Site

POLL_S = 0.05


async def drained(run: Run, site: Site, limit_s: Callable[[], float]) -> None:
    """Until nothing is in flight at it, `limit_s` is over (it may shrink meanwhile), or the run ends."""
    # The next Snapshot is the first that says so.
    began_s, sequence = time.monotonic(), site.sequence() + 1
    moved_s, steps = began_s, run.pulse.steps()
    while not run.is_over:
        now_s = time.monotonic()
        if run.pulse.steps() != steps:
            moved_s, steps = now_s, run.pulse.steps()
        use = site.use(run.pulse.url)
        # What tells no steps tells no counts of its own either.
        still_s = now_s - moved_s if steps is not None else STILL_S
        seen = Seen(site.heard(sequence), use, run.pulse.load(now_s, use), still_s)
        if is_drained(Drain(began_s, limit_s(), sequence), seen, now_s):
            return
        await asyncio.wait({run.ended}, timeout=POLL_S)
