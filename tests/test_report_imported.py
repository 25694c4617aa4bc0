"""Results of other tools: their own numbers come through, and what they do not state is not made up."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from benchmarks.report.compare import Finding, compared
from benchmarks.report.document import Document, Figure
from benchmarks.report.files import load, save
from benchmarks.report.page import page
from benchmarks.report.table import tables_of
from benchmarks.report.verdict import verdict_of
from tests.measured import load_document


def vllm_result(detailed: bool = True, **more: Any) -> dict[str, Any]:
    """As `vllm bench serve --save-result` writes it: sixty requests, one of them failed."""
    count = 60
    gaps = [[0.01 + 0.0001 * (place % 7)] * 23 for place in range(count)]
    firsts = [0.05 + 0.001 * (place % 10) for place in range(count)]
    details: dict[str, Any] = {
        "input_lens": [32] * count,
        "output_lens": [24] * (count - 1) + [0],
        "ttfts": firsts,
        "itls": gaps,
        "start_times": [1000.0 + place / 12 for place in range(count)],
        "generated_texts": ["x"] * count,
        "errors": [""] * (count - 1) + ["Service Unavailable"],
    }
    return {
        "date": "20261121-145900",
        "backend": "openai",
        "model_id": "tiny",
        "num_prompts": count,
        "request_rate": 12.0,
        "burstiness": 1.0,
        "max_concurrency": None,
        "duration": 5.0,
        "completed": 59,
        "failed": 1,
        "total_input_tokens": 59 * 32,
        "total_output_tokens": 59 * 24,
        "request_throughput": 11.8,
        "request_goodput": None,
        "output_throughput": 283.2,
        "latencies": [first + sum(gap) for first, gap in zip(firsts, gaps, strict=True)],
        **(details if detailed else {}),
        **{f"{name}_{word}_ms": value for word, value in VLLM_MS.items() for name in ("mean", "median", "p99")},
        **more,
    }


VLLM_MS = {"ttft": 54.5, "tpot": 10.3, "itl": 10.4, "e2el": 291.0}


def guidellm_report(*, requests: bool = True) -> dict[str, Any]:
    """As guidellm 0.8 writes it: one benchmark with a constant rate."""
    return {
        "metadata": {"version": 2, "guidellm_version": "0.8.1", "platform": "Linux"},
        "config": {},
        "benchmarks": [
            {
                "type_": "generative_benchmark",
                "start_time": 1000.0,
                "duration": 10.0,
                "config": {"strategy": {"type_": "constant", "rate": 4.0}, "backend": {"model": "tiny"}},
                "metrics": {
                    "request_totals": {"successful": 40, "errored": 2, "incomplete": 3, "total": 45},
                    "requests_per_second": {"successful": {"mean": 4.0}},
                    "request_concurrency": {"successful": {"mean": 1.2}},
                    "prompt_tokens_per_second": {"successful": {"mean": 128.0}},
                    "output_tokens_per_second": {"successful": {"mean": 96.0}},
                    "time_to_first_token_ms": {"successful": distribution(50.0)},
                    "inter_token_latency_ms": {"successful": distribution(10.0)},
                    "time_per_output_token_ms": {"successful": distribution(12.0)},
                    "request_latency": {"successful": distribution(0.29)},
                    "request_goodput": None,
                },
                "requests": {"successful": [guidellm_request(place) for place in range(40)] if requests else []},
            }
        ],
    }


def distribution(value: float) -> dict[str, Any]:
    percentiles = {"p50": value, "p90": value * 1.2, "p95": value * 1.3, "p99": value * 1.5}
    return {
        "mean": value * 1.01,
        "count": 40,
        "percentiles": percentiles,
        "mean_ci": {"lower": value * 0.95, "upper": value * 1.05},
        "percentile_cis": {"p50": {"lower": value * 0.9, "upper": value * 1.1}, "p99": None},
    }


def guidellm_request(place: int) -> dict[str, Any]:
    begin = 1000.0 + place / 4
    timings = {
        "targeted_start": begin - 0.3,
        "request_start": begin,
        "first_token_iteration": begin + 0.05,
        "last_token_iteration": begin + 0.28,
        "request_end": begin + 0.281,
        "token_iterations": 24,
    }
    return {
        "request_id": f"r{place}",
        "info": {"timings": timings, "error": None},
        "prompt_tokens": 32,
        "output_tokens": 24,
    }


def imported(folder: Path, *bodies: dict[str, Any]) -> tuple[Document, dict[str, Any]]:
    (folder / "other.json").write_text("\n".join(json.dumps(body) for body in bodies))
    document, samples = load(folder / "other.json")
    return document, dict(samples)


def figure(document: Document, name: str) -> Figure:
    found = getattr(document.runs[0].summary, name)
    assert isinstance(found, Figure)
    return found


@pytest.mark.parametrize("detailed", [True, False])
def test_vllm_s_own_numbers_come_through(tmp_path: Path, detailed: bool) -> None:
    document, _ = imported(tmp_path, vllm_result(detailed))
    summary = document.runs[0].summary
    for name, word in (("ttft_s", "ttft"), ("tpot_s", "tpot"), ("itl_s", "itl"), ("e2e_s", "e2el")):
        found = figure(document, name)
        assert [found.mean, found.p50, found.p99] == pytest.approx([VLLM_MS[word] / 1e3] * 3)
    assert (summary.requests, summary.errors, summary.seconds) == (60, 1, 5.0)
    assert (summary.output_tokens_per_s, summary.requests_per_s) == (283.2, 11.8)
    assert summary.input_tokens_per_s == pytest.approx(59 * 32 / 5)


def test_what_vllm_was_not_asked_to_keep_is_a_dash_and_survives_saving(tmp_path: Path) -> None:
    document, _ = imported(tmp_path, vllm_result(detailed=False))
    assert math.isnan(figure(document, "ttft_s").p95)
    save(document, {}, json=tmp_path / "ours.json")
    again, _ = load(tmp_path / "ours.json")
    assert math.isnan(figure(again, "ttft_s").p95)
    assert figure(again, "ttft_s").p99 == figure(document, "ttft_s").p99
    assert "within -" in " ".join(verdict_of(again))


def test_vllm_s_requests_come_along_where_it_kept_them(tmp_path: Path) -> None:
    document, samples = imported(tmp_path, vllm_result())
    rows = samples[document.runs[0].name]
    assert len(rows) == 60
    assert [row.error for row in rows if row.error] == ["unknown"]
    assert rows[1].scheduled_s == pytest.approx(1 / 12)
    assert rows[1].ttft_s == pytest.approx(0.051)
    assert rows[1].tpot_s == pytest.approx(0.0101)
    assert figure(document, "ttft_s").p95 == pytest.approx(0.059)
    assert "p95" in figure(document, "ttft_s").low


def test_results_that_vllm_appended_are_runs_of_their_own(tmp_path: Path) -> None:
    document, samples = imported(tmp_path, vllm_result(), vllm_result(), vllm_result(request_rate="inf"))
    assert [run.name for run in document.runs] == ["rate 12 (1)", "rate 12 (2)", "all at once (3)"]
    assert len(samples) == 3


def test_numbers_that_are_none_in_json_are_read(tmp_path: Path) -> None:
    (tmp_path / "nan.json").write_text(json.dumps(vllm_result(detailed=False, mean_ttft_ms=float("nan"))))
    assert "NaN" in (tmp_path / "nan.json").read_text()
    document, _ = load(tmp_path / "nan.json")
    assert document.runs[0].summary.ttft_s is None


@pytest.mark.parametrize(
    ("change", "said"), [({"duration": 0}, "nothing was measured"), ({"completed": "x"}, "'completed'")]
)
def test_a_broken_result_is_named(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=rf"other\.json.*{said}"):
        imported(tmp_path, vllm_result(**change))


def test_guidellm_s_numbers_come_through_under_our_names(tmp_path: Path) -> None:
    document, _ = imported(tmp_path, guidellm_report())
    summary = document.runs[0].summary
    assert document.runs[0].name == "constant 4"
    assert [figure(document, "ttft_s").p95, figure(document, "e2e_s").p50] == pytest.approx([0.065, 0.29])
    # Its inter-token latency is our time per output token; its time per output token is another thing.
    assert figure(document, "tpot_s").p50 == pytest.approx(0.010)
    assert summary.itl_s is None
    assert (summary.requests, summary.errors, summary.output_tokens_per_s) == (42, 2, 96.0)
    assert figure(document, "ttft_s").low == pytest.approx({"mean": 0.0475, "p50": 0.045})


def test_guidellm_s_requests_come_along(tmp_path: Path) -> None:
    document, samples = imported(tmp_path, guidellm_report())
    rows = samples[document.runs[0].name]
    assert len(rows) == 40
    assert rows[4].scheduled_s == pytest.approx(1.0)
    assert rows[4].ttft_s == pytest.approx(0.05)
    assert rows[4].tpot_s == pytest.approx(0.01)


@pytest.mark.parametrize("body", [vllm_result(), vllm_result(detailed=False), guidellm_report(requests=False)])
def test_all_of_it_can_be_shown(tmp_path: Path, body: dict[str, Any]) -> None:
    document, samples = imported(tmp_path, body)
    assert len(tables_of(document)) == 2
    assert "measured by" in page(document, samples)


def test_other_tools_can_be_compared_with_us(tmp_path: Path) -> None:
    ours, ours_samples = load_document(rate=3.0)
    theirs, samples = imported(tmp_path, vllm_result())
    comparison = compared(ours, theirs, ours_samples, samples)
    assert {each.name for each in comparison.changes} >= {"ttft_s", "tpot_s", "e2e_s", "output_tokens_per_s"}
    assert any(each.finding is not Finding.UNKNOWN for each in comparison.changes)
    assert any(each.startswith("measured by") for each in comparison.reservations)
