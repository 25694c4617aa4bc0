"""Load 1.0: the highest rate at which the engine alone keeps the promise, by doubling and halving."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

# An eighth of an octave: what one stretch of a trace can tell.
HALVINGS = 3
DOUBLINGS = 8


async def highest(keeps: Callable[[float], Awaitable[bool]], begin: float) -> float:
    """Raises ValueError where every rate is kept, or none."""
    low = high = begin
    if await keeps(begin):
        while await keeps(high * 2):
            low = high = high * 2
            if high >= begin * 2**DOUBLINGS:
                raise ValueError("the engine alone keeps the promise at every rate; promise less, or name a --capacity")
        high *= 2
    else:
        while not await keeps(low / 2):
            low = high = low / 2
            if low <= begin / 2**DOUBLINGS:
                raise ValueError("the engine alone keeps the promise at no rate; promise more, or name a --capacity")
        low /= 2
    for _ in range(HALVINGS):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if await keeps(middle) else (low, middle)
    return low
