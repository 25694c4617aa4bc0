"""All cases of one pool, or of several together, beside each other; and as JSON. Values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from benchmarks.whatifs.case import NOW, Case, cases_of
from benchmarks.whatifs.pool import Actual, Period, Pool
from benchmarks.whatifs.reckoned import Reckoned, reckoned, summed


@dataclass(frozen=True, slots=True)
class Answer:
    """`cases` are in the order of the table, the first as it is now. `word` is what one more engine is called.

    Of several pools together, cases are what is changed of each, engines are those of all, and `share` is what was
    promised to all of their requests.
    """

    name: str
    word: str
    share: float
    period: Period
    actual: Actual | None
    cases: dict[Case, Reckoned]

    @property
    def now(self) -> Reckoned:
        """As it is."""
        return self.cases[NOW]

    def saved_usd(self, each: Reckoned) -> float:
        """Dollars a month, against how it is now."""
        return self.now.month_usd - each.month_usd

    def document(self) -> dict[str, object]:
        """For JSON."""
        actual = None if self.actual is None else asdict(self.actual)
        cases = [
            {**asdict(case), **asdict(each), "saved_month_usd": self.saved_usd(each)}
            for case, each in self.cases.items()
        ]
        return {"name": self.name, "period": asdict(self.period), "ledger": actual, "cases": cases}


def answer_of(pool: Pool, tell: Callable[[Case], None]) -> Answer:
    """Simulates each case; `tell` hears of it before."""
    found: dict[Case, Reckoned] = {}
    for case in cases_of(pool.setting.engines):
        tell(case)
        found[case] = reckoned(pool, case)
    return Answer(pool.name, pool.engine_word, pool.setting.promise.share, pool.period, pool.actual, found)


def together(answers: Sequence[Answer]) -> Answer:
    """The cases that all of them have; dollars are sums, shares are of all requests."""
    requests = [each.period.requests for each in answers]
    common = [case for case in answers[0].cases if all(case in each.cases for each in answers)]
    cases = {case: summed([each.cases[case] for each in answers], requests) for case in common}
    all_usd = sum(each.period.all_cloud_usd for each in answers)
    period = Period(answers[0].period.lasts_s, sum(requests), all_usd)
    share = _mean([each.share for each in answers], requests)
    return Answer("all models", "engine for each model", share, period, _all(answers, requests), cases)


def _all(answers: Sequence[Answer], requests: Sequence[int]) -> Actual | None:
    found = [each.actual for each in answers if each.actual is not None]
    if len(found) < len(answers):
        return None
    shares = [each.kept_share for each in found]
    known = [share for share in shares if share is not None]
    weigh = [count for count, share in zip(requests, shares, strict=True) if share is not None]
    return Actual(
        spilled_share=_mean([each.spilled_share for each in found], requests),
        kept_share=_mean(known, weigh) if known else None,
        usd=sum(each.usd for each in found),
        seen_share=_mean([each.seen_share for each in found], requests),
        seen_usd=sum(each.seen_usd for each in found),
    )


def _mean(values: Sequence[float], weights: Sequence[int]) -> float:
    return sum(value * weight for value, weight in zip(values, weights, strict=True)) / sum(weights)
