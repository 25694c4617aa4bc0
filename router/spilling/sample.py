"""How long an answer will be: a distribution that does not change, and what it says of one that has begun. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise
from math import ceil
from operator import neg

from router.spilling.rungs import EDGES

# A length that is whole but for this is whole.
ROUNDING = 1e-6


class Sample:
    """Shares of answers by rung, spread evenly within each. `answers`: how many it rests on, 0 where it is a guess.

    With `most_tokens` all that would be longer ends there: a rung one token wide at the end.
    """

    __slots__ = ("_above", "_edges", "_rest", "_slopes", "_starts", "answers", "mean", "mean_square")

    def __init__(self, shares: Sequence[float], answers: float, most_tokens: int | None = None) -> None:
        """`shares` by rung of EDGES, of any sum above 0."""
        edges, shares = (EDGES, shares) if most_tokens is None else _cut(shares, most_tokens)
        self._edges = edges
        self.answers = answers
        # From the longest down, so that small tails keep their digits: `above` is the share longer than each edge,
        # `rest` the tokens expected beyond it (not divided by that share).
        total = sum(shares)
        above, rest, square = [0.0], [0.0], 0.0
        slopes, starts = [0.0], [0.0]
        gone = tokens = 0.0
        for at in range(len(shares) - 1, -1, -1):
            lower, upper, share = edges[at], edges[at + 1], shares[at] / total
            slope = share / (upper - lower)
            starts.append(gone + slope * upper)
            slopes.append(slope)
            tokens += (upper - lower) * (gone + share / 2)
            gone += share
            above.append(gone)
            rest.append(tokens)
            square += share * (lower * lower + lower * upper + upper * upper) / 3
        self._above, self._rest = above[::-1], rest[::-1]
        # Beyond the last edge nothing is longer; below the first (index -1) everything is.
        self._slopes, self._starts = [*slopes[::-1], 0.0], [*starts[::-1], 1.0]
        # Whole tokens are half a token longer than what is spread evenly over their rung; the sixth is what their
        # square has more than that of the evenly spread.
        self.mean = tokens + 0.5
        self.mean_square = square + tokens + 1 / 6

    def longer(self, tokens: float) -> float:
        """The share of answers that are longer than so many tokens."""
        at = bisect_left(self._edges, tokens) - 1
        return self._starts[at] - self._slopes[at] * tokens

    def quantile(self, q: float, so_far: float = 0) -> float:
        """The least whole length that a share `q` of the answers with more than `so_far` tokens does not exceed."""
        longer = (1 - q) * self.longer(so_far)
        at = bisect_left(self._above, -longer, key=neg) - 1
        if at < 0:
            return max(1.0, so_far)
        return max(ceil((self._starts[at] - longer) / self._slopes[at] - ROUNDING), 1.0, so_far)

    def ends_within(self, so_far: float, steps: Sequence[int]) -> list[float]:
        """For each of `steps` the share of the answers longer than `so_far` that end within so many more tokens."""
        now = self.longer(so_far)
        if now <= 0:
            return [1.0] * len(steps)
        edges, starts, slopes = self._edges, self._starts, self._slopes
        scale = 1 / now
        return [
            1 - (starts[at := bisect_left(edges, tokens) - 1] - slopes[at] * tokens) * scale
            for tokens in [so_far + step for step in steps]
        ]

    def left(self, so_far: float) -> float:
        """Tokens expected beyond `so_far` of an answer that is longer; 0 where none is."""
        now = self.longer(so_far)
        if now <= 0:
            return 0.0
        at = bisect_left(self._edges, so_far) - 1 if so_far > 0 else 0
        upper = self._edges[at + 1]
        return (self._rest[at + 1] + (upper - max(so_far, 0)) * (now + self._above[at + 1]) / 2) / now + 0.5

    def points(self) -> list[tuple[float, float]]:
        """Each rung's upper edge in tokens with its share; for telling."""
        pairs = zip(self._edges[1:], pairwise(self._above), strict=True)
        return [(edge, upper - lower) for edge, (upper, lower) in pairs]


def _cut(shares: Sequence[float], most_tokens: int) -> tuple[tuple[int, ...], list[float]]:
    """Edges and shares where nothing is longer than `most_tokens`."""
    most = max(most_tokens, 1)
    last = bisect_left(EDGES, most) - 1
    if last >= len(shares):
        return EDGES, list(shares)
    lower, upper = EDGES[last], EDGES[last + 1]
    below = shares[last] * (most - 1 - lower) / (upper - lower)
    beyond = sum(shares[last:]) - below
    if most - 1 == lower:
        return (*EDGES[: last + 1], most), [*shares[:last], beyond]
    return (*EDGES[: last + 1], most - 1, most), [*shares[:last], below, beyond]
