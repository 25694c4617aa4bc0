"""Pages of engines and routers are read for what a run needs; waits are told no surer than a histogram knows them."""

import math

import pytest

from benchmarks.batch import Limits
from benchmarks.exposition import Gauges, Totals, exposition
from benchmarks.figures.growth import Growth
from benchmarks.figures.pages import engine_page, router_page
from benchmarks.figures.queue import queue_figure

LABELS = 'engine="0",model_name="a {curly} name"'
WAITED = {0.3: 90, 0.5: 95, 0.8: 100, 1.0: 100, math.inf: 100}


def core(number: int, waiting: int, kv_used: float) -> str:
    labels = LABELS.replace('"0"', f'"{number}"')
    return f"""# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{{{labels}}} 3.0
vllm:num_requests_waiting{{{labels}}} {waiting}.0
vllm:num_requests_waiting_by_reason{{{labels},reason="capacity"}} 7.0
vllm:kv_cache_usage_perc{{{labels}}} {kv_used}
vllm:prompt_tokens_total{{{labels}}} 1000.0
vllm:prompt_tokens_by_source_total{{{labels},source="local_compute"}} 5.0
vllm:generation_tokens_total{{{labels}}} 1.0e+06
vllm:request_queue_time_seconds_bucket{{{labels},le="0.3"}} 9.0
vllm:request_queue_time_seconds_bucket{{{labels},le="+Inf"}} 10.0
vllm:request_queue_time_seconds_count{{{labels}}} 10.0
vllm:request_queue_time_seconds_sum{{{labels}}} 1.25
"""


def test_an_engine_of_two_cores_is_added_up_and_the_fullest_gives_the_kv_use() -> None:
    page = engine_page((core(0, 2, 0.25) + core(1, 4, 0.75)).encode())
    assert page is not None
    assert (page.running, page.waiting, page.kv_used) == (6, 6, 0.75)
    assert (page.prompt_tokens, page.generation_tokens) == (2000, 2_000_000)
    assert page.queue_s == 2.5
    assert dict(page.queue_buckets) == {0.3: 18, math.inf: 20}


def test_the_fake_engine_is_read_as_vllm_is() -> None:
    limits = Limits(kv_tokens=1024, context_tokens=512)
    text = exposition("tiny", limits, Gauges(5, 1, 0.5), Totals(11, 22, 0, 3, 33, {"stop": 4}))
    page = engine_page(text.encode())
    assert page is not None
    assert (page.running, page.waiting, page.kv_used) == (5, 1, 0.5)
    assert (page.prompt_tokens, page.generation_tokens) == (11, 22)


def test_pages_of_other_servers_are_none() -> None:
    assert engine_page(b"") is None
    assert engine_page(b"process_cpu_seconds_total 3.0\n") is None
    assert router_page(core(0, 1, 0.5).encode()) is None
    assert engine_page(b"spillway_workers 1.0\n") is None


def test_a_router_tells_what_all_its_clouds_cost_and_how_its_engines_are() -> None:
    page = router_page(b"""# TYPE spillway_usd counter
spillway_usd_total{target="cloud/a",tier="bulk"} 0.25
spillway_usd_total{target="cloud/b",tier="premium"} 0.5
spillway_usd_created{target="cloud/b",tier="premium"} 1.7e+09
spillway_kv_used_fraction{target="local/a"} 0.4
spillway_kv_used_fraction{target="local/b"} 0.6
spillway_engine_waiting{target="local/a"} 2.0
spillway_engine_waiting{target="local/b"} 3.0
spillway_workers 2.0
""")
    assert page is not None
    assert page.cloud_usd == pytest.approx(0.75)
    assert (page.kv_used, page.waiting) == (0.6, 5)


def test_a_router_without_engines_and_costs_is_one_too() -> None:
    page = router_page(b"spillway_workers 1.0\n")
    assert page is not None
    assert (page.cloud_usd, page.kv_used, page.waiting) == (0.0, None, None)


def test_the_mean_wait_is_exact_and_quantiles_are_in_their_buckets() -> None:
    figure = queue_figure(20.0, WAITED)
    assert figure is not None
    assert (figure.count, figure.mean) == (100, 0.2)
    assert figure.p50 == pytest.approx(0.3 * 50 / 90)
    assert figure.p95 == pytest.approx(0.5)
    assert 0.5 < figure.p99 <= 0.8
    assert (figure.low["p99"], figure.high["p99"]) == (0.5, 0.8)


def test_waits_far_below_the_first_bucket_are_not_taken_for_half_of_it() -> None:
    """By the bucket alone the median of requests that never waited would be 0.15 s."""
    figure = queue_figure(0.001, {0.3: 100, 0.5: 100, math.inf: 100})
    assert figure is not None
    assert figure.mean == pytest.approx(1e-5)
    assert figure.p50 <= 2.1e-5
    assert figure.p99 <= 1.1e-3
    assert figure.low["p99"] == 0.0


def test_waits_beyond_the_last_bucket_are_bounded_by_the_mean() -> None:
    figure = queue_figure(300.0, {0.3: 0, math.inf: 100})
    assert figure is not None
    assert figure.low["p50"] == 0.3
    assert figure.p50 == figure.high["p50"] == pytest.approx(6.0)


def test_nobody_counted_is_no_figure() -> None:
    assert queue_figure(0.0, {}) is None
    assert queue_figure(0.0, {0.3: 0, math.inf: 0}) is None


def test_counters_grow_from_the_first_look_and_through_restarts() -> None:
    growth: Growth[str] = Growth()
    assert growth.sums == {}
    for count in (100, 130, 20, 25):
        growth.add("a", {"tokens": count})
    growth.add("b", {"tokens": 7})
    assert growth.sums == {"tokens": 30 + 20 + 5}
    growth.add("b", {"tokens": 8})
    assert growth.sums == {"tokens": 56}


def test_a_counter_that_appears_later_began_at_zero() -> None:
    growth: Growth[float] = Growth()
    growth.add("a", {0.3: 2})
    growth.add("a", {0.3: 2, 0.5: 4})
    assert growth.sums == {0.3: 0, 0.5: 4}
