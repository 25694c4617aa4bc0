"""The answers of one class of requests, counted by length, the newest heaviest. Learns; one writer."""

from __future__ import annotations

from array import array

from router.spilling.borrowing import BORROWED_LEAST, BORROWED_MOST, Borrowing
from router.spilling.rungs import LAST

# Weights grow instead of the old ones shrinking; beyond this they are scaled down.
HEAVY = 1e12
NONE = array("d", bytes(8 * (LAST + 1)))


class Answers:
    """`weights` by rung, `heavy` their sum, `unit` what the newest answer weighs."""

    __slots__ = ("__weakref__", "_growth", "heavy", "unit", "weights")

    def __init__(self, window: float) -> None:
        """The weight of an answer falls to a third (1/e) after `window` others."""
        self._growth = 1 / (1 - 1 / window)
        self.unit = 1.0
        self.heavy = 0.0
        self.weights = NONE[:]

    @property
    def known(self) -> float:
        """How many answers they are, old ones as fractions."""
        return self.heavy / self.unit

    def learn(self, rung: int, lent: float, borrowing: Borrowing) -> float:
        """One more. Returns how likely it was held, where the level before held it `lent` likely and is borrowed from.

        What is borrowed takes a step up the gradient of the log of that likelihood by its own log, which lies between
        -1 and 1. All in one place: this is done for each level of each answer.
        """
        unit, borrowed = self.unit, borrowing.answers
        weighed = self.heavy + borrowed * unit
        likely = (self.weights[rung] + borrowed * unit * lent) / weighed
        borrowed += borrowing.rate * borrowed * borrowed * unit * (lent / likely - 1) / weighed
        if BORROWED_LEAST < borrowed < BORROWED_MOST:
            borrowing.answers = borrowed
        unit = self.unit = unit * self._growth
        self.weights[rung] += unit
        self.heavy += unit
        if unit > HEAVY:
            self.weights = array("d", [weight / unit for weight in self.weights])
            self.heavy /= unit
            self.unit = 1.0
        return likely
