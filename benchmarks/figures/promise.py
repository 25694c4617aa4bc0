"""What an owner promises: limits on the figures of one request, and how many requests must keep them. Pure.

Of an answer that comes whole, the first token is there when the last is: its end-to-end latency is judged as its TTFT,
so that no promise is kept for want of a figure. It has no TPOT and no gaps to break one, as an answer of one token.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, repeat

import numpy as np

from benchmarks.drive.sample import Sample

# What can be promised of a request, and how a Sample says it.
PROMISED = ("ttft_s", "tpot_s", "e2e_s", "itl_s")
P95 = 0.95


@dataclass(frozen=True, slots=True)
class Promise:
    """`limits_s` by name of the figure; `share` of the requests must be within each, and errors are never kept."""

    limits_s: Mapping[str, float]
    share: float = P95

    def met_by(self, sample: Sample) -> bool:
        """Whether this one request met it: the numerator of goodput."""
        return sample.ok and all(_within(sample, name, limit_s) for name, limit_s in self.limits_s.items())

    def kept_by(self, samples: Iterable[Sample]) -> bool:
        """Whether a load keeps it: no error, and each figure's quantile is within its limit."""
        return not self.broken(list(samples))

    def broken(self, samples: list[Sample]) -> list[str]:
        """What breaks it, in words; empty where it is kept. No requests keep nothing."""
        if not samples:
            return ["no request ended"]
        found = []
        errors = sum(not sample.ok for sample in samples)
        if errors:
            found.append(f"{errors} of {len(samples)} requests failed")
        for name, limit_s in self.limits_s.items():
            values = np.fromiter(chain.from_iterable(values_of(sample, name) for sample in samples), np.float64)
            measured_s = float(np.quantile(values, self.share)) if len(values) else 0.0
            if measured_s > limit_s:
                found.append(f"p{self.share * 100:g} {name} is {_shown(measured_s, limit_s)}, promised {limit_s:g}")
        return found

    def __str__(self) -> str:
        limits = ", ".join(f"{name} <= {limit_s:g}" for name, limit_s in self.limits_s.items())
        return f"p{self.share * 100:g} {limits}, no errors"


def promise_in(text: str) -> Promise:
    """From `ttft_s=2,tpot_s=0.1` (optionally `share=0.99`). Raises ValueError with a sentence."""
    limits_s: dict[str, float] = {}
    share = P95
    for part in text.split(","):
        name, _, value = part.partition("=")
        name = name.strip()
        if name not in {*PROMISED, "share"}:
            named = ", ".join(PROMISED)
            raise ValueError(f"--promise {part!r}: name one of {named} or share, such as ttft_s=2,tpot_s=0.1")
        if name in limits_s:
            raise ValueError(f"--promise {text!r} names {name} twice")
        number = _number(part, value)
        if name == "share":
            share = number
        else:
            limits_s[name] = number
    if not limits_s:
        raise ValueError(f"--promise {text!r} promises nothing: name a limit, such as ttft_s=2,tpot_s=0.1")
    if not 0 < share <= 1 or min(limits_s.values()) <= 0:
        raise ValueError(f"--promise {text!r}: limits must be above 0 s, and share above 0 and at most 1")
    return Promise(limits_s, share)


def values_of(sample: Sample, name: str) -> Sequence[float]:
    """The values that a complete answer gives to a figure: none, one, or as many as it has events after the first."""
    if not sample.ok:
        return ()
    if name == "itl_s":
        return itl_s(sample)
    value = sample.e2e_s if name == "ttft_s" and sample.first_s is None else getattr(sample, name)
    return () if value is None else (value,)


def itl_s(sample: Sample) -> Sequence[float]:
    """The time from each event with content to the next: of events read together, the first has the gap, others 0."""
    together = sample.events - 1 - len(sample.gaps_s)
    return (*sample.gaps_s, *repeat(0.0, together)) if together > 0 else sample.gaps_s


def _within(sample: Sample, name: str, limit_s: float) -> bool:
    return all(value <= limit_s for value in values_of(sample, name))


def _shown(measured_s: float, limit_s: float) -> str:
    """With as many digits as tell it from the limit."""
    shown = (f"{measured_s:.{digits}g}" for digits in range(3, 18))
    return next(text for text in shown if float(text) > limit_s)


def _number(part: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"--promise {part!r}: {value!r} is not a number of seconds, such as ttft_s=2")
    return number
