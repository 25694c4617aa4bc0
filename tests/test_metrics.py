"""The metrics page: read back with Prometheus' own parser, it adds up to the outcomes that went in."""

from __future__ import annotations

import collections
import dataclasses
import math
import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from engines.snapshot import EngineView, GpuState, GpuView
from router.metrics import Metrics
from router.outcome import Outcome
from router.quotas.room import Room
from router.routing.fleet import Fleet, InFlight
from router.spilling.budget import Allowance
from router.spilling.periods import Dollars
from router.tally import SECONDS
from tests.specimens import CLOUD, ENGINE, KEYLESS, LOCAL, busy, cloud, load, local, outcome, snapshot

NOBODY = Fleet(())
NOTHING = Dollars(0.0, 0.0, 0.0)
Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def page(*outcomes: Outcome, fleet: Fleet = NOBODY, spent: Dollars = NOTHING) -> Series:
    metrics = Metrics(lambda: fleet, lambda: spent)
    for each in outcomes:
        metrics.observe(each)
    return series_of(metrics.text())


def series_of(text: bytes) -> Series:
    samples = [sample for family in text_string_to_metric_families(text.decode()) for sample in family.samples]
    names = [(sample.name, frozenset(sample.labels.items())) for sample in samples]
    assert [name for name, count in collections.Counter(names).items() if count > 1] == []
    return {name: sample.value for name, sample in zip(names, samples, strict=True)}


def total(series: Series, name: str, **labels: str) -> float:
    return sum(value for (found, its), value in series.items() if found == name and labels.items() <= dict(its).items())


OUTCOMES = st.builds(
    outcome,
    target=st.sampled_from(["local/smoke", "cloud/nano", "none"]),
    tier=st.sampled_from(["bulk", "standard"]),
    reason=st.sampled_from(["tier", "spill:kv", 'fallback:a "quoted\\cause"\n']),
    status=st.sampled_from([200, 429, 502]),
    prompt_tokens=st.integers(0, 10**6),
    completion_tokens=st.integers(0, 10**6),
    usd=st.floats(0, 10),
    ttft_s=st.none() | st.floats(0, 200),
    e2e_s=st.floats(0, 200),
)


@given(st.lists(OUTCOMES, max_size=12))
def test_the_page_adds_up(outcomes: list[Outcome]) -> None:
    series = page(*outcomes)
    assert total(series, "spillway_requests_total") == len(outcomes)
    assert total(series, "spillway_request_seconds_count") == len(outcomes)
    assert total(series, "spillway_request_seconds_bucket", le="+Inf") == len(outcomes)
    assert total(series, "spillway_request_seconds_sum") == pytest.approx(sum(each.e2e_s for each in outcomes))
    assert total(series, "spillway_ttft_seconds_count") == sum(each.ttft_s is not None for each in outcomes)
    assert total(series, "spillway_usd_total") == pytest.approx(sum(each.usd for each in outcomes))
    for direction, tokens in (
        ("prompt", sum(each.prompt_tokens for each in outcomes)),
        ("completion", sum(each.completion_tokens for each in outcomes)),
    ):
        assert total(series, "spillway_tokens_total", direction=direction) == tokens
    for status in ("200", "429", "502"):
        expected = sum(str(each.status) == status for each in outcomes)
        assert total(series, "spillway_requests_total", status=status) == expected


def test_a_request_is_counted_by_target_tier_and_reason() -> None:
    series = page(outcome(target="cloud/nano", tier="premium", reason="spill:kv", usd=0.5, prompt_tokens=3))
    labels = {"target": "cloud/nano", "tier": "premium"}
    assert total(series, "spillway_requests_total", **labels, reason="spill:kv", status="200") == 1
    assert total(series, "spillway_usd_total", **labels) == 0.5
    assert total(series, "spillway_tokens_total", **labels, direction="prompt") == 3
    assert total(series, "spillway_ttft_seconds_bucket", **labels, le="0.1") == 1
    assert total(series, "spillway_ttft_seconds_bucket", **labels, le="0.05") == 0


