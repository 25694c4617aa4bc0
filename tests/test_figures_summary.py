"""Every figure of a run against numbers worked out by hand, and against vLLM's formulas written down independently."""

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from benchmarks.drive.sample import Sample
from benchmarks.figures.promise import promise_in
from benchmarks.figures.summary import summarised, why_barren
from benchmarks.figures.window import Window
from benchmarks.report.document import Figure


def answer(number: int, due_s: float, ttft_s: float = 0.5, gaps_s: tuple[float, ...] = (0.1, 0.3)) -> Sample:
    """A streamed answer with one token an event, due and sent at the same moment."""
    first_s = due_s + ttft_s
    last_s = first_s + sum(gaps_s)
    tokens = 1 + len(gaps_s)
    return Sample(
        number, due_s, due_s, last_s + 0.01, 200, first_s, last_s, gaps_s, (1,) * len(gaps_s), tokens, 10, tokens
    )


def failed(number: int, due_s: float, error: str, message: str = "") -> Sample:
    return Sample(number, due_s, due_s, due_s + 1.0, 0, error=error, message=message)


def means(figure: Figure | None) -> float:
    assert figure is not None
    return figure.mean


def test_two_answers_by_hand() -> None:
    samples = [answer(0, 0.0), answer(1, 1.0, ttft_s=0.7, gaps_s=(0.2, 0.2, 0.2))]
    summary = summarised(samples, seconds=4.0, promise=promise_in("ttft_s=0.6"))
    assert (summary.requests, summary.errors, summary.seconds, summary.warm_up_s) == (2, 0, 4.0, 0.0)
    assert means(summary.ttft_s) == pytest.approx(0.6)
    assert means(summary.tpot_s) == pytest.approx(0.2)
    assert means(summary.itl_s) == pytest.approx(1.0 / 5)
    assert means(summary.e2e_s) == pytest.approx((0.9 + 1.3) / 2)
    assert summary.requests_per_s == pytest.approx(0.5)
    assert summary.goodput_per_s == pytest.approx(0.25)
    assert summary.output_tokens_per_s == pytest.approx(7 / 4)
    assert summary.input_tokens_per_s == pytest.approx(20 / 4)
    assert summary.mean_concurrency == pytest.approx((0.91 + 1.31) / 4)
    assert summary.promise_broken == ["p95 ttft_s is 0.69, promised 0.6"]


def test_the_figures_are_those_of_vllm_bench_serve() -> None:
    """Its formulas over (success, latency, ttft, itl, output tokens), of a run that is counted whole."""
    draw = random.Random(1)
    samples = []
    for number in range(400):
        gaps_s = tuple(draw.expovariate(20) for _ in range(draw.randrange(0, 40)))
        samples.append(answer(number, number * 0.05, draw.expovariate(2), gaps_s))
    summary = summarised(samples, seconds=33.0)
    ttfts = [s.first_s - s.sent_s for s in samples if s.first_s is not None]
    latencies = [s.last_s - s.sent_s for s in samples if s.last_s is not None]
    pairs = zip(latencies, ttfts, samples, strict=True)
    tpots = [(e2e - ttft) / (s.completion_tokens - 1) for e2e, ttft, s in pairs if s.completion_tokens > 1]
    itls = [gap for s in samples for gap in s.gaps_s]
    for figure, theirs in ((summary.ttft_s, ttfts), (summary.tpot_s, tpots), (summary.itl_s, itls)):
        assert figure is not None
        assert figure.mean == pytest.approx(np.mean(theirs))
        assert figure.p99 == pytest.approx(np.percentile(theirs, 99))
    assert means(summary.e2e_s) == pytest.approx(np.mean(latencies))
    assert summary.output_tokens_per_s == pytest.approx(sum(s.completion_tokens for s in samples) / 33.0)
    assert summary.requests_per_s == pytest.approx(400 / 33.0)


def test_latency_counts_from_the_moment_a_request_was_due() -> None:
    late = replace(answer(0, 1.0), scheduled_s=0.0)
    summary = summarised([late], seconds=2.0)
    assert means(summary.ttft_s) == pytest.approx(1.5)
    assert means(summary.lag_s) == pytest.approx(1.0)


def test_a_window_takes_latency_by_when_it_was_due_and_rates_by_when_it_was_delivered() -> None:
    before, across, after = answer(0, 1.0, ttft_s=9.0), answer(1, 12.0), answer(2, 21.0)
    summary = summarised([after, across, before], seconds=30.0, window=Window(10.0, 20.0))
    assert (summary.requests, summary.seconds, summary.warm_up_s) == (3, 10.0, 10.0)
    assert summary.ttft_s is not None
    assert summary.ttft_s.count == 1
    assert summary.ttft_s.mean == pytest.approx(0.5)
    assert summary.requests_per_s == pytest.approx(2 / 10), "the slow one ended in the window too"
    assert summary.output_tokens_per_s == pytest.approx(6 / 10)
    assert summary.input_tokens_per_s == pytest.approx(20 / 10)


