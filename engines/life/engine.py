"""One engine's life: start, watch, restart, stop. Carries out what `lifecycle` and `vllm` decide.

Written by its own task only; the supervisor reads `view`. Knows processes and one HTTP door, never a request.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from engines.gpus.gpu import Gpu
from engines.gpus.watch import GpuWatch, Reading
from engines.kinds import vllm
from engines.kinds.http import EngineHttp
from engines.kinds.vllm_pulse import VllmPulse as Pulse
from engines.life.lifecycle import Event, failures_after, is_step, step, wait_s
from engines.logtail import LogTail
from engines.memory.measured import Measured
from engines.pause import pause
from engines.plan import EnginePlan
from engines.processes.orphans import descendants, remove_tree
from engines.processes.process import Kept, how_ended, sweep_orphans
from engines.snapshot import EngineState, EngineUse, EngineView
from engines.starting import failure, ladder, launch
from engines.starting.effort import Patience, effort
from engines.starting.failure import Failure, classify
from engines.starting.gate import Device, fresh, held, wait_for_memory
from engines.starting.learned import Surroundings, learned
from engines.starting.settle import Verdict
from engines.starting.symptoms.symptom import Trouble

POLL_S = 0.25
HEALTH_EVERY_S = 2.0
# An engine under full load may answer late, a hung one never does.
SILENT_S = 60.0
# The root cause of a failed start stands hundreds of lines above the end: every worker and every parent adds its own.
START_LINES = 4000
# What a long-lived engine said days ago did not end it.
LAST_WORDS = 300


@dataclass(frozen=True, slots=True)
class Site:
    """What all engines of one supervisor share. `watch` is of the GPUs, None where there is none in the plan; `keepers`
    is its set of keepers that live; `learn` takes what a good start told; `quiet_s`: how long a start may do nothing.
    """

    home: Path
    http: EngineHttp
    watch: GpuWatch | None
    keepers: set[int]
    learn: Callable[[EnginePlan, Measured], None]
    quiet_s: float


class Engine:
    """One planned engine. `devices` are its GPUs, or the processor: one engine at a time starts on each."""

    def __init__(self, plan: EnginePlan, site: Site, devices: Sequence[Device]) -> None:
        self._planned = self._plan = plan
        self._site, self._devices = site, devices
        self._state = EngineState.PLANNED
        self._since_s = time.monotonic()
        self._stopping = asyncio.Event()
        self._kept: Kept | None = None
        self._pulse: Pulse | None = None
        self._launches = 0
        self._failures = 0
        self._failed_starts = 0
        self._is_final = False
        self._last_error: str | None = None
        self._because = ""
        self._progress = ""
        self._verdict: Failure | None = None
        self._last_trouble: Trouble | None = None
        self._tail = LogTail(self.log_path)
        self._recent: deque[str] = deque(maxlen=START_LINES)

    @property
    def log_path(self) -> Path:
        return launch.log_path(self._site.home, self._planned.name)

    def view(self) -> EngineView:
        """What is known now. Ages are counted up to this moment."""
        now_s = time.monotonic()
        child = self._kept.child() if self._kept else None
        return EngineView(
            name=self._plan.name,
            model=self._plan.model,
            kind=self._plan.kind,
            state=self._state,
            url=self._pulse.url if self._pulse else "",
            device=self._plan.device,
            context_tokens=self._plan.shape.context_tokens,
            pid=child.pid if child else None,
            in_state_s=round(now_s - self._since_s, 3),
            restarts=max(0, self._launches - 1),
            last_error=self._last_error,
            load=self._pulse.load(now_s, EngineUse()) if self._pulse and self._kept else None,
            progress=self._progress,
            changes=self._changes(),
            failed_starts=self._failed_starts,
        )

    def _changes(self) -> str:
        words = ladder.changes(self._planned, self._plan)
        return f"{words}, because {self._because}" if words else ""

    def stop(self) -> None:
        """Ask for the end; `run` returns when the engine is gone."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        if is_step(self._state, Event.STOP):
            self._step(Event.STOP)
        if self._kept:
            self._kept.terminate()

    async def run(self) -> None:
        """Keep the engine running until `stop`. Any end that was not asked for is a failure, whatever its code; after
        one that no further start can mend, it only waits for `stop`."""
        while not self._stopping.is_set():
            ready_for_s, found = await self._once()
            if found and not self._stopping.is_set():
                self._failures = failures_after(self._failures, ready_for_s)
                self._climb(found, has_served=ready_for_s > 0)
                await pause(self._stopping, None if self._is_final else wait_s(self._failures))
        if self._state is not EngineState.STOPPED:
            self._step(Event.EXIT)

    def _climb(self, found: Failure, has_served: bool) -> None:
        """Decide on the next start. An engine that has served can do so again: for that one there is always a next."""
        self._last_error, self._last_trouble = found.words(), found.trouble
        self._failed_starts = 0 if has_served else self._failed_starts + 1
        following = ladder.next_try(self._planned, self._plan, found, self._failed_starts)
        if isinstance(following, EnginePlan):
            if following != self._plan:
                self._plan, self._because, self._failed_starts = following, found.cause, 0
                self._last_error = f"{self._last_error} Next it is tried with {self._changes()}."
        elif not has_served:
            self._last_error, self._is_final = following.why, True
        self._step(Event.EXIT)
        if self._is_final:
            self._step(Event.GIVE_UP)

    async def _once(self) -> tuple[float, Failure | None]:
        """One run of the process, from launch to its end; how long it was ready, and why it ended. Its devices are held
        until it is ready, or gone."""
        async with held(self._devices):
            if self._stopping.is_set():
                return 0.0, None
            self._step(Event.LAUNCH)
            self._progress = "waiting for its turn"
            before = await self._room()
            if isinstance(before, Failure) or self._stopping.is_set():
                return 0.0, before if isinstance(before, Failure) else None
            began_s = time.monotonic()
            try:
                ended = self._launch()
            except OSError as error:
                return 0.0, failure.cannot_start(error)
            if not await self._until_ready(ended):
                # Its GPUs are the next one's only when nothing of this one is left.
                return 0.0, await self._buried(await ended, was_ready=False)
            await self._learn(before, time.monotonic() - began_s)
        ready_at_s = time.monotonic()
        await self._watch(ended)
        found = await self._buried(await ended, was_ready=True)
        return time.monotonic() - ready_at_s, found

    async def _room(self) -> Reading | Failure | None:
        """The last reading of the GPUs before the launch; a Failure if they cannot take the engine now."""
        settled, reading = await wait_for_memory(self._plan, self._devices, self._site.watch, self._stopping, self._say)
        return failure.not_started(settled.why) if settled.verdict is Verdict.REFUSE else reading

    def _launch(self) -> asyncio.Task[int]:
        self._launches += 1
        self._progress = "starting Python"
        port = launch.choose_port(self._plan.port, was_taken=self._last_trouble is Trouble.PORT)
        self._pulse = Pulse(self._site.http, f"http://{launch.LOOPBACK}:{port}", self._plan.model, "")
        self._tail, self._verdict = LogTail(self.log_path), None
        self._recent.clear()
        self._kept = launch.launch(self._plan, self._site.home, port)
        self._site.keepers.add(self._kept.keeper_pid)
        return asyncio.create_task(self._kept.wait())

    async def _until_ready(self, ended: asyncio.Task[int]) -> bool:
        """Follow the log and try the door until a completion comes back (then True), the process ends, a stop is asked
        for, or nothing happens any more.

        The log only colours the way: with a full disk there is none, and an engine that answers is ready all the same.
        """
        patience = Patience(time.monotonic(), self._site.quiet_s)
        while not ended.done() and not self._stopping.is_set() and not self._verdict:
            has_spoken = self._read_log()
            if (
                self._pulse
                and await self._pulse.is_healthy()
                and await self._pulse.completes(120.0)
                and not self._stopping.is_set()
            ):
                await self._listen(self._pulse)
                self._read_log()
                self._step(Event.SERVE)
                self._progress, self._failed_starts = "", 0
                return True
            self._end_if_hung(patience, has_spoken)
            await asyncio.wait({ended}, timeout=POLL_S)
        return False

    def _end_if_hung(self, patience: Patience, has_spoken: bool) -> None:
        now_s = time.monotonic()
        if has_spoken:
            patience.heard(now_s)
        elif self._kept and patience.wants_look(now_s):
            patience.saw(effort(self._kept.keeper_pid), now_s)
        if (quiet_s := patience.quiet_for_s(now_s)) is not None and self._kept:
            self._verdict = failure.hang(self._progress, quiet_s)
            self._kept.terminate()

    async def _learn(self, before: Reading | None, start_s: float) -> None:
        """Pass on what this start told. The driver is asked once more, so that its figures are of the ready engine."""
        ready = await fresh(self._site.watch) if self._site.watch and self._plan.gpu_uuids else None
        pids = frozenset(descendants(self._kept.keeper_pid) if self._kept else ())
        around = Surroundings(start_s, self._cards(before), self._cards(ready), pids)
        self._site.learn(self._plan, learned(self._recent, self._plan, around))
        self._recent.clear()

    def _cards(self, reading: Reading | None) -> tuple[Gpu, ...]:
        seen = reading.gpus.seen if reading else ()
        return tuple(gpu for gpu in seen if gpu.uuid in self._plan.gpu_uuids)

    def _say(self, words: str) -> None:
        self._progress = words

    def _read_log(self) -> bool:
        """Whether there was anything new."""
        lines = self._tail.new_lines()
        self._recent.extend(lines)
        for line in lines:
            if found := vllm.phase(line):
                self._progress, event = found
                if event and is_step(self._state, event):
                    self._step(event)
        return bool(lines)

    async def _watch(self, ended: asyncio.Task[int]) -> None:
        """Read the load until the process ends; a server that falls silent for long is ended by us."""
        heard_s = asked_s = time.monotonic()
        while not ended.done():
            if self._state is EngineState.READY and self._pulse:
                await self._listen(self._pulse)
                now_s = time.monotonic()
                if now_s - asked_s > HEALTH_EVERY_S:
                    asked_s = now_s
                    heard_s = now_s if await self._pulse.is_healthy() else heard_s
                if now_s - heard_s > SILENT_S and self._kept:
                    self._verdict = failure.silent(SILENT_S)
                    self._kept.terminate()
            await asyncio.wait({ended}, timeout=POLL_S)

    async def _listen(self, pulse: Pulse) -> None:
        await pulse.listen()
        self._last_error = pulse.fault or self._last_error

    async def _buried(self, code: int, was_ready: bool) -> Failure | None:
        """The keeper is gone: make sure that nothing else is left, and say why it ended; None if it was asked to."""
        if self._kept:
            self._site.keepers.discard(self._kept.keeper_pid)
        await sweep_orphans(self._site.keepers)
        for device in self._devices:
            device.note_end()
        # Gone already, unless the keeper itself was killed.
        if self._kept and self._kept.orders.scratch:
            remove_tree(self._kept.orders.scratch)
        self._kept, self._progress = None, ""
        if self._stopping.is_set():
            return None
        while lines := self._tail.new_lines():
            self._recent.extend(lines)
        said = list(self._recent)[-LAST_WORDS:] if was_ready else self._recent
        found = self._verdict or classify(said, how_ended(code))
        return found.after_serving() if was_ready else found

    def _step(self, event: Event) -> None:
        self._state = step(self._state, event)
        self._since_s = time.monotonic()
