"""A stretch of a trace in which choices are changed for the better: repaired first, then annealed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from benchmarks.simulator.foresight import Course
from benchmarks.simulator.moment import ABROAD, HERE, LATE, Moment

# Which change is tried, by a number drawn: these shares spill somebody for one who missed, swap, change one place,
# move a turn; the rest are of patience.
MISSES, SWAPS, PLACES, TURNS = 0.2, 0.6, 0.75, 0.9
# How often one comes back in time rather than late, goes abroad rather than late; how often another goes for it.
BACK, AWAY, PAIRED = 0.9, 0.85, 0.75
# Who is to go instead of a late one is looked for so far back: about as long as an answer takes.
BLAMED_S = 10.0
# Turns move by this at most.
TURNED_S = 1.5
PATIENCE_MOST_S = 2.0
# Of so many drawn, the one that is worth least goes.
DRAWN = 3
LOOKED_FOR = 60
# What is decided next counts more: the power by which draws lean to the window's beginning.
LEAN = 1.4

Change = tuple[int, int, float, float]


@dataclass(slots=True)
class Prices:
    """`work_s` and `worth` (dollars in the cloud for a second of an engine) are each request's; `decode_s` is one
    KV token's for one step. `end_usd_per_s` is what a second of work left over counts."""

    miss_usd: float
    end_usd_per_s: float
    decode_s: float
    work_s: Sequence[float]
    worth: Sequence[float]


