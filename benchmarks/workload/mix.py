"""Who sends the requests: shares of tiers, tasks, tenants and local-only requests. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import accumulate
from random import Random
from typing import Any

from benchmarks.workload.arrival import Arrival

NAMES = ("tier", "task", "tenant", "local_only")
LOCAL_ONLY = "local_only"
FORM = "tier=standard:0.6,bulk:0.25,premium:0.15;tenant=a:0.5,b:0.5;local_only=0.25"
ROUNDING = 1e-6
# Each name walks round the circle by a step of its own, and its shares are arcs of it. Steps of square roots spread
# evenly, so a share holds in every prefix to within 5 requests (measured over 20,000), and roots that are independent
# do not tie one name to another. Dealing out every name in turn would: every second tenant a local-only.
STEPS = ((math.sqrt(5) - 1) / 2, math.sqrt(2) % 1, math.sqrt(3) % 1, math.sqrt(7) % 1)


@dataclass(frozen=True, slots=True)
class Mix:
    """For each of `NAMES` the share of each value, summing to 1; what is missing stays as the arrival has it."""

    shares: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def __str__(self) -> str:
        return ";".join(f"{name}={_listed(name, shares)}" for name, shares in self.shares.items())


def mix_in(text: str) -> Mix:
    """From text such as `FORM`; empty text mixes nothing. Raises ValueError with a sentence."""
    shares: dict[str, dict[str, float]] = {}
    for part in filter(None, (part.strip() for part in text.split(";"))):
        name, _, value = (piece.strip() for piece in part.partition("="))
        if name not in NAMES or not value or name in shares:
            raise ValueError(f"--mix {part!r}: write each of {', '.join(NAMES)} at most once, such as {FORM}")
        shares[name] = _local_only_in(part, value) if name == LOCAL_ONLY else _shares_in(part, value)
    return Mix(shares)


def applied(arrivals: Iterable[Arrival], mix: Mix, rng: Random) -> Iterator[Arrival]:
    """The same arrivals with what the mix gives them. What an arrival (of a trace) already says of itself stays."""
    starts = [rng.random() for _ in NAMES]
    # Ends of the intervals of [0, 1) that belong to each value, in order.
    ends = {name: list(zip(accumulate(shares.values()), shares, strict=True)) for name, shares in mix.shares.items()}
    for number, arrival in enumerate(arrivals):
        chosen: dict[str, Any] = {}
        for name, start, step in zip(NAMES, starts, STEPS, strict=True):
            if name in ends and not getattr(arrival, name):
                chosen[name] = _at((start + number * step) % 1.0, ends[name])
        if LOCAL_ONLY in chosen:
            chosen[LOCAL_ONLY] = chosen[LOCAL_ONLY] == "yes"
        yield replace(arrival, **chosen) if chosen else arrival


def _at(point: float, ends: list[tuple[float, str]]) -> str:
    return next((value for end, value in ends if point < end), ends[-1][1])


def _local_only_in(part: str, value: str) -> dict[str, float]:
    share = _share(part, value)
    return {"yes": share, "no": 1 - share}


def _shares_in(part: str, text: str) -> dict[str, float]:
    shares: dict[str, float] = {}
    for piece in text.split(","):
        value, found, share = (item.strip() for item in piece.partition(":"))
        if not value or value in shares:
            raise ValueError(f"--mix {part!r}: name each value once, such as standard:0.6,bulk:0.4")
        shares[value] = _share(part, share) if found else 1.0
    if abs(sum(shares.values()) - 1) > ROUNDING:
        raise ValueError(f"--mix {part!r}: the shares sum to {sum(shares.values()):g} instead of 1")
    return shares


def _share(part: str, text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        raise ValueError(f"--mix {part!r}: {text!r} is not a number") from None
    if not 0 <= share <= 1:
        raise ValueError(f"--mix {part!r}: a share is between 0 and 1, not {text}")
    return share


def _listed(name: str, shares: Mapping[str, float]) -> str:
    if name == LOCAL_ONLY:
        return f"{shares['yes']:g}"
    return ",".join(f"{value}:{share:g}" for value, share in shares.items())
