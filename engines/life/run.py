"""One run of an engine's process, launched or found: its log, its pulse, its end.

Belongs to the task of its engine. Decides nothing: the engine says what comes next.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable

from engines.kinds.registry import kind_of
from engines.life.course import Course
from engines.life.note import Note
from engines.life.site import Site
from engines.logtail import LogTail
from engines.processes.orphans import remove_tree
from engines.processes.process import Kept, how_ended, sweep_orphans
from engines.processes.record import Record
from engines.starting.failure import Failure, classify
from engines.starting.gate import Device
from engines.starting.launch import launch, log_path
from engines.starting.symptoms.symptom import Trouble

# The root cause of a failed start stands hundreds of lines above the end: every worker and every parent adds its own.
START_LINES = 4000
# What a long-lived engine said days ago did not end it.
LAST_WORDS = 300


class Run:
    """One run. `ended` is done when keeper and child are gone; `verdict` is why we ended it, if we did so unasked."""

    def __init__(self, kept: Kept, note: Note, site: Site, tail: LogTail, is_adopted: bool) -> None:
        self.kept, self.note, self.is_adopted = kept, note, is_adopted
        self.plan = note.plan
        self.kind = kind_of(note.plan)
        self.pulse = self.kind.pulse(site.http, note.plan, note.port, note.mark)
        self.ended: asyncio.Task[int] = asyncio.create_task(kept.wait())
        self.verdict: Failure | None = None
        self.recent: deque[str] = deque(maxlen=START_LINES)
        self._site, self._tail = site, tail
        site.keepers.add(kept.keeper_pid)

    @classmethod
    def launched(cls, note: Note, site: Site) -> Run:
        """Start its process. Raises OSError if there is none to be had."""
        tail = LogTail(log_path(site.home, note.instance))
        return cls(launch(note, site.home, site.reviver), note, site, tail, is_adopted=False)

    @classmethod
    def found(cls, record: Record, note: Note, site: Site) -> Run:
        """Take over the process that an earlier supervisor started; what it says from now on counts."""
        tail = LogTail(log_path(site.home, note.instance))
        return cls(Kept.adopt(record, site.home), note, site, tail, is_adopted=True)

    @property
    def pid(self) -> int | None:
        child = self.kept.child()
        return child.pid if child else None

    @property
    def is_over(self) -> bool:
        """Whether its child is dead, or as good as dead: what the keeper still sweeps serves nobody."""
        child = self.kept.child()
        return self.ended.done() or self.verdict is not None or (child is not None and not child.lives())

    def follow(self, course: Course) -> bool:
        """Take in what it has said, and step along; whether there was anything new."""
        lines = self._tail.new_lines()
        self.recent.extend(lines)
        for line in lines:
            if found := self.kind.phase(line):
                course.say(*found)
        return bool(lines)

    def condemn(self, why: Failure) -> None:
        """End it at once, because of this: one that hangs would not hear a request to end."""
        self.verdict = self.verdict or why
        self.kept.kill()

    async def buried(self, devices: Iterable[Device]) -> Failure:
        """Wait for its end, make sure that nothing of it is left, and say why it ended."""
        code = await self.ended
        self._site.keepers.discard(self.kept.keeper_pid)
        await sweep_orphans(self._site.keepers)
        for device in devices:
            device.note_end()
        # Gone already, unless the keeper itself was killed.
        if self.kept.orders.scratch:
            remove_tree(self.kept.orders.scratch)
        while lines := self._tail.new_lines():
            self.recent.extend(lines)
        return self._cause(how_ended(code))

    def _cause(self, ended: str) -> Failure:
        """Of one that died before we ended it, its log knows more than we saw."""
        told = classify(self.recent, ended)
        says_nothing = told.trouble in (Trouble.UNKNOWN, Trouble.KILLED)
        if self.verdict is None or (self.verdict.trouble is Trouble.CORE and not says_nothing):
            return told
        return self.verdict

    def forget_start(self) -> None:
        """It serves: what it said until now ends it no more."""
        self.recent = deque(maxlen=LAST_WORDS)
