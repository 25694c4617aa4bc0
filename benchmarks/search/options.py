"""The options of searches, and what they come to."""

from __future__ import annotations

import argparse
import math

from benchmarks.figures.promise import Promise
from benchmarks.search.meter import Load
from benchmarks.search.saturation import Bounds

TOLERANCE = 0.05
MOST_RUNS = 24
CONFIRMATIONS = 2
MOST_LOADS = 200
HIGHEST = {Load.RATE: 1e5, Load.USERS: 1e4, Load.SCALE: 1e4}
# How far below the first load the search may go.
DEPTH = 256.0


def add_bounds(parser: argparse.ArgumentParser) -> None:
    """Where to look, how exactly, and how long at most."""
    add = parser.add_argument_group("search").add_argument
    add("--lowest", type=float, metavar="LOAD", help="no load below it (a 256th of the first)")
    add("--highest", type=float, metavar="LOAD", help="no load above it")
    add("--tolerance", type=float, default=TOLERANCE, help="of the load that is found (%(default)s is 5 %%)")
    add("--confirm", type=int, default=CONFIRMATIONS, metavar="N", help="runs on each side of the knee (%(default)s)")
    add("--most-runs", type=int, default=MOST_RUNS, metavar="N", help="give up exactness after so many (%(default)s)")


def bounds_in(options: argparse.Namespace, first: float, load: Load) -> Bounds:
    """From the options, beginning at `first` where that is within them. Raises ValueError with a sentence."""
    least = 1.0 if load is Load.USERS else first / DEPTH
    lowest = least if options.lowest is None else options.lowest
    highest = max(first, HIGHEST[load]) if options.highest is None else options.highest
    return Bounds(
        first=min(max(first, lowest), highest),
        lowest=min(lowest, first) if options.lowest is None else lowest,
        highest=highest,
        tolerance=options.tolerance,
        whole=load is Load.USERS,
        confirmations=options.confirm,
        most_runs=options.most_runs,
    )


def loads_in(text: str) -> list[float]:
    """From `1,2,4` or `2:20:2`, its ends included. Raises ValueError with a sentence."""
    try:
        found = _range(text) if ":" in text else [float(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"--loads {text!r}: write 1,2,4 or FROM:TO:STEP such as 2:20:2") from None
    if not found or not all(0 < load < math.inf for load in found) or len(found) > MOST_LOADS:
        raise ValueError(f"--loads {text!r}: name 1 to {MOST_LOADS} loads, each above 0")
    return found


def check_promise(promise: Promise | None) -> Promise:
    """Raises ValueError where there is none."""
    if promise is None:
        raise ValueError("--promise is needed: without one there is no load that is too much")
    return promise


def _range(text: str) -> list[float]:
    low, high, step = (float(part) for part in text.split(":"))
    if step <= 0 or not low <= high < math.inf:
        return []
    return [
        round(low + number * step, 9)
        for number in range(min(MOST_LOADS + 1, math.floor((high - low) / step + 1.000001)))
    ]
