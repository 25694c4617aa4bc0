"""What was promised to a request: the owner's one promise for all, or the time to first token of its own tier. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.drive.sample import Sample
from benchmarks.figures.promise import Promise


@dataclass(frozen=True, slots=True)
class Promises:
    """`for_all` outranks `by_tier`. `tiers` are those of the requests, by number, before any pass changed them."""

    by_tier: Mapping[str, Promise]
    default_tier: str
    for_all: Promise | None = None

    def of(self, tier: str) -> Promise:
        """Raises ValueError for a tier that nobody knows."""
        if self.for_all is not None:
            return self.for_all
        name = tier or self.default_tier
        if name not in self.by_tier:
            raise ValueError(f"the tier {name!r} does not exist; there are: {', '.join(self.by_tier)}")
        return self.by_tier[name]

    def met(self, samples: Iterable[Sample], tiers: Sequence[str]) -> list[bool]:
        """For each request, whether it got what was promised to it."""
        return [self.of(tiers[sample.number]).met_by(sample) for sample in samples]

    def broken(self, samples: Iterable[Sample], tiers: Sequence[str]) -> list[str]:
        """What is broken, tier by tier, in words; empty where all is kept."""
        groups: dict[str, list[Sample]] = {}
        for sample in samples:
            groups.setdefault("" if self.for_all else tiers[sample.number] or self.default_tier, []).append(sample)
        if not groups:
            return ["no request ended"]
        return [
            f"{tier}: {words}" if tier else words
            for tier, group in sorted(groups.items())
            for words in self.of(tier).broken(group)
        ]

    def __str__(self) -> str:
        if self.for_all is not None:
            return str(self.for_all)
        return "; ".join(f"{tier}: {promise}" for tier, promise in self.by_tier.items())


def promises_in(tiers: Sequence[Mapping[str, Any]], default_tier: str, for_all: Promise | None) -> Promises:
    """From the tiers of `/spillway/status`. Raises ValueError for a default tier that is not among them."""
    by_tier = {str(tier["name"]): Promise({"ttft_s": float(tier["ttft_target_s"])}) for tier in tiers}
    found = Promises(by_tier, default_tier, for_all)
    found.of(default_tier)
    return found