def test_gauges_show_the_fleet_of_this_moment() -> None:
    engine = local(in_flight=InFlight(requests=2, promised_tokens=30), load=load(kv_used_fraction=0.5, waiting=4))
    limited = cloud(name="cloud/limited", room=Room(12.0, "requests_per_minute (30)", 0.25))
    series = page(fleet=Fleet((engine, KEYLESS, limited)), spent=Dollars(0.25, 1.25, 9.0))
    # Only of targets with limits, so the sum is that of one.
    assert total(series, "spillway_quota_left") == 0.25
    assert total(series, "spillway_target_ready", target="local/smoke") == 1
    assert total(series, "spillway_target_ready", target="cloud/nano") == 0
    assert total(series, "spillway_in_flight", target="local/smoke") == 2
    assert total(series, "spillway_in_flight_tokens", target="local/smoke") == 30
    assert total(series, "spillway_kv_used_fraction") == 0.5
    assert total(series, "spillway_engine_waiting") == 4
    assert total(series, "spillway_spent_usd", period="hour") == 0.25
    assert total(series, "spillway_spent_usd", period="day") == 1.25
    assert total(series, "spillway_spent_usd", period="month") == 9.0


def test_the_pace_of_money_is_shown_by_tier() -> None:
    found = Allowance({"bulk": 0.0, "premium": 0.75}, 1.5, {"bulk": 2.25, "premium": 1.0})
    series = series_of(Metrics(lambda: NOBODY, lambda: NOTHING, allowed=lambda: found).text())
    assert total(series, "spillway_budget_price_factor") == 1.5
    assert (found.usd_now, found.stretch) == tuple(
        {tier: total(series, name, tier=tier) for tier in ("bulk", "premium")}
        for name in ("spillway_tier_usd_now", "spillway_tier_stretch")
    )
    nothing = Metrics(lambda: NOBODY, lambda: NOTHING, allowed=lambda: Allowance({}, math.inf, {}))
    assert total(series_of(nothing.text()), "spillway_budget_price_factor") == math.inf


def test_an_engine_that_reports_nothing_has_no_gauge_of_its_own() -> None:
    series = page(fleet=Fleet((local(load=None), CLOUD)))
    assert not any(name == "spillway_kv_used_fraction" for name, _ in series)


def test_a_scrape_sees_what_happened_since_the_last_one() -> None:
    fleets = iter([Fleet((LOCAL,)), Fleet((busy(requests=1),))])
    metrics = Metrics(lambda: next(fleets), lambda: NOTHING)
    assert b'spillway_in_flight{target="local/smoke"} 0.0' in metrics.text()
    assert b'spillway_in_flight{target="local/smoke"} 1.0' in metrics.text()


def by_the_client_library(outcomes: Sequence[Outcome]) -> bytes:
    """The counters and histograms of the page, counted by the library that reads them."""
    registry = CollectorRegistry()
    why = ("target", "tier", "reason")
    requests = Counter("spillway_requests", "Requests answered", (*why, "status"), registry=registry)
    tokens = Counter("spillway_tokens", "Tokens, as targets counted them", (*why[:2], "direction"), registry=registry)
    usd = Counter("spillway_usd", "Dollars spent at clouds", why[:2], registry=registry)
    ttft = Histogram("spillway_ttft_seconds", "Time to first token", why, buckets=SECONDS, registry=registry)
    e2e = Histogram(
        "spillway_request_seconds", "Time from arrival to the last byte", why, buckets=SECONDS, registry=registry
    )
    for each in outcomes:
        values = (each.target, each.tier, each.reason)
        requests.labels(*values, str(each.status)).inc()
        tokens.labels(each.target, each.tier, "prompt").inc(each.prompt_tokens)
        tokens.labels(each.target, each.tier, "completion").inc(each.completion_tokens)
        usd.labels(each.target, each.tier).inc(each.usd)
        e2e.labels(*values).observe(each.e2e_s)
        if each.ttft_s is not None:
            ttft.labels(*values).observe(each.ttft_s)
    return generate_latest(registry)


def without_times(text: bytes) -> list[str]:
    """Lines, but for the moment at which each series began."""
    return [re.sub(r"(_created\{.*\}) .*", r"\1", line) for line in text.decode().splitlines()]


# On a bound and off it, in every bucket's order; sums of them are exact.
EXACT = [
    outcome(),
    outcome(ttft_s=None, status=502, error="broken"),
    outcome(tier="bulk", reason='a "quoted\\cause"\n', ttft_s=0.5, e2e_s=0.25),
    outcome(target="cloud/nano", usd=0.25, e2e_s=128.5, reason="spill:kv"),
    outcome(target="cloud/nano", usd=0.5, e2e_s=128.0, status=499, prompt_tokens=0),
]


