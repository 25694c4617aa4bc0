"""Whether a start still gets on: it says something, computes, or reads.

vLLM has no deadline of its own for its start, and a start may rightly take an hour (compiling, a slow disk). So what
ends it is a time in which nothing happened, not a time in which it was not done.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from engines.processes.orphans import descendants

QUIET_S = 300.0
# Processes that wait for each other in a loop compute all the time and get nowhere, so work without a word counts only
# for so many times as long.
WORDLESS_TIMES = 12
# A waiting Python process wakes up now and then.
BUSY_SHARE = 0.01
READING_BYTES = 2**20
# To look at every process of the machine costs milliseconds.
LOOKS = 20
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
USER_TICKS, SYSTEM_TICKS = 11, 12


@dataclass(frozen=True, slots=True)
class Effort:
    """What a process and all below it have done so far."""

    cpu_s: float
    read_bytes: int


def effort(root: int) -> Effort:
    """The effort of `root` and its descendants; processes that end meanwhile take theirs along."""
    done = [own_effort(pid) for pid in {root, *descendants(root)}]
    return Effort(sum(each.cpu_s for each in done), sum(each.read_bytes for each in done))


def own_effort(pid: int) -> Effort:
    """The effort of one process alone; none if there is no such."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        with open(f"/proc/{pid}/io", "rb") as file:
            counts = dict(line.split(b": ") for line in file.read().splitlines())
    except OSError:
        return Effort(0.0, 0)
    ticks = int(fields[USER_TICKS]) + int(fields[SYSTEM_TICKS])
    return Effort(ticks / TICKS_PER_S, int(counts[b"rchar"]) + int(counts[b"read_bytes"]))


class Patience:
    """How long a start has done nothing. Times are of one clock that only counts on."""

    def __init__(self, now_s: float, quiet_s: float = QUIET_S) -> None:
        self._quiet_s = quiet_s
        self._spoke_s = self._lived_s = now_s
        self._mark = Effort(0.0, 0)
        self._looked_s = now_s - quiet_s

    def wants_look(self, now_s: float) -> bool:
        """Whether it is time to look at its effort again."""
        return now_s - self._looked_s >= self._quiet_s / LOOKS

    def heard(self, now_s: float) -> None:
        """It wrote a line."""
        self._spoke_s = self._lived_s = now_s

    def saw(self, done: Effort, now_s: float) -> None:
        """Its effort so far: enough of it since the last sign of life is one itself."""
        self._looked_s = now_s
        worked_s, read_bytes = done.cpu_s - self._mark.cpu_s, done.read_bytes - self._mark.read_bytes
        if worked_s > BUSY_SHARE * (now_s - self._lived_s) or read_bytes > READING_BYTES or worked_s < 0:
            self._lived_s, self._mark = now_s, done

    def quiet_for_s(self, now_s: float) -> float | None:
        """How long nothing happened, once that is too long; else None."""
        if now_s - self._spoke_s > WORDLESS_TIMES * self._quiet_s:
            return now_s - self._spoke_s
        return now_s - self._lived_s if now_s - self._lived_s > self._quiet_s else None
