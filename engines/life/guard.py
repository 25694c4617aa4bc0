"""The watch over an engine that serves: reads its load, asks for a token where `heartbeat` says so, and ends it if it
hangs, or if a part of it is dead."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

from engines.life import heartbeat
from engines.life.heartbeat import CPU_TOKENS_PER_S, GPU_TOKENS_PER_S, Beat, Limits, Look, Sign, Suspicion
from engines.life.parts import vital_parts
from engines.life.run import Run
from engines.life.site import Site
from engines.starting import failure
from engines.starting.effort import Effort, effort, own_effort

LOOK_S = 0.25
# One that stands still is looked at more closely: how much of a processor is work, and from when on.
WORKING_SHARE = 0.3
CLOSE_LOOK_S = 2.0


class Guard:
    """One run's watch. Its looks go on while a canary is under way."""

    def __init__(self, run: Run, site: Site) -> None:
        self._run, self._site = run, site
        shape = run.plan.shape
        self._limits = Limits(
            tokens_per_s=GPU_TOKENS_PER_S if run.plan.gpu_uuids else CPU_TOKENS_PER_S,
            step_tokens=shape.max_num_batched_tokens,
            context_tokens=shape.context_tokens,
            slots=run.plan.slots,
        )
        self._work_since: tuple[float, Effort, Effort] | None = None
        self._answered_s = time.monotonic()

    async def __call__(self) -> None:
        """Until the run is condemned."""
        parts = vital_parts(self._run.kept.keeper_pid, self._run.kind.vital)
        found = heartbeat.first(await self._look(None), self._limits)
        while not self._run.is_over:
            if not all(part.lives() for part in parts):
                self._run.condemn(failure.dead())
                return
            if suspected := heartbeat.suspicion(found, self._limits):
                found = await self._try(suspected, found)
            await asyncio.sleep(LOOK_S)
            found = heartbeat.beat(found, await self._look(found), self._limits)

    async def _try(self, suspected: Suspicion, found: Beat) -> Beat:
        """Ask for a token; what is known after that. One that hangs is condemned."""
        canary = asyncio.create_task(self._run.pulse.completes(suspected.canary_s))
        look: asyncio.Task[Look] | None = None
        try:
            while not canary.done():
                look = look or asyncio.create_task(self._look(found))
                await asyncio.wait({canary, look}, return_when=asyncio.FIRST_COMPLETED)
                if look.done():
                    found = heartbeat.beat(found, look.result(), self._limits)
                    look = None
                    await asyncio.wait({canary}, timeout=LOOK_S)
        finally:
            canary.cancel()
            if look:
                look.cancel()
        if canary.result():
            return heartbeat.proved(found, time.monotonic())
        if heartbeat.is_hung(suspected, found):
            is_dead = suspected.sign is Sign.SICK
            self._run.condemn(failure.dead() if is_dead else failure.hung(suspected.why))
        return found

    async def _look(self, before: Beat | None) -> Look:
        pulse = self._run.pulse
        asked_s = time.monotonic()
        _, is_healthy = await asyncio.gather(pulse.listen(), pulse.is_healthy())
        now_s = time.monotonic()
        has_told = (pulse.heard_s() or 0.0) >= asked_s
        if has_told or is_healthy:
            self._answered_s = asked_s
        use = self._site.use(pulse.url)
        load = pulse.load(now_s, use)
        look = Look(
            now_s=now_s,
            heard_s=self._answered_s,
            steps=pulse.steps(),
            own=load.running + load.waiting if load else 0,
            use=use,
            is_sick=has_told and not is_healthy,
        )
        return self._with_work(look, before)

    def _with_work(self, look: Look, before: Beat | None) -> Look:
        """To look at all processes costs milliseconds, so only where something is wrong already."""
        is_still = before is not None and look.steps == before.last.steps and look.has_work
        silent_s = look.now_s - look.heard_s
        still_s = 0.0 if not is_still or before is None or before.still_s is None else look.now_s - before.still_s
        if max(still_s, silent_s) < CLOSE_LOOK_S:
            self._work_since = None
            return look
        child = self._run.kept.child()
        tree, server = effort(self._run.kept.keeper_pid), own_effort(child.pid if child else 0)
        if self._work_since is None:
            self._work_since = (look.now_s, tree, server)
        since_s, tree_then, server_then = self._work_since
        least_s = WORKING_SHARE * max(look.now_s - since_s, LOOK_S)
        return replace(
            look,
            is_working=tree.cpu_s - tree_then.cpu_s > least_s,
            is_computing=server.cpu_s - server_then.cpu_s > least_s,
        )
