"""The whole answer as it is printed, and as JSON: a sentence, a table for each model, and what the figures stand on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from benchmarks.whatifs.answer import Answer, together
from benchmarks.whatifs.pool import Actual, Pool
from benchmarks.whatifs.sentence import percent, sentence, usd
from benchmarks.whatifs.table import cases_table, lasting


def page(pools: Sequence[Pool], answers: Sequence[Answer], notes: Sequence[str]) -> RenderableType:
    """Of one model; of several the sum first, then each."""
    parts: list[RenderableType] = []
    if len(answers) > 1:
        parts += [*_part(together(answers), ()), Text()]
    for pool, answer in zip(pools, answers, strict=True):
        parts += [*_part(answer, _stands_on(pool, answer)), *([Text()] if len(answers) > 1 else [])]
    return Group(*parts, *map(_line, notes))


def document(pools: Sequence[Pool], answers: Sequence[Answer], notes: Sequence[str]) -> dict[str, object]:
    """For JSON, in the same order. `total` is null where there is one model."""
    total = together(answers) if len(answers) > 1 else None
    models = [
        {**answer.document(), "sentence": sentence(answer), "stands_on": list(_stands_on(pool, answer))}
        for pool, answer in zip(pools, answers, strict=True)
    ]
    summed = None if total is None else {**total.document(), "sentence": sentence(total)}
    return {"sentence": headline(answers), "total": summed, "models": models, "notes": list(notes)}


def headline(answers: Sequence[Answer]) -> str:
    """Of all models."""
    return sentence(together(answers) if len(answers) > 1 else answers[0])


def _part(answer: Answer, stands_on: Iterable[str]) -> list[RenderableType]:
    period = answer.period
    title = Text(f"{answer.name}: {period.requests:,} requests in {lasting(period.lasts_s)}", style="dim")
    return [Text(sentence(answer), style="bold"), title, cases_table(answer), *map(_line, stands_on)]


def _line(words: str) -> RenderableType:
    """What does not fit goes on below its beginning."""
    return Padding(Text(words, style="dim"), (0, 0, 0, 1), expand=False)


def _stands_on(pool: Pool, answer: Answer) -> Iterator[str]:
    actual, now, promise = answer.actual, answer.now, pool.setting.promise
    if actual is not None:
        month = pool.period.per_month
        yield (
            f"simulated: {percent(now.spilled_share)} spilled, {usd(now.month_usd)} a month; "
            f"real: {percent(actual.spilled_share)}, {usd(actual.usd * month)}{_seen(pool, actual)}"
        )
    yield (
        f"promised: first token within {promise.ttft_s:g} s and {promise.tpot_s * 1e3:g} ms a token after it, to "
        f"{promise.share * 100:g} % of the requests"
    )
    yield f"looked at {pool.seen}"
    yield from pool.notes


def _seen(pool: Pool, actual: Actual) -> str:
    """How much of the difference is owed to the choice of hours."""
    if pool.is_whole:
        return ""
    month_usd = actual.seen_usd * pool.period.per_month
    return f" (by the hours looked at alone: {percent(actual.seen_share)}, {usd(month_usd)})"