def test_tokens_of_an_answer_across_an_edge_are_shared_out() -> None:
    long = answer(0, 0.0, ttft_s=5.0, gaps_s=(1.0,) * 10)
    rates = [summarised([long], seconds=15.0, window=w).output_tokens_per_s for w in (Window(0, 10), Window(10, 15))]
    assert rates[0] * 10 + rates[1] * 5 == pytest.approx(11)
    assert rates[0] * 10 == pytest.approx(5.5)


def test_whole_answers_have_an_end_and_no_first_token() -> None:
    whole = Sample(0, 0.0, 0.0, 2.0, 200, prompt_tokens=10, completion_tokens=20)
    summary = summarised([whole], seconds=4.0)
    assert (summary.ttft_s, summary.tpot_s, summary.itl_s) == (None, None, None)
    assert means(summary.e2e_s) == 2.0
    assert summary.output_tokens_per_s == 5.0
    assert summary.token_mismatches == 0


def test_events_read_together_leave_the_mean_of_the_gaps_alone() -> None:
    together = Sample(0, 0.0, 0.0, 1.3, 200, 0.5, 1.3, (0.8,), (4,), 5, 10, 5)
    summary = summarised([together], seconds=2.0)
    assert summary.itl_s is not None
    assert (summary.itl_s.count, summary.itl_s.p50) == (4, 0.0)
    assert summary.itl_s.mean == pytest.approx(0.2)


def test_failures_count_from_first_to_last_and_give_no_figures() -> None:
    samples = [failed(0, 0.0, "timeout"), answer(1, 12.0), failed(2, 13.0, "cut"), failed(3, 14.0, "cut")]
    summary = summarised(samples, seconds=20.0, window=Window(10.0, 20.0), promise=promise_in("ttft_s=9"))
    assert (summary.errors, dict(summary.errors_by_kind)) == (3, {"cut": 2, "timeout": 1})
    assert next(iter(summary.errors_by_kind)) == "cut"
    assert means(summary.ttft_s) == pytest.approx(0.5)
    assert summary.promise_broken == ["3 of 4 requests failed"]
    assert summary.requests_per_s == pytest.approx(0.1)


def test_where_requests_went_and_why_is_counted() -> None:
    routes = [("local/a", "tier"), ("local/a", "tier"), ("cloud/x", "spill:kv"), ("", "")]
    samples = [
        replace(answer(number, 0.0), target=target, reason=reason, tier="bulk")
        for number, (target, reason) in enumerate(routes)
    ]
    summary = summarised(samples, seconds=1.0)
    assert dict(summary.targets) == {"local/a": 2, "cloud/x": 1}
    assert dict(summary.reasons) == {"tier": 2, "spill:kv": 1}
    assert dict(summary.tiers) == {"bulk": 4}
    assert summary.spill_share == pytest.approx(1 / 3)
    assert summarised([answer(0, 0.0)], seconds=1.0).spill_share is None


@pytest.mark.parametrize(
    ("changes", "mismatches"),
    [
        ({}, 0),
        ({"completion_tokens": 5}, 0),
        ({"completion_tokens": 2}, 1),
        ({"completion_tokens": 0}, 1),
        ({"expected_output_tokens": 3, "expected_prompt_tokens": 10}, 0),
        ({"expected_output_tokens": 4}, 1),
        ({"expected_prompt_tokens": 11}, 1),
        ({"error": "cut", "completion_tokens": 0}, 0),
    ],
)
def test_token_counts_that_disagree_are_told(changes: dict[str, Any], mismatches: int) -> None:
    sample = replace(answer(0, 0.0), **changes)
    assert summarised([sample], seconds=2.0).token_mismatches == mismatches


def test_a_run_without_requests_is_a_sentence_and_no_table_of_zeros() -> None:
    with pytest.raises(ValueError, match="no request has ended"):
        summarised([], seconds=5.0)
    assert "no request has ended" in str(why_barren([]))


def test_a_run_without_one_complete_answer_says_why() -> None:
    samples = [failed(0, 0.0, "status_5xx"), failed(1, 0.0, "connection", "Connection refused"), failed(2, 0.0, "cut")]
    said = why_barren([*samples, failed(3, 0.0, "connection")])
    assert said is not None
    assert "none of 4 requests" in said
    assert "2 connection, 1 status_5xx" in said
    assert "Connection refused" in said
    assert why_barren([*samples, answer(4, 0.0)]) is None
