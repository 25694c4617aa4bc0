"""The highest load that something keeps: by doubling, then by halving the interval. Pure but for what it asks."""

from __future__ import annotations

from collections.abc import Callable

# How near the answer is: a hundredth.
NEAR = 0.01
DOUBLINGS = 40


def highest(keeps: Callable[[float], bool], begin: float) -> float:
    """Some load that `keeps`, of which one a hundredth higher does not. Raises ValueError where there is none.

    Where it is not as good as monotone, one of the loads at which it changes is found.
    """
    low, high = begin, begin
    if keeps(begin):
        while keeps(high * 2):
            low = high = high * 2
            if high > begin * 2**DOUBLINGS:
                raise ValueError("local alone keeps the promise at every rate; name a --rate")
        high *= 2
    else:
        while not keeps(low / 2):
            low = high = low / 2
            if low < begin / 2**DOUBLINGS:
                raise ValueError("local alone keeps the promise at no rate; name a --rate, or a promise it can keep")
        low /= 2
    while high / low > 1 + NEAR:
        middle = (low * high) ** 0.5
        low, high = (middle, high) if keeps(middle) else (low, middle)
    return low
