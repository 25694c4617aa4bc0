"""All figures of one load, in one place, with their formulas. Pure: samples in, a Summary out.

The definitions are those of vLLM's `benchmarks/serve.py` (`calculate_metrics`, 0.32), so that figures can be laid
beside `vllm bench serve`; where they go further it is said. NVIDIA's GenAI-Perf means the same by TTFT, end-to-end
latency and throughput, and calls our TPOT "inter token latency"; MLPerf Inference (server scenario) means the same by
TTFT and TPOT.

Latency counts from the moment at which a request was due: vLLM counts from sending, which is the same for a generator
in time and hides a late one (coordinated omission). Of complete answers, due in the window:

- `ttft_s`: first event with content - due. `e2e_s`: last event with content (end of a whole answer) - due.
- `tpot_s`: (e2e - TTFT) / (output tokens - 1), of answers with at least two tokens.
- `itl_s`: time between an event with content and the next, one value per event after the first. Events read together
  count as the reader has them: the first after the gap, the others after 0. vLLM's generator takes the time of each
  event as it comes to it, which is the same; dividing a gap among its events would show a smoothness nobody saw.
- `queue_s`: as the engine tells it (its histogram's difference over the run); bounds of its buckets bound its accuracy.
- `lag_s`: sent - due, the generator's own lateness; of all requests.

Rates are sums over complete answers by the seconds of the window (vLLM: by the duration of the run, until the last
answer; a run that is counted whole has that window):

- `requests_per_s`: answers that ended in it. `goodput_per_s`: those of them that met the promise (`Promise.met_by`).
- `output_tokens_per_s`: the engine's own count; tokens of an answer that overlaps an edge are spread evenly from its
  first to its last event. `input_tokens_per_s`: prompts whose first content (whole answer: end) came in it.
- `mean_concurrency`: time in flight in the window / its seconds (Little's law), failures included.

Counts (`requests`, `errors`, `targets`, `reasons`, `tiers`, `token_mismatches`, `spill_share`) are of the whole run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from benchmarks.drive.sample import Sample
from benchmarks.figures.distribution import figure_of
from benchmarks.figures.interval import Numbers
from benchmarks.figures.promise import Promise, itl_s
from benchmarks.figures.window import Window
from benchmarks.report.document import Figure, Summary

CLOUD = "cloud/"


def summarised(
    samples: Sequence[Sample],
    *,
    seconds: float,
    promise: Promise | None = None,
    window: Window | None = None,
    queue: Figure | None = None,
) -> Summary:
    """The figures of a run that took `seconds` from its start until its last answer, counted whole without a window.

    Raises ValueError with a sentence where no request has ended: a table of zeros is no measurement.
    """
    if not samples or seconds <= 0:
        raise ValueError("no request has ended, so there is nothing to report: let it run for longer, or ask for less.")
    window = window or Window(0.0, seconds)
    samples = sorted(samples, key=lambda sample: (sample.scheduled_s, sample.number))
    complete = [sample for sample in samples if sample.ok]
    due = [sample for sample in complete if window.holds(sample.scheduled_s)]
    ended = [sample for sample in complete if window.holds(sample.ended_s)]
    failed = [sample for sample in samples if not sample.ok]
    targets = _counted(samples, lambda sample: sample.target)
    return Summary(
        requests=len(samples),
        seconds=window.seconds,
        warm_up_s=window.begin_s,
        ttft_s=figure_of(_one(sample.ttft_s) for sample in due),
        tpot_s=figure_of(_one(sample.tpot_s) for sample in due),
        itl_s=figure_of(itl_s(sample) for sample in due),
        e2e_s=figure_of((sample.e2e_s,) for sample in due),
        queue_s=queue,
        lag_s=figure_of((sample.lag_s,) for sample in samples),
        input_tokens_per_s=_input_tokens(complete, window) / window.seconds,
        output_tokens_per_s=_output_tokens(complete, window) / window.seconds,
        requests_per_s=len(ended) / window.seconds,
        goodput_per_s=sum(map(promise.met_by, ended)) / window.seconds if promise else None,
        errors=len(failed),
        errors_by_kind=_counted(failed, lambda sample: sample.error or ""),
        mean_concurrency=_in_flight_s(samples, window) / window.seconds,
        targets=targets,
        reasons=_counted(samples, lambda sample: sample.reason),
        tiers=_counted(samples, lambda sample: sample.tier),
        spill_share=_spill_share(targets),
        token_mismatches=sum(map(_mismatches, complete)),
        promise=str(promise) if promise else "",
        promise_broken=promise.broken(due + failed) if promise else (),
    )


def why_barren(samples: Sequence[Sample]) -> str | None:
    """Why a run measured nothing, in a sentence: no answer is complete. None where one is."""
    if any(sample.ok for sample in samples):
        return None
    if not samples:
        return "no request has ended: let it run for longer, or ask for less."
    kinds = ", ".join(f"{count} {kind}" for kind, count in _counted(samples, lambda sample: sample.error or "").items())
    said = next((f"; the first says: {sample.message}" for sample in samples if sample.message), "")
    return f"none of {len(samples)} requests got a complete answer ({kinds}){said}"


def tokens_of(sample: Sample) -> int:
    """Output tokens: the engine's own count, else the events with content."""
    return sample.completion_tokens or sample.events


