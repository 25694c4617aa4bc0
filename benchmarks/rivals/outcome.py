"""What a trial comes to. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.drive.sample import Sample
from benchmarks.figures.promise import Promise
from benchmarks.price import Price
from benchmarks.wire import TOKENS_PER_MESSAGE, counted
from benchmarks.workload.arrival import Arrival

# Of an answer that is not as long as it should be.
WRONG_LENGTH = "wrong_length"
FORETOLD = re.compile(
    r'^spillway_ttft_error_seconds\{(?=[^}]*target="local/)[^}]*quantile="([\d.]+)"[^}]*\} (\S+)', re.M
)


@dataclass(frozen=True, slots=True)
class Till:
    """What the cloud has counted so far: requests that it answered, and dollars."""

    requests: int
    usd: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of all stretches of one load at one contender.

    Shares are of all requests; an error keeps nothing. `spilled_share` is of answers of the cloud by its own count,
    `bill_share` of what the cloud would have had for all. `said` is the first error in words. `foretold_s` is how far
    the router's own prediction of TTFT was off at home, by quantile; empty where it says nothing. `late_s` is how late
    the driver sent at worst, `others_share` what processes that are not ours used of a core.
    """

    contender: str
    load: float
    rate: float
    requests: int
    kept_share: float
    ttft_kept_share: float
    tpot_kept_share: float
    ttft_p50_s: float | None
    ttft_p99_s: float | None
    tpot_p99_s: float | None
    errors: Mapping[str, int]
    said: str | None
    spilled_share: float
    bill_share: float
    usd: float
    foretold_s: Mapping[str, float]
    late_s: float
    others_share: float = 0.0


def judged(sample: Sample) -> Sample:
    """With the tokens that have text: vLLM counts the end of an answer as one, and it has none."""
    wanted = sample.expected_output_tokens or 0
    if sample.ok and not wanted <= sample.completion_tokens <= wanted + 1:
        said = f"{sample.completion_tokens} tokens instead of {wanted}"
        return replace(sample, error=WRONG_LENGTH, message=said)
    return replace(sample, completion_tokens=wanted)


def all_cloud_usd(asked: Sequence[Arrival], price: Price) -> float:
    """What the stand-in cloud would want for all of it, by its own way of counting (benchmarks.wire)."""
    prompts = sum(counted(str(each.prompt.content)) + TOKENS_PER_MESSAGE for each in asked)
    return price.usd(prompts, sum(each.output_tokens or 0 for each in asked))


def outcome_of(
    named: tuple[str, float, float],
    samples: Sequence[Sample],
    promise: Promise,
    till: Till,
    all_usd: float,
    metrics: str = "",
) -> Outcome:
    """`named` are contender, load and rate; the till is of this trial alone. Raises ValueError without a sample."""
    if not samples:
        raise ValueError(f"{named[0]}: no request of load {named[1]:g} has ended")
    errors: dict[str, int] = {}
    for sample in samples:
        if sample.error is not None:
            errors[sample.error] = errors.get(sample.error, 0) + 1
    ttft_s, tpot_s = ([found for each in samples if each.ok for found in _values(each, name)] for name in NAMES)
    return Outcome(
        *named,
        requests=len(samples),
        kept_share=_share(samples, promise),
        ttft_kept_share=_share(samples, _only(promise, "ttft_s")),
        tpot_kept_share=_share(samples, _only(promise, "tpot_s")),
        ttft_p50_s=_quantile(ttft_s, 0.5),
        ttft_p99_s=_quantile(ttft_s, 0.99),
        tpot_p99_s=_quantile(tpot_s, 0.99),
        errors=errors,
        said=next((each.message for each in samples if each.error is not None), None),
        spilled_share=till.requests / len(samples),
        bill_share=till.usd / all_usd if all_usd else 0.0,
        usd=till.usd,
        foretold_s={found[1]: float(found[2]) for found in FORETOLD.finditer(metrics)},
        late_s=max(each.lag_s for each in samples),
    )


NAMES = ("ttft_s", "tpot_s")


def best(outcomes: Sequence[Outcome], share: float) -> Outcome:
    """The cheapest of those that keep the promise for so many; where none does, the one that keeps it for most."""
    keeping = [each for each in outcomes if each.kept_share >= share]
    if keeping:
        return min(keeping, key=lambda each: (each.bill_share, -each.kept_share))
    return max(outcomes, key=lambda each: (each.kept_share, -each.bill_share))


def _values(sample: Sample, name: str) -> Sequence[float]:
    value = sample.ttft_s if name == "ttft_s" else sample.tpot_s
    return () if value is None else (value,)


def _only(promise: Promise, name: str) -> Promise:
    return Promise({name: promise.limits_s[name]} if name in promise.limits_s else {}, promise.share)


def _share(samples: Sequence[Sample], promise: Promise) -> float:
    return sum(promise.met_by(each) for each in samples) / len(samples)


def _quantile(values: Sequence[float], share: float) -> float | None:
    return float(np.quantile(values, share)) if values else None
