"""How soon a cloud twin gives its first token: learned from what was spilled to it. One writer.

Such times are spread like a log-normal distribution (llmperf's recorded services; its mean and spread follow with
little memory), so two numbers say how likely it is late.
"""

from __future__ import annotations

import math

# Until something was spilled: a median and a spread that most services keep.
MEDIAN_S, SPREAD = 0.8, 0.6
# Answers that the start is worth, and that are remembered.
BELIEVED, REMEMBERED = 10.0, 500.0
# No spread is believed that is smaller: one bad minute is always near.
LEAST_SPREAD = 0.2
# A cloud is not asked for more than it can say by then.
SHORTEST_S = 1e-3
# What a call takes before the cloud hears of it.
CALL_S = 0.05
# So many spreads from the median the tail of a normal distribution is what its asymptote says.
FAR = 6.0


class Twin:
    """First tokens of one cloud deployment."""

    def __init__(self, median_s: float = MEDIAN_S, spread: float = SPREAD) -> None:
        self._log_s = math.log(median_s)
        self._square = spread * spread
        self._known = BELIEVED

    def learn(self, ttft_s: float) -> None:
        """A first token came after so long."""
        astray = self._astray(ttft_s)
        self._take(astray, astray * astray)

    def outlasted(self, waited_s: float) -> None:
        """No first token had come after so long, and nobody waited on: it counts for what may be expected of such a
        one (the mean and the mean square beyond a point, as in expectation maximization for censored values)."""
        spread = self._spread
        at = self._astray(waited_s) / spread
        beyond = _beyond(at)
        self._take(spread * beyond, spread * spread * (1.0 + at * beyond))

    @property
    def median_s(self) -> float:
        return math.exp(self._log_s)

    def late_share(self, left_s: float) -> float:
        """How likely its first token comes later than that."""
        if left_s <= SHORTEST_S:
            return 1.0
        return 0.5 * math.erfc(self._astray(left_s) / (self._spread * math.sqrt(2.0)))

    @property
    def _spread(self) -> float:
        return max(math.sqrt(self._square), LEAST_SPREAD)

    def _astray(self, ttft_s: float) -> float:
        return math.log(max(ttft_s, SHORTEST_S)) - self._log_s

    def _take(self, astray: float, square: float) -> None:
        self._known = min(self._known + 1.0, REMEMBERED)
        self._log_s += astray / self._known
        self._square += (square * (1.0 - 1.0 / self._known) - self._square) / self._known


def _beyond(at: float) -> float:
    """The mean of a standard normal value that is known to be above this."""
    if at > FAR:
        return at + 1.0 / at
    return math.exp(-at * at / 2) / math.sqrt(2 * math.pi) / (0.5 * math.erfc(at / math.sqrt(2.0)))
