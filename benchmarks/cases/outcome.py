"""What a pass or a phase came to: the figures that are set side by side. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.cases.promises import Promises
from benchmarks.drive.sample import Sample
from benchmarks.figures.promise import values_of
from benchmarks.quantiles import quantile

CLOUD_PREFIX = "cloud/"
P50, P95 = 0.50, 0.95


@dataclass(frozen=True, slots=True)
class Outcome:
    """`kept` counts requests that got what was promised to them; `broken` says which promise was not kept, and how.

    `usd` is what clouds charged; None where something in the cloud has no known price, for unknown is never zero.
    """

    name: str
    seconds: float
    requests: int
    kept: int
    errors: Mapping[str, int]
    ttft_p50_s: float | None
    ttft_p95_s: float | None
    targets: Mapping[str, int]
    reasons: Mapping[str, int]
    tokens: int
    usd: float | None
    broken: Sequence[str]

    @property
    def kept_share(self) -> float | None:
        """Of all requests, failed ones included."""
        return self.kept / self.requests if self.requests else None

    @property
    def goodput_per_s(self) -> float:
        """Requests a second that got what was promised to them."""
        return self.kept / self.seconds

    @property
    def answered(self) -> int:
        """Complete answers."""
        return self.requests - sum(self.errors.values())

    @property
    def cloud_share(self) -> float | None:
        """Of the complete answers, those that came from a cloud."""
        away = sum(count for name, count in self.targets.items() if name.startswith(CLOUD_PREFIX))
        return away / self.answered if self.answered else None

    @property
    def usd_per_mtok(self) -> float | None:
        """Cloud dollars for a million tokens, prompt and answer, wherever they were made."""
        return None if self.usd is None or not self.tokens else self.usd / self.tokens * 1e6

    def as_json(self) -> dict[str, Any]:
        """For the document."""
        return {
            "name": self.name,
            "seconds": self.seconds,
            "requests": self.requests,
            "kept_share": self.kept_share,
            "goodput_per_s": self.goodput_per_s,
            "errors": dict(self.errors),
            "ttft_p50_s": self.ttft_p50_s,
            "ttft_p95_s": self.ttft_p95_s,
            "cloud_share": self.cloud_share,
            "targets": dict(self.targets),
            "reasons": dict(self.reasons),
            "tokens": self.tokens,
            "usd": self.usd,
            "usd_per_mtok": self.usd_per_mtok,
            "promise_broken": list(self.broken),
        }


def outcome_of(
    name: str, samples: Sequence[Sample], seconds: float, promises: Promises, tiers: Sequence[str]
) -> Outcome:
    """`tiers` are those of the load's requests by number; targets and reasons are those of complete answers."""
    answered = [sample for sample in samples if sample.ok]
    # Of a whole answer, the first token is there when the last is.
    first_s = [value_s for sample in answered for value_s in values_of(sample, "ttft_s")]
    return Outcome(
        name=name,
        seconds=seconds,
        requests=len(samples),
        kept=sum(promises.met(samples, tiers)),
        errors=Counter(sample.error for sample in samples if sample.error is not None),
        ttft_p50_s=quantile(first_s, P50) if first_s else None,
        ttft_p95_s=quantile(first_s, P95) if first_s else None,
        targets=Counter(sample.target for sample in answered if sample.target),
        reasons=Counter(sample.reason for sample in answered if sample.reason),
        tokens=sum(sample.prompt_tokens + sample.completion_tokens for sample in answered),
        usd=_usd(samples),
        broken=promises.broken(samples, tiers),
    )


def _usd(samples: Sequence[Sample]) -> float | None:
    """A broken answer of a cloud costs as well, so all samples count, not only complete ones."""
    away = [sample.usd for sample in samples if sample.target.startswith(CLOUD_PREFIX)]
    known = [usd for usd in away if usd is not None]
    return sum(known) if len(known) == len(away) else None