def _one(value: float | None) -> tuple[float, ...]:
    return () if value is None else (value,)


def _counted(samples: Iterable[Sample], of: Callable[[Sample], str]) -> Mapping[str, int]:
    """How many samples say what, the most frequent first; those that say nothing are left out."""
    return dict(Counter(said for sample in samples if (said := of(sample))).most_common())


def _spill_share(targets: Mapping[str, int]) -> float | None:
    """The share of requests that went to a cloud, of those whose target is known; None where none is."""
    known = sum(targets.values())
    return sum(count for target, count in targets.items() if target.startswith(CLOUD)) / known if known else None


def _input_tokens(complete: Sequence[Sample], window: Window) -> int:
    begun = (s for s in complete if window.holds(s.ended_s if s.first_s is None else s.first_s))
    return sum(sample.prompt_tokens or sample.expected_prompt_tokens or 0 for sample in begun)


def _output_tokens(complete: Sequence[Sample], window: Window) -> float:
    """What came at one moment is in the window or not; what came over a time is in it with its share of that time."""
    first = _column(sample.ended_s if sample.first_s is None else sample.first_s for sample in complete)
    last = _column(sample.ended_s if sample.last_s is None else sample.last_s for sample in complete)
    tokens = _column(tokens_of(sample) for sample in complete)
    overlap = _overlap(first, last, window)
    at_once = (last <= first) & (first >= window.begin_s) & (first <= window.end_s)
    shares = np.where(last > first, overlap / np.where(last > first, last - first, 1.0), at_once)
    return float(tokens @ shares)


def _in_flight_s(samples: Sequence[Sample], window: Window) -> float:
    begun, ended = _column(sample.sent_s for sample in samples), _column(sample.ended_s for sample in samples)
    return float(_overlap(begun, ended, window).sum())


def _overlap(begun: Numbers, ended: Numbers, window: Window) -> Numbers:
    shared: Numbers = np.minimum(ended, window.end_s) - np.maximum(begun, window.begin_s)
    return np.maximum(shared, 0.0)


def _column(values: Iterable[float]) -> Numbers:
    return np.fromiter(values, np.float64)


def _mismatches(sample: Sample) -> bool:
    """Whether the counts of tokens of one answer disagree: usage is missing, is not what was asked, or is fewer than
    the events. Fewer events than tokens are normal: tokens come bundled, and special ones have no text."""
    expected, prompt = sample.expected_output_tokens, sample.expected_prompt_tokens
    return (
        sample.events > sample.completion_tokens
        or (expected is not None and sample.completion_tokens != expected)
        or (prompt is not None and sample.prompt_tokens != prompt)
    )
