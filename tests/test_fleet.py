"""The Fleet: engines of a snapshot and clouds of the rules, with what is known of load, price and health."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from engines.snapshot import EngineState, Snapshot
from router.health.verdict import WELL
from router.registry import Away, Price
from router.routing.fleet import Counts, Fleet, InFlight, Pace, Target, merge
from router.tables.read import parse_rules
from router.tables.rules import Rules
from router.watch import Usage, Watch
from tests.specimens import ENGINE, ENVIRONMENT, ILL, MODEL, RULES, TWIN, ask, load, snapshot

NOTHING = Counts(environment=ENVIRONMENT)


def with_cloud(**changes: Any) -> Rules:
    table = {"model": "openai/gpt-5-nano", "key_env": "NANO_KEY"} | changes
    return parse_rules({"tiers": {"standard": {"ttft_target_s": 1.0}}, "clouds": {"nano": table}}, "specimen")


def only(fleet: Fleet, name: str) -> Target:
    found = fleet.named(name)
    assert found is not None
    return found


def engine_of(shot: Snapshot, age_s: float = 0.0, counts: Counts = NOTHING) -> Target:
    return only(merge(shot, age_s, RULES, counts), "local/smoke")


def cloud_of(rules: Rules, *, heard: bool = True, counts: Counts = NOTHING) -> Target:
    return only(merge(snapshot() if heard else None, 0.0, rules, counts), "cloud/nano")


def test_engines_come_first_and_clouds_after_them() -> None:
    fleet = merge(snapshot(), 0.0, RULES, NOTHING)
    assert [target.name for target in fleet.targets] == ["local/smoke", "cloud/nano"]
    assert fleet.complete
    assert fleet.model_names() == {"smoke"}


def test_without_a_snapshot_there_are_only_clouds() -> None:
    fleet = merge(None, 0.0, RULES, NOTHING)
    assert [target.name for target in fleet.targets] == ["cloud/nano"]
    assert not fleet.complete


def test_an_engine_serves_its_model_and_answers_to_its_own_name() -> None:
    target = engine_of(snapshot(replace(ENGINE, model="llama-3.1-8b")))
    assert target.models == {"llama-3.1-8b", "smoke"}
    assert target.served_name == "llama-3.1-8b"
    assert target.price == Price(0.0, 0.0)


@pytest.mark.parametrize(
    ("state", "error", "off", "starting"),
    [
        pytest.param(EngineState.READY, None, None, False, id="ready"),
        pytest.param(EngineState.READY, "it died once", None, False, id="ready again"),
        pytest.param(EngineState.LOADING, None, "loading", True, id="loading"),
        pytest.param(EngineState.PLANNED, None, "planned", True, id="planned"),
        pytest.param(EngineState.DOWNLOADING, None, "downloading", True, id="downloading"),
        pytest.param(EngineState.LAUNCHING, "out of memory", "launching again after: out of memory", True, id="again"),
        pytest.param(EngineState.WARMING, None, "warming", True, id="warming"),
        pytest.param(EngineState.SLEEPING, None, "sleeping (comes when it is wanted)", True, id="sleeping"),
        pytest.param(EngineState.DRAINING, None, "draining (takes nothing new)", True, id="draining"),
        pytest.param(EngineState.QUARANTINED, "Xid 79", "quarantined: Xid 79", False, id="quarantined"),
        pytest.param(EngineState.STOPPED, None, "stopped", False, id="stopped"),
        pytest.param(EngineState.FAILED, "it exited with 1", "failed: it exited with 1", False, id="failed"),
    ],
)
def test_an_engine_is_off_unless_it_is_ready(
    state: EngineState, error: str | None, off: str | None, starting: bool
) -> None:
    target = engine_of(snapshot(replace(ENGINE, state=state, last_error=error)))
    assert (target.off, target.starting) == (off, starting)


@pytest.mark.parametrize(
    ("load_age_s", "snapshot_age_s", "stale"),
    [
        pytest.param(0.1, 0.1, False, id="fresh"),
        pytest.param(1.0, 1.0, False, id="at the border"),
        pytest.param(2.1, 0.0, True, id="the engine was not heard of"),
        pytest.param(0.0, 2.1, True, id="the supervisor was not heard of"),
        pytest.param(1.1, 1.1, True, id="both together"),
    ],
)
def test_old_news_are_stale(load_age_s: float, snapshot_age_s: float, stale: bool) -> None:
    assert engine_of(snapshot(replace(ENGINE, load=load(age_s=load_age_s))), snapshot_age_s).stale is stale


def test_an_engine_that_never_reports_is_not_stale() -> None:
    assert not engine_of(snapshot(replace(ENGINE, kind="url", load=None)), 1.0).stale


def test_counts_of_our_own_are_added_by_name() -> None:
    flying, pace = InFlight(requests=3), Pace(answers=7)
    health, off = {"local/smoke": ILL}, {"cloud/nano": Away("no SDK")}
    counts = Counts({"local/smoke": flying}, {"cloud/nano": pace}, health, off, ENVIRONMENT)
    fleet = merge(snapshot(), 0.0, RULES, counts)
    engine, cloud = only(fleet, "local/smoke"), only(fleet, "cloud/nano")
    assert (engine.in_flight, engine.pace, engine.health, engine.off) == (flying, Pace(), ILL, None)
    assert (cloud.in_flight, cloud.pace, cloud.health, cloud.off) == (InFlight(), pace, WELL, "no SDK")


def test_a_cloud_is_the_twin_that_the_lock_says() -> None:
    target = cloud_of(RULES)
    assert target.models == {"smoke"}
    assert (target.served_name, target.context_tokens) == ("openai/gpt-5-nano", 272_000)
    assert target.capabilities == {"chat", "tools"}
    assert target.price == Price(0.05, 0.4)


def test_stack_toml_goes_before_the_lock() -> None:
    changes = {"input_usd_per_mtok": 0.0, "context_tokens": 8000, "capabilities": ["chat"], "serves": ["other"]}
    target = cloud_of(with_cloud(**changes))
    assert target.price == Price(0.0, 0.4)
    assert target.context_tokens == 8000
    assert target.capabilities == {"chat"}
    assert target.models == {"smoke", "other"}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        pytest.param({}, "no price", id="no price at all"),
        pytest.param({"input_usd_per_mtok": 0.1}, "no price", id="half a price"),
        pytest.param({"input_usd_per_mtok": 0.1, "output_usd_per_mtok": 0.2}, None, id="a whole price"),
    ],
)
def test_a_cloud_without_a_price_is_off(changes: dict[str, float], why: str | None) -> None:
    off = cloud_of(with_cloud(**changes), heard=False).off
    assert (off is None) == (why is None)
    assert why is None or why in (off or "")


def test_one_cloud_may_be_the_twin_of_several_models() -> None:
    both = snapshot(models=(MODEL, replace(MODEL, name="other", twin=replace(TWIN, context_tokens=1000))))
    assert only(merge(both, 0.0, RULES, NOTHING), "cloud/nano").models == {"smoke", "other"}


def test_tokens_are_estimated_by_the_pace_of_the_target() -> None:
    assert engine_of(snapshot()).prompt_tokens(400) == 100
    assert (
        engine_of(snapshot(), counts=Counts(pace={"local/smoke": Pace(bytes_per_token=2.0)})).prompt_tokens(400) == 200
    )


def test_a_price_is_per_million_tokens() -> None:
    assert Price(1.0, 2.0).usd(1_000_000, 500_000) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("state", "is_wanted", "returns"),
    [
        pytest.param(EngineState.READY, True, True, id="one that serves"),
        pytest.param(EngineState.SLEEPING, True, True, id="one that sleeps"),
        pytest.param(EngineState.LOADING, True, True, id="one that loads"),
        pytest.param(EngineState.FAILED, True, True, id="one that is tried again"),
        pytest.param(EngineState.DRAINING, True, True, id="one that makes room for its successor"),
        pytest.param(EngineState.DRAINING, False, False, id="one whose model is wanted no longer"),
        pytest.param(EngineState.QUARANTINED, True, False, id="one that is not tried again"),
        pytest.param(EngineState.STOPPED, True, False, id="one that was stopped"),
    ],
)
def test_an_engine_that_serves_again_is_known_by_its_model(state: EngineState, is_wanted: bool, returns: bool) -> None:
    shot = snapshot(replace(ENGINE, state=state), models=(MODEL,) if is_wanted else ())
    assert (engine_of(shot).returns_as == "smoke") is returns


def test_an_engine_that_failed_to_start_twice_in_a_row_is_not_waited_for() -> None:
    assert engine_of(snapshot(replace(ENGINE, state=EngineState.FAILED, failed_starts=2))).returns_as is None


@pytest.mark.parametrize(
    ("state", "may_come"),
    [(EngineState.READY, False), (EngineState.FAILED, False), (EngineState.PLANNED, True)],
    ids=["there", "gone", "not asked yet"],
)
def test_nobody_promises_that_what_runs_elsewhere_returns(state: EngineState, may_come: bool) -> None:
    assert (engine_of(snapshot(replace(ENGINE, kind="url", state=state))).returns_as is not None) is may_come


def test_words_of_an_engine_that_starts_tell_how_far_it_is() -> None:
    loading = replace(ENGINE, state=EngineState.LOADING, progress="weights 3 of 8", last_error="out of memory")
    assert engine_of(snapshot(loading)).off == "loading (weights 3 of 8) again after: out of memory"


def test_the_name_of_an_engine_that_is_being_replaced_is_no_models() -> None:
    shot = snapshot(ENGINE, replace(ENGINE, name="smoke~old", state=EngineState.DRAINING))
    assert only(merge(shot, 0.0, RULES, NOTHING), "local/smoke~old").models == {"smoke"}


def test_an_engine_may_call_its_model_by_a_name_of_its_own() -> None:
    assert engine_of(snapshot(replace(ENGINE, served_name="qwen3:8b"))).served_name == "qwen3:8b"


@pytest.mark.parametrize("value", [None, "", "  ", "a\nb", "schl\u00fcssel"])
def test_an_engine_without_its_key_is_off_and_the_variable_is_named(value: str | None) -> None:
    counts = Counts(environment={} if value is None else {"STUDIO_KEY": value})
    shot = snapshot(replace(ENGINE, kind="url", key_env="STUDIO_KEY"))
    assert "STUDIO_KEY" in (engine_of(shot, counts=counts).off or "")


def test_an_engine_with_its_key_is_on() -> None:
    counts = Counts(environment={"STUDIO_KEY": "sk-1"})
    assert engine_of(snapshot(replace(ENGINE, kind="url", key_env="STUDIO_KEY")), counts=counts).off is None


def test_one_that_runs_elsewhere_and_tells_its_load_may_be_stale() -> None:
    silent, telling = replace(ENGINE, kind="url", load=None), replace(ENGINE, kind="url")
    assert not engine_of(snapshot(silent), age_s=100.0).stale
    assert engine_of(snapshot(telling), age_s=100.0).stale


def test_a_size_is_known_of_models_here_and_in_clouds() -> None:
    rules = Rules.model_validate(with_cloud(size="large").model_dump() | {"models": {"smoke": {"size": "small"}}})
    fleet = merge(snapshot(), 0.0, rules, NOTHING)
    assert [target.size for target in fleet.targets] == ["small", "large"]


def test_what_the_table_says_of_a_clouds_speed_counts_until_it_is_measured() -> None:
    watch = Watch(with_cloud(output_tokens_per_s=250.0, weight=3.0), environment=ENVIRONMENT)
    target = only(watch.view(0.0), "cloud/nano")
    assert (target.pace.stream_tokens_per_s, target.preference, target.provider) == (250.0, 3.0, "NANO_KEY")
    flight = watch.start(ask(stream=True), target, 1.0)
    watch.first_token(flight, 1.5)
    watch.finish(flight, Usage(10, 100), 11.5)
    assert only(watch.view(12.0), "cloud/nano").pace.stream_tokens_per_s < 20
