"""The rungs of a length: the ranges of tokens in which answers are counted, fine where answers are. Pure."""

from __future__ import annotations

import math
from bisect import bisect_left
from itertools import pairwise

# Each rung lies between two of these: above the first, up to and with the second. Short answers are counted exactly;
# what hardly occurs is counted coarsely. No answer is longer than the last.
_EXACT_TO = 8
# From the one before, rungs an octave.
_OCTAVES = ((2048, 6), (32_768, 2), (1 << 20, 1))


def _edges() -> tuple[int, ...]:
    found, lower = [*range(_EXACT_TO + 1)], _EXACT_TO
    for upper, per_octave in _OCTAVES:
        steps = round(math.log2(upper / lower) * per_octave)
        found += [round(lower * 2 ** (step / per_octave)) for step in range(1, steps + 1)]
        lower = upper
    return tuple(found)


EDGES = _edges()
LAST = len(EDGES) - 2


def rung_of(tokens: float) -> int:
    """Which rung a length stands on: 0 for one token (and less), the last for all that is longer."""
    return min(max(bisect_left(EDGES, tokens) - 1, 0), LAST)


def _prior() -> tuple[float, ...]:
    """Log-normal, median 128 tokens, sigma 1.4: wide enough for chats, code and agents (medians of 13 to 350)."""
    median, sigma = 128.0, 1.4
    below = [0.0] + [0.5 * math.erfc(-math.log(edge / median) / sigma / math.sqrt(2)) for edge in EDGES[1:-1]] + [1.0]
    return tuple(upper - lower for lower, upper in pairwise(below))


# What is believed of an answer before any has been seen; one in all.
PRIOR = _prior()
