"""Which hours of a long record stand for all of it: thinned in time, so that bursts and rates stay as they were. Pure.

Hours are sorted by their requests and cut into parts with equal work; of each part the middle one is taken, and stands
for the requests of its part. Busy hours, in which spilling happens, are so looked at more closely than idle ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

SLOT_S = 300
# Whole hours; shorter where so few would fit that they could not stand for the rest. Of 48 hours of a busy engine 7
# quarters of an hour told three quarters of the bill, 22 times 5 minutes nine tenths.
LENGTHS_S = (3600, 900, SLOT_S)
LEAST_WINDOWS = 20
# Where parts are too many, the next try has so many of them.
SHRINK = 0.98
# Between windows that do not follow each other, so that engines come to rest.
GAP_S = 120.0


class Window(NamedTuple):
    """A time of the record, since its clock's zero, and how many requests each one in it stands for."""

    start_s: float
    lasts_s: float
    weight: float

    @property
    def end_s(self) -> float:
        """The first moment after it."""
        return self.start_s + self.lasts_s


def windows_of(requests: Mapping[int, int], most: int) -> tuple[Window, ...]:
    """`requests` are those of each slot of SLOT_S that has any. With at most `most` of them all is taken, as one.

    Else in the order of time, with about `most` in all: more only where the shortest window alone has more.
    """
    if sum(requests.values()) <= most:
        first, last = min(requests), max(requests)
        return (Window(first * SLOT_S, (last + 1 - first) * SLOT_S, 1.0),)
    found: tuple[Window, ...] = ()
    for length_s in LENGTHS_S:
        found = _representative(requests, length_s, most)
        if len(found) >= LEAST_WINDOWS:
            break
    return found


def offsets_s(windows: Sequence[Window]) -> list[float]:
    """By how much each window is moved, so that one follows the other and the first begins at 0."""
    found: list[float] = []
    end_s, before_end_s = 0.0, None
    for window in windows:
        start_s = end_s if before_end_s in (None, window.start_s) else end_s + GAP_S
        found.append(start_s - window.start_s)
        end_s, before_end_s = start_s + window.lasts_s, window.end_s
    return found


def _representative(requests: Mapping[int, int], length_s: int, most: int) -> tuple[Window, ...]:
    """Nearly as many parts as there is room for."""
    slots = length_s // SLOT_S
    counts: Counter[int] = Counter()
    for slot, count in requests.items():
        counts[slot // slots] += count
    ranked = sorted(counts, key=lambda each: (counts[each], each))
    parts = len(ranked)
    chosen = _middles(ranked, counts, parts)
    while parts > 1 and sum(counts[each] for each in chosen) > most:
        parts = min(parts - 1, int(parts * SHRINK))
        chosen = _middles(ranked, counts, parts)
    return tuple(Window(each * length_s, length_s, chosen[each] / counts[each]) for each in sorted(chosen))


def _middles(ranked: Sequence[int], counts: Mapping[int, int], parts: int) -> dict[int, int]:
    """The middle window of each part that has any, and the requests of the part."""
    total, before = sum(counts.values()), 0
    members: dict[int, list[int]] = {}
    for each in ranked:
        members.setdefault(int((before + counts[each] / 2) * parts / total), []).append(each)
        before += counts[each]
    return {part[len(part) // 2]: sum(counts[each] for each in part) for part in members.values()}
