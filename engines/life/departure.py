"""How an engine leaves: it finishes what it serves, then sleeps or ends. Carries out what `draining` decides."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any

from engines.kinds.wire import EngineSilentError
from engines.life.draining import STILL_S, Drain, Seen, is_drained
from engines.life.run import Run
from engines.life.site import Site
from engines.life.wishes import Wishes
from engines.starting.gate import Device

POLL_S = 0.05
# A keeper needs longer to end than its child, and nobody should be sent there meanwhile.
LOOK_S = 0.1
# An engine that is watched is listened to anyway.
LISTEN_S = 0.5


async def drained(run: Run, site: Site, limit_s: Callable[[], float]) -> None:
    """Until nothing is in flight at it, `limit_s` is over (it may shrink meanwhile), or the run ends."""
    # The next Snapshot is the first that says so.
    began_s, sequence = time.monotonic(), site.sequence() + 1
    moved_s, steps = began_s, run.pulse.steps()
    while not run.is_over:
        now_s = time.monotonic()
        if now_s - (run.pulse.heard_s() or 0.0) > LISTEN_S:
            await run.pulse.listen()
        if run.pulse.steps() != steps:
            moved_s, steps = now_s, run.pulse.steps()
        use = site.use(run.pulse.url)
        # What tells no steps tells no counts of its own either.
        still_s = now_s - moved_s if steps is not None else STILL_S
        seen = Seen(site.heard(sequence), use, run.pulse.load(now_s, use), still_s)
        if is_drained(Drain(began_s, limit_s(), sequence), seen, now_s):
            return
        await asyncio.wait({run.ended}, timeout=POLL_S)


async def asleep(run: Run, devices: Iterable[Device]) -> bool:
    """Whether it has handed its memory over."""
    try:
        await run.pulse.sleep()
    except EngineSilentError:
        return False
    for device in devices:
        device.note_end()
    return True


async def ended(run: Run, wishes: Wishes) -> None:
    """TERM, and its grace, until keeper and child are gone; a third stop ends the grace."""
    run.kept.terminate()
    while not run.ended.done():
        wishes.changed.clear()
        if wishes.is_out_of_patience:
            run.kept.kill()
        await until_said(wishes, run)


async def until_said(wishes: Wishes, run: Run, *tasks: asyncio.Future[None]) -> None:
    """Until something is wished, the run is over, or one of the tasks is done."""
    said = asyncio.ensure_future(wishes.changed.wait())
    waits: set[asyncio.Future[Any]] = {said, run.ended, *tasks}
    try:
        done: set[asyncio.Future[Any]] = set()
        while not done:
            done, _ = await asyncio.wait(waits, timeout=LOOK_S, return_when=asyncio.FIRST_COMPLETED)
            if run.is_over:
                return
    finally:
        said.cancel()