class Window:
    """From a moment on for so long. Its `settle` must come before the course is run elsewhere."""

    def __init__(self, course: Course, prices: Prices, moment: Moment, until_s: float, rng: Random) -> None:
        self._course, self._prices, self._moment, self._until_s, self._rng = course, prices, moment, until_s, rng
        self._first = self._last = moment.next
        while self._last < len(course.at_s) and course.at_s[self._last] < until_s:
            self._last += 1
        self.count = self._last - self._first
        self._usd = self._cost_usd()
        self._missed = course.missed[self._first : self._last]
        self._best_usd, self._best = self._usd, self._choices()

    def repair(self, most: int) -> None:
        """While somebody in time would be late, whoever is worth least around it goes, if it is for the better."""
        choices, blamed = self._course.choices, bytearray(self.count)
        for _ in range(most):
            number = self._late(blamed)
            if number is None:
                return
            victim = self._least_worth(number, blamed)
            blamed[victim - self._first] = 1
            was = choices.places[victim]
            choices.places[victim] = ABROAD
            if not self._kept(0.0):
                choices.places[victim] = was
                blamed[number - self._first] = 1

    def anneal(self, evaluations: int, warm_usd: float, cold_usd: float) -> None:
        """So many changes are tried; one for the worse is kept with a chance that sinks."""
        for done in range(evaluations):
            changes = self._changed()
            if changes and not self._kept(warm_usd * (cold_usd / warm_usd) ** (done / evaluations)):
                self._undo(changes)

    def settle(self) -> None:
        """The best choices stand."""
        choices, first, last = self._course.choices, self._first, self._last
        choices.places[first:last], choices.shift_s[first:last], choices.patience_s[first:last] = self._best

    def _choices(self) -> tuple[bytearray, list[float], list[float]]:
        choices, first, last = self._course.choices, self._first, self._last
        return choices.places[first:last], choices.shift_s[first:last], choices.patience_s[first:last]

    def _kept(self, warmth_usd: float) -> bool:
        """Whether the choices as they are now stand for the time being."""
        usd = self._cost_usd()
        if usd > self._usd and (not warmth_usd or self._rng.random() >= math.exp((self._usd - usd) / warmth_usd)):
            return False
        self._usd = usd
        self._missed = self._course.missed[self._first : self._last]
        if usd < self._best_usd:
            self._best_usd, self._best = usd, self._choices()
        return True

    def _cost_usd(self) -> float:
        """What was spilled and missed on the way, and what is left to do at the end."""
        course, prices, until_s = self._course, self._prices, self._until_s
        end = self._moment.copied()
        end.usd, end.missed = 0.0, 0
        course.run(end, until_s)
        missed, left_s = end.missed, 0.0
        for lane in end.lanes:
            left_s += max(lane.clock_s - until_s, 0.0) + sum(prices.work_s[number] for number, _ in lane.prompts)
            for finish, less, _, _ in lane.runs:
                steps = finish - lane.steps
                left_s += prices.decode_s * steps * (finish + less - steps / 2)
        for _, number in end.queue:
            left_s += prices.work_s[number]
            missed += course.is_late(number, until_s)
        return end.usd + missed * prices.miss_usd + left_s * prices.end_usd_per_s

    def _late(self, blamed: bytearray) -> int | None:
        """The first that missed here, for which nobody was found yet."""
        places, first = self._course.choices.places, self._first
        for index, missed in enumerate(self._missed):
            if missed and places[first + index] != ABROAD and not blamed[index]:
                return first + index
        return None

    def _least_worth(self, number: int, blamed: bytearray) -> int:
        """Of who came shortly before this one, it included: with some chance, so that not all repairs are alike."""
        at_s, places, worth = self._course.at_s, self._course.choices.places, self._prices.worth
        victim, least = number, math.inf
        for other in range(min(number + 2, self._last - 1), self._first - 1, -1):
            if at_s[other] < at_s[number] - BLAMED_S:
                break
            if places[other] != ABROAD and not blamed[other - self._first]:
                value = worth[other] * (0.9 + 0.2 * self._rng.random())
                if value < least:
                    victim, least = other, value
        return victim

    # What may be changed.

    def _changed(self) -> list[Change]:
        """Makes a change; what was there before, for each request touched."""
        draw, changes = self._rng.random(), list[Change]()
        number = self._first + int(self.count * self._rng.random() ** LEAN)
        choices = self._course.choices
        if draw < MISSES:
            self._spill_one(changes, self._missing() or number)
        elif draw < SWAPS:
            self._swap(changes, number)
        elif draw < PLACES:
            back = HERE if self._rng.random() < BACK else LATE
            away = ABROAD if self._rng.random() < AWAY else LATE
            self._place(changes, number, away if choices.places[number] == HERE else back)
        else:
            self._place(changes, number, choices.places[number])
            if draw < TURNS:
                choices.shift_s[number] = self._rng.choice((0.0, self._rng.uniform(-TURNED_S, TURNED_S)))
            else:
                choices.patience_s[number] = self._rng.choice((1.0, self._rng.uniform(0, PATIENCE_MOST_S)))
        return changes

    def _missing(self) -> int | None:
        found = [self._first + index for index, missed in enumerate(self._missed) if missed]
        return self._rng.choice(found) if found else None

    def _swap(self, changes: list[Change], number: int) -> None:
        """One comes back, and mostly another goes."""
        places = self._course.choices.places
        for other in range(number, min(number + LOOKED_FOR, self._last)):
            if places[other] != HERE:
                self._place(changes, other, HERE if self._rng.random() < BACK else LATE)
                if self._rng.random() < PAIRED:
                    self._spill_one(changes, other)
                return

    def _spill_one(self, changes: list[Change], number: int) -> None:
        """The least worth of a few that came about then."""
        near = max(self.count // 4, 1)
        first, last = max(number - near, self._first), min(number + near, self._last - 1)
        drawn = [self._rng.randint(first, last) for _ in range(DRAWN)]
        here = [other for other in drawn if other != number and self._course.choices.places[other] == HERE]
        if here:
            self._place(changes, min(here, key=self._prices.worth.__getitem__), ABROAD)

    def _place(self, changes: list[Change], number: int, place: int) -> None:
        choices = self._course.choices
        changes.append((number, choices.places[number], choices.shift_s[number], choices.patience_s[number]))
        choices.places[number] = place

    def _undo(self, changes: list[Change]) -> None:
        choices = self._course.choices
        for number, place, shift_s, patience_s in reversed(changes):
            choices.places[number], choices.shift_s[number], choices.patience_s[number] = place, shift_s, patience_s