def test_the_page_is_what_the_client_library_would_have_written() -> None:
    metrics = Metrics(lambda: NOBODY, lambda: NOTHING)
    for each in EXACT:
        metrics.observe(each)
    expected = without_times(by_the_client_library(EXACT))
    assert any("_created" in line for line in expected)
    assert without_times(metrics.text())[: len(expected)] == expected


@given(st.lists(OUTCOMES, max_size=12), st.integers(1, 4))
def test_workers_together_show_what_one_alone_would(outcomes: list[Outcome], count: int) -> None:
    workers = [Metrics(lambda: NOBODY, lambda: NOTHING) for _ in range(count)]
    for number, each in enumerate(outcomes):
        workers[number % count].observe(each)
    shown, *others = workers
    together = series_of(shown.text([other.export() for other in others]))
    alone = page(*outcomes)
    assert together.keys() == alone.keys()
    for name, value in alone.items():
        if not name[0].endswith("_created"):
            assert together[name] == pytest.approx(value)


def test_reading_the_page_changes_no_count() -> None:
    one, other = (Metrics(lambda: NOBODY, lambda: NOTHING) for _ in range(2))
    for metrics in (one, other):
        metrics.observe(outcome())
    first = one.text([other.export()])
    assert one.text([other.export()]) == first


@pytest.mark.parametrize("raw", [b"", b"[[1]]", b"\xff", Metrics(lambda: NOBODY, lambda: NOTHING).export() + b"]"])
def test_what_is_no_tally_is_said_to_be_none(raw: bytes) -> None:
    with pytest.raises(ValueError, match="tally of another worker"):
        Metrics(lambda: NOBODY, lambda: NOTHING).text([raw])


GPU = GpuView(
    uuid="GPU-1",
    name="H100",
    total_bytes=80,
    used_bytes=60,
    free_bytes=20,
    state=GpuState.SLOWED,
    temperature_c=91,
    power_w=350.5,
    age_s=1.0,
)


def shown(engine: EngineView, gpu: GpuView, age_s: float) -> Series:
    heard = dataclasses.replace(snapshot(engine), gpus=(gpu,), refused="no room")
    return series_of(Metrics(lambda: NOBODY, lambda: NOTHING, 1, lambda: (heard, age_s)).text())


def test_engines_and_gpus_are_shown_with_the_age_of_each_figure() -> None:
    engine = dataclasses.replace(ENGINE, restarts=3, memory_bytes=7, memory_age_s=2.0, weight=0.5)
    series = shown(engine, GPU, 0.5)
    assert total(series, "spillway_engine_state", engine="smoke", state="ready") == 1
    assert total(series, "spillway_engine_state", engine="smoke") == 1
    assert total(series, "spillway_engine_restarts_total", engine="smoke") == 3
    assert total(series, "spillway_engine_memory_bytes", engine="smoke") == 7
    assert total(series, "spillway_engine_memory_age_seconds", engine="smoke") == 2.5
    assert total(series, "spillway_engine_load_age_seconds", engine="smoke") == pytest.approx(0.6)
    assert total(series, "spillway_engine_weight", engine="smoke") == 0.5
    assert total(series, "spillway_gpu_state", gpu="GPU-1", state="slowed") == 1
    assert total(series, "spillway_gpu_memory_used_bytes", gpu="GPU-1") == 60
    assert total(series, "spillway_gpu_memory_total_bytes", gpu="GPU-1") == 80
    assert total(series, "spillway_gpu_temperature_celsius", gpu="GPU-1") == 91
    assert total(series, "spillway_gpu_power_watts", gpu="GPU-1") == 350.5
    assert total(series, "spillway_gpu_age_seconds", gpu="GPU-1") == 1.5
    assert total(series, "spillway_snapshot_age_seconds") == 0.5
    assert total(series, "spillway_change_refused") == 1


def test_what_nobody_knows_is_not_shown_as_zero() -> None:
    unknown = dataclasses.replace(GPU, temperature_c=None, power_w=None)
    names = {name for name, _ in shown(dataclasses.replace(ENGINE, load=None), unknown, 0.0)}
    assert "spillway_gpu_age_seconds" in names
    assert names.isdisjoint(
        {
            "spillway_gpu_temperature_celsius",
            "spillway_gpu_power_watts",
            "spillway_gpu_memory_foreign_bytes",
            "spillway_engine_memory_bytes",
            "spillway_engine_load_age_seconds",
        }
    )
