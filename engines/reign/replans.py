"""When a running stack is planned anew: its files changed, a GPU came into quarantine or out of it.

`Replans` decides and keeps the words of a refusal; the planning itself is a process (`engines.reign.replanning`).
"""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from engines.plan import Plan, Source
from engines.reign.errand import Ended, run_errand
from engines.reign.planfile import declined

# Exit codes of `engines.reign.replanning`.
REFUSED, BUSY = 1, 3
# Files are looked at this often, and believed once they are alike twice: editors write in pieces.
LOOK_EVERY_S = 0.5
BUSY_WAIT_S = 2.0
FIRST_WAIT_S, LONGEST_WAIT_S = 5.0, 300.0


def digest_of(source: Source) -> str:
    """Changes with the content of the files. One that cannot be read is like one that is empty."""
    return hashlib.sha256(b"\0".join(_content(Path(each)) for each in (source.config, source.lock))).hexdigest()


def _content(path: Path) -> bytes:
    try:
        return hashlib.sha256(path.read_bytes()).digest()
    except OSError:
        return b""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a plan is to be made for: files with this content, without these GPUs."""

    digest: str
    without: frozenset[str]


class Replans:
    """`errand` runs a process to its end; the default is a real one. One writer: the supervisor's tick."""

    def __init__(self, home: Path, spared: set[int], say: Callable[[str], None]) -> None:
        self._home, self._spared, self._say = home, spared, say
        # What the newest answer was for, and what was seen at the look before.
        self._answered: Asked | None = None
        self._seen = ""
        self._look_at_s = self._due_at_s = 0.0
        self._failures = 0
        self._running: tuple[Asked, asyncio.Task[Ended]] | None = None
        self.refused = ""

    def accept(self, plan: Plan, is_newest: bool = False) -> None:
        """Somebody else has planned, and this runs from now on. Unless it `is_newest`, its files may have changed since
        it was made: the next ticks see to that. What `spillway up` has tried in vain is not tried again."""
        self._failures, self.refused, self._answered = 0, "", None
        if plan.source is None:
            return
        digest = digest_of(plan.source)
        words = declined(self._home, digest)
        if words or is_newest:
            self._seen, self.refused = digest, words
            self._answered = Asked(digest, frozenset(plan.without))
            self._due_at_s = math.inf

    def is_open(self, closed: Collection[str]) -> bool:
        """Whether nobody knows yet if the stack can do without these GPUs."""
        return self._answered is None or self._answered.without != frozenset(closed)

    def tick(self, plan: Plan, closed: Collection[str], now_s: float) -> bool:
        """Begin what is due. True when another plan may lie in the home."""
        if plan.source is None:
            return False
        if self._running:
            return self._running[1].done() and self._end(*self._running, now_s)
        if now_s < self._look_at_s:
            return False
        self._look_at_s = now_s + LOOK_EVERY_S
        before, self._seen = self._seen, digest_of(plan.source)
        wanted = Asked(self._seen, frozenset(closed))
        is_new = wanted != self._answered
        if before == self._seen and (is_new or (self.refused and now_s >= self._due_at_s)):
            if is_new:
                self._failures = 0
            self._begin(wanted, plan.source)
        return False

    def _begin(self, wanted: Asked, source: Source) -> None:
        words = ["-m", "engines.reign.replanning", "--home", str(self._home)]
        words += ["--config", source.config, "--lock", source.lock]
        words += ["--profile", source.profile] if source.profile else []
        words += ["--without", *sorted(wanted.without)] if wanted.without else []
        self._running = (wanted, asyncio.create_task(self._run(words)))

    async def _run(self, words: Sequence[str]) -> Ended:
        try:
            return await run_errand(words, self._spared, lambda _: None)
        except OSError as error:
            return Ended(REFUSED, f"planning cannot be started: {error}")

    def _end(self, wanted: Asked, task: asyncio.Task[Ended], now_s: float) -> bool:
        self._running = None
        ended = task.result()
        if ended.code == BUSY:
            self._look_at_s = now_s + BUSY_WAIT_S
            return False
        self._answered = wanted
        if ended.code == 0:
            self._failures, self.refused = 0, ""
            return True
        self._failures += 1
        self._due_at_s = now_s + min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(self._failures - 1, 10))
        # A fault of ours ends in a traceback: its last line is what may help.
        words = ended.said if ended.code == REFUSED else f"planning broke: {ended.said.splitlines()[-1:]}"
        if words != self.refused:
            self._say(f"the change is refused: {words if ended.code == REFUSED else ended.said}")
        self.refused = words or "planning ended without a word"
        return False

    async def close(self) -> None:
        """End the process that plans, if one does."""
        if self._running:
            self._running[1].cancel()
            await asyncio.wait({self._running[1]})
            self._running = None
