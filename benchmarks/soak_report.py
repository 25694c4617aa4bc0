"""What a soak has shown: growth of memory, descriptors left, memory with many idle streams, every answer whole.

Pure: marks and counts in, figures and sentences out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median

from rich.box import SIMPLE_HEAD
from rich.table import Table

from benchmarks.memory_watch import Mark, of_phase

# A level is the median of so many last marks of a phase: one look may meet a moment.
LEVEL_MARKS = 5
# Of the clients that leave: on a busy machine the news may come to the engine too late.
UNHEARD_SHARE = 0.01


class Phase(StrEnum):
    """The parts of a soak, in order; after each of them the router is left alone for a moment."""

    WARM_UP = "warm-up"
    WARM = "warm"
    REQUESTS = "requests"
    ABORTS = "aborts"
    SETTLED = "settled"
    IDLE = "idle streams"
    AFTER = "after"


@dataclass(frozen=True, slots=True)
class Soaked:
    """What was done to the router. `unheard` answers were made to their end after their clients had left."""

    requests: int
    requests_per_s: float
    faults: Mapping[str, int]
    aborted: Mapping[str, int]
    unheard: int
    idle_streams: int
    sample: str = ""

    @property
    def is_sound(self) -> bool:
        """Nothing was lost, and the engine did not work for nobody but by rare accident."""
        return not self.faults and self.unheard <= UNHEARD_SHARE * sum(self.aborted.values())


@dataclass(frozen=True, slots=True)
class Levels:
    """What it did to the router's process."""

    warm_bytes: float
    settled_bytes: float
    idle_bytes: float
    descriptors_before: int
    descriptors_after: int
    descriptors_peak: int
    threads_before: int
    threads_after: int

    @property
    def growth_bytes(self) -> float:
        """From the end of the warm-up to after the last aborted request."""
        return self.settled_bytes - self.warm_bytes

    @property
    def descriptors_left(self) -> int:
        """More than before; 0 where there are fewer."""
        return max(0, self.descriptors_after - self.descriptors_before)


def levels(marks: Sequence[Mark]) -> Levels:
    """Raises ValueError where a phase was not looked at."""
    last = {phase: of_phase(marks, phase)[-LEVEL_MARKS:] for phase in Phase}
    missing = [phase for phase in Phase if not last[phase]]
    if missing:
        raise ValueError(f"nobody looked at the router during: {', '.join(missing)}")
    return Levels(
        warm_bytes=median(mark.rss_bytes for mark in last[Phase.WARM]),
        settled_bytes=median(mark.rss_bytes for mark in last[Phase.SETTLED]),
        idle_bytes=max(mark.rss_bytes for mark in of_phase(marks, Phase.IDLE)),
        descriptors_before=last[Phase.WARM][-1].descriptors,
        descriptors_after=last[Phase.AFTER][-1].descriptors,
        descriptors_peak=max(mark.descriptors for mark in marks),
        threads_before=last[Phase.WARM][-1].threads,
        threads_after=last[Phase.AFTER][-1].threads,
    )


def table(soaked: Soaked, seen: Levels) -> Table:
    """For the terminal."""
    made = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1), show_header=False)
    made.add_column("", no_wrap=True)
    made.add_column("", justify="right", no_wrap=True)
    made.add_column("")
    aborted = ", ".join(f"{count:,} {stage}" for stage, count in soaked.aborted.items())
    faults = ", ".join(f"{count:,} {fault}" for fault, count in soaked.faults.items())
    left = f"the engine finished {soaked.unheard:,} for nobody" if soaked.unheard else "the engine ended them all"
    made.add_row("whole answers", f"{soaked.requests:,}", f"{soaked.requests_per_s:,.0f}/s; {faults or 'all complete'}")
    made.add_row("aborted", f"{sum(soaked.aborted.values()):,}", f"{aborted}; {left}")
    made.add_row("RSS after warm-up", _mb(seen.warm_bytes), "")
    made.add_row("RSS after all that", _mb(seen.settled_bytes), f"growth {seen.growth_bytes / 1e6:+.1f} MB")
    made.add_row(f"RSS with {soaked.idle_streams:,} idle streams", _mb(seen.idle_bytes), "the highest of that phase")
    descriptors = f"{seen.descriptors_before:,} before, peak {seen.descriptors_peak:,}; {seen.descriptors_left:,} left"
    made.add_row("file descriptors", f"{seen.descriptors_after:,}", descriptors)
    made.add_row("threads", f"{seen.threads_after:,}", f"{seen.threads_before:,} before")
    return made


def _mb(count: float) -> str:
    return f"{count / 1e6:,.1f} MB"
