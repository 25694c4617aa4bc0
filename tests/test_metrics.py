"""The metrics page: read back with Prometheus' own parser, it adds up to the outcomes that went in."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from router.fleet import Fleet, InFlight
from router.ledger import Outcome
from router.metrics import Metrics
from tests.specimens import CLOUD, KEYLESS, LOCAL, busy, load, local, outcome

NOBODY = Fleet(())
Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def page(*outcomes: Outcome, fleet: Fleet = NOBODY, spent_usd: float = 0.0) -> Series:
    metrics = Metrics(lambda: fleet, lambda: spent_usd)
    for each in outcomes:
        metrics.observe(each)
    samples = [
        sample for family in text_string_to_metric_families(metrics.text().decode()) for sample in family.samples
    ]
    names = [(sample.name, frozenset(sample.labels.items())) for sample in samples]
    assert [name for name, count in Counter(names).items() if count > 1] == []
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
    engine = local(in_flight=InFlight(requests=2, promised_tokens=30.0), load=load(kv_used_fraction=0.5, waiting=4))
    series = page(fleet=Fleet((engine, KEYLESS)), spent_usd=1.25)
    assert total(series, "spillway_target_ready", target="local/smoke") == 1
    assert total(series, "spillway_target_ready", target="cloud/nano") == 0
    assert total(series, "spillway_in_flight", target="local/smoke") == 2
    assert total(series, "spillway_in_flight_tokens", target="local/smoke") == 30
    assert total(series, "spillway_kv_used_fraction") == 0.5
    assert total(series, "spillway_engine_waiting") == 4
    assert total(series, "spillway_spent_today_usd") == 1.25


def test_an_engine_that_reports_nothing_has_no_gauge_of_its_own() -> None:
    series = page(fleet=Fleet((local(load=None), CLOUD)))
    assert not any(name == "spillway_kv_used_fraction" for name, _ in series)


def test_a_scrape_sees_what_happened_since_the_last_one() -> None:
    fleets = iter([Fleet((LOCAL,)), Fleet((busy(requests=1),))])
    metrics = Metrics(lambda: next(fleets), lambda: 0.0)
    assert b'spillway_in_flight{target="local/smoke"} 0.0' in metrics.text()
    assert b'spillway_in_flight{target="local/smoke"} 1.0' in metrics.text()
