"""Results of `vllm bench serve --save-result` as a Document, in vLLM's own numbers. Pure.

With `--save-detailed` the requests come along, and with them confidence intervals, pictures and tests. Without, only
what vLLM was told to keep (`--metric-percentiles`) is known; the rest is not a number, shown as a dash. vLLM counts
latency from the moment a request was sent, so a queue within its generator is not in it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec

from benchmarks.drive.sample import Sample
from benchmarks.figures.distribution import figure_of
from benchmarks.report.document import Document, Figure, Origin, Run, Summary
from benchmarks.report.foreign import FAILED, Record, column, needed, number

TOOL = "vllm bench serve"
WORDS = {"ttft_s": "ttft", "tpot_s": "tpot", "itl_s": "itl", "e2e_s": "e2el"}
STATED = {"mean": "mean", "median": "p50", "p90": "p90", "p95": "p95", "p99": "p99"}
LOAD = ("backend", "num_prompts", "burstiness", "max_concurrency", "label")
OK_STATUS = 200


def is_one(record: Record) -> bool:
    """Whether this is such a result."""
    return {"request_throughput", "total_input_tokens", "duration"} <= record.keys()


def document_of(found: Sequence[Record], name: str) -> tuple[Document, dict[str, list[Sample]]]:
    """One run for each result: `--append-result` puts many into a file. Raises ValueError with a sentence."""
    runs, samples = [], {}
    for place, record in enumerate(found, 1):
        requests = samples_of(record)
        run = _run(record, requests, place if len(found) > 1 else 0, name)
        runs.append(run)
        if requests:
            samples[run.name] = requests
    first = found[0]
    model = str(first.get("model_id") or "")
    origin = Origin(
        command="",
        began_at=_date(str(first.get("date", ""))),
        machine={},
        engine={"model": model} if model else {},
        tool=TOOL,
    )
    title = f"{model or 'A server'}, measured by {TOOL}"
    document = Document(verb="load", title=title, origin=origin, runs=runs, summary=runs[-1].summary)
    return document, samples


def samples_of(record: Record) -> list[Sample]:
    """One for each request, where `--save-detailed` has kept them. Times count from the first request sent."""
    firsts, gaps, starts = column(record, "ttfts"), column(record, "itls"), column(record, "start_times")
    if not firsts or not len(firsts) == len(gaps) == len(column(record, "output_lens")):
        return []
    if len(starts) != len(firsts):
        # Older versions kept no moments; only their order is known then.
        starts = list(range(len(firsts)))
    begin_s = min(starts)
    made = [_sample(record, number, starts[number] - begin_s) for number in range(len(firsts))]
    return sorted(made, key=lambda sample: sample.scheduled_s)


def _sample(record: Record, place: int, at_s: float) -> Sample:
    errors, latencies = column(record, "errors"), column(record, "latencies")
    message = str(errors[place]) if place < len(errors) and errors[place] else ""
    tokens, first_s = int(record["output_lens"][place]), float(record["ttfts"][place])
    gaps_s = tuple(map(float, record["itls"][place]))
    latency_s = float(latencies[place]) if place < len(latencies) else first_s + sum(gaps_s)
    failed = bool(message) or tokens == 0
    inputs = column(record, "input_lens")
    return Sample(
        number=place,
        scheduled_s=at_s,
        sent_s=at_s,
        ended_s=at_s + latency_s,
        status=0 if failed else OK_STATUS,
        first_s=None if failed else at_s + first_s,
        last_s=None if failed else at_s + latency_s,
        gaps_s=() if failed else gaps_s,
        gap_events=() if failed else (1,) * len(gaps_s),
        events=0 if failed else 1 + len(gaps_s),
        prompt_tokens=int(inputs[place]) if place < len(inputs) else 0,
        completion_tokens=tokens,
        error=FAILED if failed else None,
        message=message,
    )


def _run(record: Record, samples: Sequence[Sample], place: int, name: str) -> Run:
    load = {key: record[key] for key in LOAD if record.get(key) is not None}
    rate = number(record, "request_rate")
    users = number(record, "max_concurrency")
    if rate is not None:
        load["rate"] = rate
    elif users is not None:
        load["users"] = users
    words = f"rate {rate:g}" if rate is not None else f"users {users:g}" if users is not None else "all at once"
    return Run(name=f"{words} ({place})" if place else words, load=load, summary=_summary(record, samples, name))


def _summary(record: Record, samples: Sequence[Sample], name: str) -> Summary:
    seconds = needed(record, "duration", name)
    if seconds <= 0:
        raise ValueError(f"{name}: 'duration' is {seconds:g}; nothing was measured.")
    completed, failed = int(needed(record, "completed", name)), int(number(record, "failed") or 0)
    figures = {ours: _figure(record, ours, word, samples, completed) for ours, word in WORDS.items()}
    return Summary(
        requests=completed + failed,
        seconds=seconds,
        warm_up_s=0.0,
        ttft_s=figures["ttft_s"],
        tpot_s=figures["tpot_s"],
        itl_s=figures["itl_s"],
        e2e_s=figures["e2e_s"],
        input_tokens_per_s=needed(record, "total_input_tokens", name) / seconds,
        output_tokens_per_s=number(record, "output_throughput") or 0.0,
        requests_per_s=needed(record, "request_throughput", name),
        goodput_per_s=number(record, "request_goodput"),
        errors=failed,
        errors_by_kind={FAILED: failed} if failed else {},
        mean_concurrency=sum(sample.ended_s - sample.sent_s for sample in samples) / seconds,
    )


def _figure(record: Record, ours: str, word: str, samples: Sequence[Sample], completed: int) -> Figure | None:
    """What vLLM states, and from the requests what it does not."""
    stated = {name: number(record, f"{key}_{word}_ms") for key, name in STATED.items()}
    seen = figure_of(_values(sample, ours) for sample in samples if sample.ok)
    if seen is None and (stated["mean"] is None or not completed):
        return None
    known: dict[str, Any] = {name: value / 1e3 for name, value in stated.items() if value is not None}
    if seen is not None:
        return msgspec.structs.replace(seen, **known)
    return Figure(count=completed, **{name: known.get(name, math.nan) for name in STATED.values()})


def _values(sample: Sample, name: str) -> tuple[float, ...]:
    if name == "itl_s":
        return sample.gaps_s
    value: float | None = getattr(sample, name)
    return () if value is None else (value,)


def _date(text: str) -> str:
    """`20261121-145900` as others write it."""
    day, _, clock = text.partition("-")
    if len(day) != len("20261121") or len(clock) != len("145900"):
        return text
    return f"{day[:4]}-{day[4:6]}-{day[6:]}T{clock[:2]}:{clock[2:4]}:{clock[4:]}"
