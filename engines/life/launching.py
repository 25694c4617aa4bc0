"""What comes before a process: its files, room for it, its port."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from engines.gpus.watch import Reading
from engines.life.course import Course
from engines.life.lifecycle import Event
from engines.life.note import Note, fresh_mark
from engines.life.run import Run
from engines.life.site import FetchError, Site
from engines.life.trials import Trials
from engines.life.wishes import Wishes
from engines.starting import failure
from engines.starting.failure import Failure
from engines.starting.gate import Device, Outlook, wait_for_memory
from engines.starting.launch import choose_port
from engines.starting.settle import Verdict


class Launching:
    """For one engine. All of it ends early when something else is wished."""

    def __init__(self, site: Site, devices: Sequence[Device], course: Course, trials: Trials, wishes: Wishes) -> None:
        self._site, self._devices = site, devices
        self._course, self._trials, self._wishes = course, trials, wishes

    async def fetch(self) -> Failure | None:
        """Until its files are there, or why they are not."""
        self._course.say("checking its files", Event.FETCH)
        fetching = asyncio.ensure_future(self._site.fetch(self._trials.plan, self._course.say))
        leaving = asyncio.create_task(self._wishes.changed.wait())
        try:
            await asyncio.wait({fetching, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if fetching.done():
                fetching.result()
        except FetchError as error:
            return failure.not_fetched(str(error))
        finally:
            leaving.cancel()
            await _ended(fetching)
        return None

    async def room(self, held_bytes: Mapping[str, int] | None = None) -> Reading | Failure | None:
        """The last reading of the GPUs before the launch; a Failure if they cannot take the engine now. An engine that
        only wakes up has `held_bytes` of each already."""
        outlook = Outlook(self._site.watch, self._site.keepers, held_bytes or {})
        settled, reading = await wait_for_memory(
            self._trials.plan, self._devices, outlook, self._wishes.changed, self._course.say
        )
        for device in self._devices:
            self._tell_lost(device, settled.unreturned.get(device.name))
        return failure.not_started(settled.why) if settled.verdict is Verdict.REFUSE else reading

    def _tell_lost(self, device: Device, why: str | None) -> None:
        if why and self._site.watch:
            self._site.unreturned(device.name, why)
            device.when_returned(self._site.watch, lambda: self._site.unreturned(device.name, ""))

    def launch(self, instance: str) -> Run:
        """Its process. Raises OSError if there is none to be had."""
        plan = self._trials.plan
        port = choose_port(plan.port, was_taken=self._trials.port_was_taken)
        return Run.launched(Note(instance, port, fresh_mark(plan), plan, self._trials.because), self._site)


async def _ended(task: asyncio.Future[None]) -> None:
    """Give it up, and wait until it has put its things away."""
    task.cancel()
    await asyncio.wait({task})
