"""Where a request goes when engines sleep, start, are slowed down or are Ollama's, and who may wait for whom."""

from __future__ import annotations

import pytest
from hypothesis import given
from msgspec.structs import replace

from router.ask import Ask
from router.routing.filters import dropped_by, fits_all, sieve
from router.routing.fleet import Fleet, Pace, Target, plain_tokens
from router.routing.policy import choose
from tests.specimens import CLOUD, KEYLESS, LOCAL, RULES, Situation, ask, busy, cloud, local, situations
from tests.test_policy import DEAD, FULL, JAMMED, POOR, RICH, decide, names, refusal

ASLEEP = local(off="sleeping", starting=True, returns_as="smoke")
AWAKE = local(returns_as="smoke")
COMING = cloud(off="starting", starting=True)


def test_a_sleeping_engine_that_the_tier_prefers_is_wanted_by_who_spills() -> None:
    decision = decide(ask(), ASLEEP, CLOUD)
    assert (names(decision), decision.reason) == (["cloud/nano"], "spill:starting")
    assert (decision.asleep, decision.prefers_it, decision.can_wait) == ("smoke", True, True)


def test_a_sleeping_engine_is_not_woken_for_a_tier_that_prefers_the_cloud_but_may_serve_it_later() -> None:
    decision = decide(ask(tier="premium"), ASLEEP, CLOUD)
    assert (names(decision), decision.asleep, decision.prefers_it) == (["cloud/nano"], "smoke", False)
    assert decision.can_wait


def test_a_sleeping_engine_is_not_woken_while_another_serves() -> None:
    second = replace(AWAKE, name="local/second", models=frozenset({"smoke", "second"}))
    decision = decide(ask(), ASLEEP, second)
    assert (names(decision), decision.asleep) == (["local/second"], None)


@pytest.mark.parametrize("asked", [ask(tier="bulk"), ask(local_only=True)], ids=["a local tier", "local-only"])
def test_who_may_not_spill_can_wait_for_a_sleeping_engine(asked: Ask) -> None:
    decision = decide(asked, ASLEEP, CLOUD)
    assert (decision.targets, decision.can_wait, decision.asleep) == ((), True, "smoke")
    assert decision.refusal is not None
    assert decision.refusal.status == 503


def test_who_has_no_money_left_can_wait() -> None:
    assert decide(ask(), ASLEEP, CLOUD, money=POOR).can_wait


@pytest.mark.parametrize("target", [DEAD, local(off="the variable KEY is not set")])
def test_nobody_can_wait_for_what_does_not_return(target: Target) -> None:
    decision = decide(ask(tier="bulk"), target)
    assert (decision.targets, decision.can_wait) == ((), False)


def test_who_is_refused_for_a_full_engine_does_not_wait() -> None:
    decision = decide(ask(tier="bulk"), replace(JAMMED, returns_as="smoke"))
    assert (decision.targets, decision.can_wait) == ((), False)


@pytest.mark.parametrize("target", [AWAKE, replace(FULL, returns_as="smoke")], ids=["idle", "full"])
@pytest.mark.parametrize("tier", ["standard", "bulk"])
def test_should_the_engine_die_its_successor_can_be_waited_for(target: Target, tier: str) -> None:
    assert decide(ask(tier=tier), target, CLOUD).can_wait


def test_a_wanted_model_without_an_engine_is_starting_and_not_unknown() -> None:
    fleet = Fleet((CLOUD,), models=frozenset({"smoke"}))
    decision = choose(ask(model="smoke", requested="smoke", tier="bulk"), fleet, RULES, RICH)
    assert decision.can_wait
    decision = choose(ask(model="new", requested="new"), Fleet((), models=frozenset({"new"})), RULES, RICH)
    assert decision.refusal is not None
    assert (decision.refusal.status, decision.can_wait) == (503, True)


def test_a_tier_of_clouds_waits_for_no_engine() -> None:
    fleet = Fleet((), models=frozenset({"smoke"}))
    assert not choose(ask(tier="airy"), fleet, RULES, RICH).can_wait


def test_among_equals_the_engine_that_is_not_slowed_down_goes_first() -> None:
    slowed, well = local(name="local/a", weight=0.5), local(name="local/b")
    assert names(decide(ask(tier="bulk"), slowed, well)) == ["local/b", "local/a"]


def test_work_weighs_more_on_an_engine_that_is_slowed_down() -> None:
    slowed = replace(busy(promised_tokens=600), name="local/a", weight=0.5)
    well = replace(busy(promised_tokens=1000), name="local/b")
    assert names(decide(ask(tier="bulk"), slowed, well)) == ["local/b", "local/a"]


OLLAMA = local(kind="ollama", context_tokens=1000, drops=frozenset({"n"}))


@pytest.mark.parametrize(
    ("prompt_bytes", "fits"), [(3500, True), (3600, True), (3700, False)], ids=["short", "the border", "too long"]
)
def test_a_prompt_that_ollama_would_cut_goes_elsewhere(prompt_bytes: int, fits: bool) -> None:
    decision = decide(ask(prompt_bytes=prompt_bytes), OLLAMA, CLOUD)
    assert (names(decision)[0] == "local/smoke") is fits


def test_a_prompt_that_ollama_would_cut_is_400_where_nobody_else_is() -> None:
    error = refusal(ask(prompt_bytes=3700), OLLAMA)
    assert (error.status, error.code) == (400, "context_length_exceeded")
    assert "925" in error.message


def test_what_ollama_has_shown_of_its_tokens_counts() -> None:
    dense = replace(OLLAMA, pace=Pace(bytes_per_token=2.0))
    assert names(decide(ask(prompt_bytes=1900), dense, CLOUD)) == ["cloud/nano"]


def test_several_answers_at_once_are_not_asked_of_ollama() -> None:
    assert names(decide(ask(answers=2), OLLAMA, CLOUD)) == ["cloud/nano"]
    error = refusal(ask(answers=2), OLLAMA)
    assert (error.status, error.code) == (400, "unsupported_capability")


@given(situations())
def test_whoever_is_not_looked_at_closely_would_have_passed(situation: Situation) -> None:
    asked, targets = situation[0], situation[1].targets
    fit, dropped = sieve(asked, targets)
    rules = [(dropped_by(asked, target), target) for target in targets]
    assert list(fit) == [target for rule, target in rules if rule is None]
    assert list(dropped) == [(rule, target) for rule, target in rules if rule is not None]
    assert not (fits_all(asked, plain_tokens(targets)) and dropped)


def test_a_cloud_that_starts_is_waited_for_where_nobody_else_can_serve() -> None:
    assert decide(ask(tier="airy"), COMING).can_wait
    assert not decide(ask(tier="airy"), KEYLESS).can_wait
    assert decide(ask(), JAMMED, COMING).can_wait
    assert not decide(ask(tier="bulk"), JAMMED, COMING).can_wait


def test_who_runs_at_home_while_its_cloud_starts_has_not_spilled() -> None:
    assert decide(ask(tier="premium"), COMING, LOCAL).reason == "fallback:starting"
