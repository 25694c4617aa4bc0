"""Three coefficients of a sum, learned from many noisy observations: `y = k0 * x0 + k1 * x1 + k2 * x2`.

Least squares with forgetting, as normal equations: an observation adds nine numbers, and the three equations are
solved now and then. Each solution is held near the last one where the data say nothing (proximal point: Rockafellar,
1976), so that features that always go together, or never change, cannot make the coefficients run away.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

# About the last two hundred observations count.
KEPT = 0.995
# While few were seen, about a third of them: the first ones were told apart by speeds that were not known yet.
KEPT_OF_FEW = 3.0
# The pull of the last solution, in observations of the usual size.
PULL = 0.5
# A miss (in logarithms) beyond this, and beyond three times those of late, counts no more than that: an observation
# that stalled for reasons of its own. While all are missed by far, none is held back.
FAR, OUTLYING, FIRST_SPREAD = 0.14, 3.0, 1.0
# How far one observation moves all three together. A GPU that slows down slows all that it does, and what was learned
# before stays true in its proportions.
DRIFT = 0.02
# Where misses lean to one side so far on average (the last ten count most), and that is most of what they are, the
# speed itself has changed, and is followed quickly.
LEANING, ONE_SIDED, CHASE = 0.05, 0.8, 0.3
# How much of an average the newest one is.
NEWEST = 0.1
# While few were seen all are fitted at once; then the equations are solved for each so many.
FEW, EACH = 32, 8
NEGLIGIBLE = 1e-12


class Fit:
    """One writer. `usual` are features of an ordinary observation: they say how much of each coefficient is a lot."""

    __slots__ = ("_a", "_b", "_lean", "_spread", "_unsolved", "_usual", "seen", "values")

    def __init__(self, values: Sequence[float], usual: Sequence[float]) -> None:
        first, second, third = values
        self.values = (first, second, third)
        self.seen = 0
        self._usual = tuple(1.0 / each for each in usual)
        self._a = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
        self._b = (0.0, 0.0, 0.0)
        self._lean = 0.0
        self._spread = FIRST_SPREAD
        self._unsolved = 0

    def learn(self, x0: float, x1: float, x2: float, y: float, weight: float = 1.0) -> bool:
        """Whether the values have changed. Features must not be negative, nor all zero; `y` must be positive."""
        first, second, third = self.values
        believed = max(first * x0 + second * x1 + third * x2, NEGLIGIBLE)
        miss = math.log(y / believed)
        chases = abs(self._lean) > max(LEANING, ONE_SIDED * self._spread)
        far = max(FAR, OUTLYING * self._spread)
        held = miss if -far < miss < far else math.copysign(far, miss)
        self._lean += NEWEST * (held - self._lean)
        self._spread += NEWEST * (abs(held) - self._spread)
        drift = math.exp(held * weight * max(CHASE if chases else DRIFT, 1.0 / (2.0 + self.seen)))
        self.values = (first * drift, second * drift, third * drift)
        self._add(x0, x1, x2, believed * math.exp(held), weight / believed**2, drift)
        self.seen += 1
        self._unsolved += 1
        if self.seen < FEW or self._unsolved >= EACH:
            self._unsolved = 0
            self.values = self._solved()
            return True
        return False

    def _add(self, x0: float, x1: float, x2: float, y: float, weight: float, drift: float) -> None:
        """Relative errors count: of a long step as much as of a short one."""
        scale0, scale1, scale2 = self._usual
        x0, x1, x2 = x0 * scale0, x1 * scale1, x2 * scale2
        w0, w1, w2 = x0 * weight, x1 * weight, x2 * weight
        a00, a01, a02, a11, a12, a22 = self._a
        b0, b1, b2 = self._b
        kept = min(KEPT, 1.0 - KEPT_OF_FEW / (self.seen + KEPT_OF_FEW + 1.0))
        self._a = (
            a00 * kept + w0 * x0,
            a01 * kept + w0 * x1,
            a02 * kept + w0 * x2,
            a11 * kept + w1 * x1,
            a12 * kept + w1 * x2,
            a22 * kept + w2 * x2,
        )
        kept *= drift
        self._b = (b0 * kept + w0 * y, b1 * kept + w1 * y, b2 * kept + w2 * y)

    def _solved(self) -> tuple[float, float, float]:
        """None is negative: more work never takes less time. Where the equations say so, that one is zero."""
        first, second, third = (value / scale for value, scale in zip(self.values, self._usual, strict=True))
        pull = PULL / max(first + second + third, NEGLIGIBLE) ** 2
        a00, a01, a02, a11, a12, a22 = self._a
        b0, b1, b2 = self._b
        b = (b0 + pull * first, b1 + pull * second, b2 + pull * third)
        a = (a00 + pull, a01, a02, a11 + pull, a12, a22 + pull)
        solution = _cramer(a, b)
        for _ in range(2):
            if min(solution) >= 0.0:
                break
            a, b = _without(a, b, solution.index(min(solution)))
            solution = _cramer(a, b)
        k0, k1, k2 = solution
        scale0, scale1, scale2 = self._usual
        return max(0.0, k0) * scale0, max(0.0, k1) * scale1, max(0.0, k2) * scale2


Six = tuple[float, float, float, float, float, float]
Three = tuple[float, float, float]


def _cramer(a: Six, b: Three) -> Three:
    """The solution of three equations, of which `a` is the upper half of a symmetric, positive matrix."""
    a00, a01, a02, a11, a12, a22 = a
    b0, b1, b2 = b
    c00, c01, c02 = a11 * a22 - a12 * a12, a02 * a12 - a01 * a22, a01 * a12 - a02 * a11
    c11, c12, c22 = a00 * a22 - a02 * a02, a01 * a02 - a00 * a12, a00 * a11 - a01 * a01
    whole = a00 * c00 + a01 * c01 + a02 * c02
    return (
        (c00 * b0 + c01 * b1 + c02 * b2) / whole,
        (c01 * b0 + c11 * b1 + c12 * b2) / whole,
        (c02 * b0 + c12 * b1 + c22 * b2) / whole,
    )


def _without(a: Six, b: Three, index: int) -> tuple[Six, Three]:
    """The same equations with one unknown held at zero."""
    a00, a01, a02, a11, a12, a22 = a
    b0, b1, b2 = b
    if index == 0:
        return (a00, 0.0, 0.0, a11, a12, a22), (0.0, b1, b2)
    if index == 1:
        return (a00, 0.0, a02, a11, 0.0, a22), (b0, 0.0, b2)
    return (a00, a01, 0.0, a11, 0.0, a22), (b0, b1, 0.0)
