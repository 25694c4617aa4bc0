"""What can be asked of two documents: each figure that both have, and how sure its change is. Pure.

The standard errors come from block bootstrap of the requests (`resample`), or from the confidence intervals that the
figures carry where the requests are not at hand.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.drive.sample import Sample
from benchmarks.figures.promise import Promise, values_of
from benchmarks.report.document import Document, Figure, Run, Summary
from benchmarks.report.resample import Values, error_between, log_draws, normal_draws, rate_log_draws, superiority
from benchmarks.report.subject import knee_of, promise_of

Samples = Mapping[str, Sequence[Sample]]
# A search ends within 5 % of the knee: about so large a standard error for each of two of them, joined.
KNEE_ERROR = 0.035
ENDS = 2 * 1.959964
BEFORE, AFTER = 1, 2
LATENCIES = {
    "ttft_s": ("p50", "p95"),
    "tpot_s": ("p50", "p95"),
    "itl_s": ("p99",),
    "e2e_s": ("p50", "p95"),
}
RATES = ("output_tokens_per_s", "requests_per_s", "goodput_per_s")


@dataclass(frozen=True, slots=True)
class Question:
    """A figure before it is judged. `error` is the standard error of the change (of its logarithm), None: not known."""

    run: str
    name: str
    statistic: str
    before: float
    after: float
    error: float | None
    slower: float | None = None


def questions_of(before: Document, after: Document, of_before: Samples, of_after: Samples) -> list[Question]:
    """All that can be asked of two documents."""
    found: list[Question] = []
    for one, other in pairs(before, after):
        samples = (of_before.get(one.name, ()), of_after.get(other.name, ()))
        found += [*_latencies(one, other, *samples), *_rates(one, other, *samples), *_errors(one, other)]
    return found + _knees(before, after)


def pairs(before: Document, after: Document) -> list[tuple[Run, Run]]:
    """Runs of the same name; of two documents with one run each, those. Raises ValueError with a sentence."""
    others = {run.name: run for run in after.runs}
    found = [(run, others[run.name]) for run in before.runs if run.name in others]
    if not found and len(before.runs) == len(after.runs) == 1:
        found = [(before.runs[0], after.runs[0])]
    if not found:
        names = " and ".join(", ".join(repr(run.name) for run in each.runs) or "none" for each in (before, after))
        raise ValueError(f"The two reports have no run of the same name to compare: {names}.")
    return found


def _latencies(one: Run, other: Run, of_one: Sequence[Sample], of_other: Sequence[Sample]) -> list[Question]:
    found = []
    for name, statistics in LATENCIES.items():
        first, second = _figure(one, name), _figure(other, name)
        if first is None or second is None:
            continue
        values, more = _values(one, of_one, name), _values(other, of_other, name)
        drawn = (_draws(first, values, statistics, BEFORE), _draws(second, more, statistics, AFTER))
        slower = superiority(values[0], more[0])
        for statistic in statistics:
            before, after = getattr(first, statistic), getattr(second, statistic)
            if before > 0 and after > 0:
                error = error_between(drawn[0].get(statistic), drawn[1].get(statistic))
                found.append(Question(one.name, name, statistic, before, after, error, slower))
    return found


def _rates(one: Run, other: Run, of_one: Sequence[Sample], of_other: Sequence[Sample]) -> list[Question]:
    found = []
    for name in RATES:
        before, after = getattr(one.summary, name), getattr(other.summary, name)
        if before and after and _is_measured(name, one.summary, other.summary):
            error = error_between(_rate_draws(one, of_one, name), _rate_draws(other, of_other, name))
            found.append(Question(one.name, name, "", before, after, error))
    return found


def _errors(one: Run, other: Run) -> list[Question]:
    """Agresti and Caffo (2000): two successes and two failures more on each side keep the interval honest near zero."""
    first, second = one.summary, other.summary
    if not first.requests or not second.requests:
        return []
    shares = [(each.errors + 1) / (each.requests + 2) for each in (first, second)]
    sizes = [each.requests + 2 for each in (first, second)]
    error = math.sqrt(sum(share * (1 - share) / size for share, size in zip(shares, sizes, strict=True)))
    before, after = first.errors / first.requests, second.errors / second.requests
    return [Question(one.name, "errors", "", before, after, error)]


def _knees(before: Document, after: Document) -> list[Question]:
    one, other = knee_of(before), knee_of(after)
    if one is None or other is None or one.unit != other.unit:
        return []
    return [Question("", "knee", "", one.load, other.load, KNEE_ERROR)]


def _is_measured(name: str, one: Summary, other: Summary) -> bool:
    """Good requests can only be compared under the same promise."""
    return name != "goodput_per_s" or one.promise == other.promise


def _figure(run: Run, name: str) -> Figure | None:
    found: Figure | None = getattr(run.summary, name)
    return found


def _values(run: Run, samples: Sequence[Sample], name: str) -> tuple[list[float], list[int]]:
    """The values of what counts, after the warm-up, and the place in time of the request that each is of."""
    counted = sorted(
        (sample for sample in samples if sample.scheduled_s >= run.summary.warm_up_s), key=lambda each: each.scheduled_s
    )
    values: list[float] = []
    owners: list[int] = []
    for place, sample in enumerate(counted):
        some = values_of(sample, name)
        values += some
        owners += [place] * len(some)
    return values, owners


def _draws(
    figure: Figure, values: tuple[list[float], list[int]], statistics: Sequence[str], seed: int
) -> dict[str, Values]:
    if values[0]:
        return log_draws(*values, statistics)
    ends = {name: (figure.low.get(name, 0.0), figure.high.get(name, 0.0)) for name in statistics}
    return {
        name: normal_draws(math.log(high / low) / ENDS, seed) for name, (low, high) in ends.items() if 0 < low <= high
    }


def _rate_draws(run: Run, samples: Sequence[Sample], name: str) -> Values | None:
    good = [sample for sample in samples if sample.ok and sample.ended_s >= run.summary.warm_up_s]
    if not good:
        return None
    start_s = run.summary.warm_up_s
    promise = promise_of(run.summary.promise)
    amounts = [_amount(sample, name, promise) for sample in good]
    ends_s = [sample.ended_s - start_s for sample in good]
    return rate_log_draws(amounts, ends_s, max(ends_s))


def _amount(sample: Sample, name: str, promise: Promise | None) -> float:
    """What one answer brings to a rate."""
    if name == "output_tokens_per_s":
        return float(sample.completion_tokens)
    return float(name != "goodput_per_s" or promise is None or promise.met_by(sample))
