"""Which policy a word of the command line means, and what `--best` tries of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from benchmarks.simulator.policies.counted import Count, Slots
from benchmarks.simulator.policies.plain import Cloud, Local
from benchmarks.simulator.policies.predicted import Held, Predicted
from benchmarks.simulator.policies.sluice import Sluiced
from benchmarks.simulator.policies.thresholds import Thresholds
from benchmarks.simulator.world import Policy

Values = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Family:
    """`form` names the settings, in order; `usual` are those that need not be given. `tried`: `--best` tries these of
    each setting, none where a setting is not for it to choose.
    """

    form: str
    make: Callable[..., Policy]
    usual: Values = ()
    tried: tuple[Values, ...] = ()


@dataclass(frozen=True, slots=True)
class Named:
    """A policy as it was asked for. `made` gives one that has seen nothing."""

    family: str
    values: Values

    def made(self) -> Policy:
        """A policy for one run."""
        return FAMILIES[self.family].make(*self.values)

    def __str__(self) -> str:
        return self.family + ("=" + ",".join(f"{value:g}" for value in self.values) if self.values else "")


COUNTS = tuple(float(count) for count in (2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 28, 32, 40, 48, 64))
QUEUES = (0.0, 1.0, 2.0, 3.0, 5.0, 8.0, 12.0)
KV_SHARES = (0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0)
FAMILIES = MappingProxyType(
    {
        "local": Family("", Local),
        "cloud": Family("", Cloud),
        "count": Family("[N]", Count, (16,), (COUNTS,)),
        "slots": Family("[N]", Slots, (16,), (COUNTS,)),
        "thresholds": Family("[QUEUE,KV,AGE_S]", Thresholds, (5, 0.8, 0), (QUEUES, KV_SHARES, ())),
        "sluice": Family("", Sluiced),
        "predicted": Family(
            "[TTFT_SHARE,HEAD]",
            Predicted,
            (0.5, 30),
            ((0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2), (0.0, 15.0, 30.0, 60.0, 90.0)),
        ),
        "held": Family(
            "[HOLD_S,HEAD]",
            Held,
            (1.0, 30),
            ((0.2, 0.3, 0.4, 0.6, 0.8, 1.0, 1.3, 1.6), (0.0, 15.0, 30.0, 60.0, 90.0, 120.0)),
        ),
    }
)


def named_in(text: str) -> Named:
    """From `count=12`. Raises ValueError with a sentence that lists what there is."""
    family, _, rest = text.strip().partition("=")
    if family not in FAMILIES:
        listed = ", ".join(f"{name}{each.form}" if each.form else name for name, each in FAMILIES.items())
        raise ValueError(f"--policy {text!r}: there is no such policy; there are {listed}")
    known = FAMILIES[family]
    try:
        values = tuple(float(value) for value in rest.split(",")) if rest else ()
    except ValueError:
        values = (math.nan,)
    if any(value < 0 or not math.isfinite(value) for value in values) or len(values) > len(known.usual):
        raise ValueError(f"--policy {text!r}: write {family}{'=' + known.form if known.form else ''}")
    return Named(family, (*values, *known.usual[len(values) :]))


def tried(named: Named) -> Sequence[Values]:
    """For each setting, what `--best` tries; the value given where it is not for it to choose."""
    return [values or (given,) for values, given in zip(FAMILIES[named.family].tried, named.values, strict=True)]
