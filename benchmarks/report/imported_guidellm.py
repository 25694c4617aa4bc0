"""Results of guidellm (its JSON) as a Document, in guidellm's own numbers and intervals. Pure.

What guidellm calls inter-token latency, the mean over one answer's tokens after the first, is our time per output
token; single gaps it does not keep. Its time per output token counts the first one in, and has no counterpart here. Its
means weigh an answer by its tokens. Requests still under way at the end count neither as answers nor as errors.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime

from benchmarks.drive.sample import Sample
from benchmarks.report.document import Document, Figure, Origin, Run, Summary
from benchmarks.report.foreign import FAILED, Record, needed, number, part, records

TOOL = "guidellm"
# Ours, theirs, and how many of their units a second has.
FIGURES = (
    ("ttft_s", "time_to_first_token_ms", 1e3),
    ("tpot_s", "inter_token_latency_ms", 1e3),
    ("e2e_s", "request_latency", 1.0),
)
STATISTICS = ("p50", "p90", "p95", "p99")
OK_STATUS = 200


def is_one(record: Record) -> bool:
    """Whether this is such a report."""
    return any("metrics" in each for each in records(record.get("benchmarks")))


def document_of(record: Record, name: str) -> tuple[Document, dict[str, list[Sample]]]:
    """One run for each benchmark of the report. Raises ValueError with a sentence."""
    runs: list[Run] = []
    samples = {}
    for place, each in enumerate(records(record.get("benchmarks")), 1):
        run = _run(each, f"{name}, benchmark {place}")
        if any(run.name == other.name for other in runs):
            run = Run(name=f"{run.name} ({place})", load=run.load, summary=run.summary)
        runs.append(run)
        requests = samples_of(each)
        if requests:
            samples[run.name] = requests
    first = next(records(record["benchmarks"]))
    model = str(part(first, "config", "backend").get("model") or part(record, "args").get("model") or "")
    began = number(first, "start_time")
    origin = Origin(
        command="",
        began_at="" if began is None else datetime.fromtimestamp(began, UTC).isoformat(timespec="seconds"),
        machine={
            key: value for key, value in part(record, "metadata").items() if key in ("platform", "python_version")
        },
        engine={"model": model} if model else {},
        tool=f"{TOOL} {part(record, 'metadata').get('guidellm_version', '')}".strip(),
    )
    verb = "sweep" if len({run.load.get("rate") for run in runs if run.load.get("rate")}) > 1 else "load"
    title = f"{model or 'A server'}, measured by {TOOL}"
    return Document(verb=verb, title=title, origin=origin, runs=runs, summary=runs[-1].summary), samples


def samples_of(benchmark: Record) -> list[Sample]:
    """The requests that the report holds. Latency counts from the start of each, as guidellm's own does."""
    answered = [(each, None) for each in records(part(benchmark, "requests").get("successful"))]
    failed = [(each, FAILED) for each in records(part(benchmark, "requests").get("errored"))]
    timed = [(each, error, part(each, "info", "timings")) for each, error in (*answered, *failed)]
    begins = [begin for _, _, timings in timed if (begin := number(timings, "request_start")) is not None]
    found = []
    for each, error, timings in timed:
        begin = number(timings, "request_start")
        if begin is not None:
            found.append(_sample(each, error, timings, begin - min(begins)))
    return sorted(found, key=lambda sample: sample.scheduled_s)


def _sample(request: Record, error: str | None, timings: Record, at_s: float) -> Sample:
    begin = number(timings, "request_start") or 0.0
    first, last = number(timings, "first_token_iteration"), number(timings, "last_token_iteration")
    end = number(timings, "request_end") or last or begin
    return Sample(
        number=0,
        scheduled_s=at_s,
        sent_s=at_s,
        ended_s=at_s + end - begin,
        status=0 if error else OK_STATUS,
        first_s=None if first is None else at_s + first - begin,
        last_s=None if last is None else at_s + last - begin,
        events=int(number(timings, "token_iterations") or 0),
        prompt_tokens=int(number(request, "prompt_tokens") or 0),
        completion_tokens=int(number(request, "output_tokens") or 0),
        request_id=str(request.get("request_id", "")),
        error=error,
        message=str(part(request, "info").get("error") or ""),
    )


def _run(benchmark: Record, name: str) -> Run:
    strategy = part(benchmark, "config", "strategy") or part(benchmark, "scheduler", "strategy")
    load = {key: value for key, value in strategy.items() if isinstance(value, str | int | float)}
    if streams := number(strategy, "streams"):
        load["users"] = streams
    words = str(strategy.get("type_") or "run")
    amount = number(strategy, "rate") or streams
    return Run(name=words if amount is None else f"{words} {amount:.4g}", load=load, summary=_summary(benchmark, name))


def _summary(benchmark: Record, name: str) -> Summary:
    metrics = part(benchmark, "metrics")
    totals = part(metrics, "request_totals")
    good, failed = int(needed(totals, "successful", name)), int(number(totals, "errored") or 0)
    seconds = needed(benchmark, "duration", name)
    if seconds <= 0:
        raise ValueError(f"{name}: 'duration' is {seconds:g}; nothing was measured.")
    figures = {ours: _figure(part(metrics, theirs, "successful"), scale) for ours, theirs, scale in FIGURES}
    return Summary(
        requests=good + failed,
        seconds=seconds,
        warm_up_s=0.0,
        ttft_s=figures["ttft_s"],
        tpot_s=figures["tpot_s"],
        itl_s=None,
        e2e_s=figures["e2e_s"],
        input_tokens_per_s=_mean(metrics, "prompt_tokens_per_second"),
        output_tokens_per_s=_mean(metrics, "output_tokens_per_second"),
        requests_per_s=_mean(metrics, "requests_per_second"),
        goodput_per_s=number(part(metrics, "request_goodput", "successful"), "mean"),
        errors=failed,
        errors_by_kind={FAILED: failed} if failed else {},
        mean_concurrency=_mean(metrics, "request_concurrency"),
    )


def _mean(metrics: Record, key: str) -> float:
    return number(part(metrics, key, "successful"), "mean") or 0.0


def _figure(stated: Record, scale: float) -> Figure | None:
    """A distribution of theirs; None where nothing was counted, which is what zeros all over mean."""
    count, mean, percentiles = number(stated, "count"), number(stated, "mean"), part(stated, "percentiles")
    if not count or mean is None:
        return None
    values = {name: number(percentiles, name) for name in STATISTICS}
    ends = {"mean": part(stated, "mean_ci"), **{name: part(stated, "percentile_cis", name) for name in STATISTICS}}
    return Figure(
        count=int(count),
        mean=mean / scale,
        **{name: math.nan if value is None else value / scale for name, value in values.items()},
        low=_ends(ends, "lower", scale),
        high=_ends(ends, "upper", scale),
    )


def _ends(ends: dict[str, Record], which: str, scale: float) -> dict[str, float]:
    found = {name: number(interval, which) for name, interval in ends.items()}
    return {name: value / scale for name, value in found.items() if value is not None}
