"""What an owner promises: limits on the figures of one request, and how many requests must keep them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from benchmarks.drive.sample import Sample
from benchmarks.quantiles import quantile

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
            values = [value for sample in samples for value in values_of(sample, name)]
            measured_s = quantile(values, self.share) if values else None
            if measured_s is not None and measured_s > limit_s:
                found.append(f"p{self.share * 100:g} {name} is {measured_s:.3g}, promised {limit_s:g}")
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
        number = _number(part, value)
        if name.strip() == "share":
            share = number
        elif name.strip() in PROMISED:
            limits_s[name.strip()] = number
        else:
            raise ValueError(
                f"--promise {part!r}: name one of {', '.join(PROMISED)} or share, such as ttft_s=2,tpot_s=0.1"
            )
    if not limits_s or not 0 < share <= 1 or min(limits_s.values()) <= 0:
        raise ValueError(f"--promise {text!r}: limits must be above 0 s, and share above 0 and at most 1")
    return Promise(limits_s, share)


def values_of(sample: Sample, name: str) -> tuple[float, ...]:
    """The values that a request gives to a figure: none, one, or as many as it has gaps."""
    if not sample.ok:
        return ()
    if name == "itl_s":
        return sample.gaps_s
    value = getattr(sample, name)
    return () if value is None else (value,)


def _within(sample: Sample, name: str, limit_s: float) -> bool:
    return all(value <= limit_s for value in values_of(sample, name))


def _number(part: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise ValueError(f"--promise {part!r}: {value!r} is not a number") from None
