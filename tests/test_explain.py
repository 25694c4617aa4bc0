"""What is said of a decision is what was decided: everybody once, in that order, with the rule or figure behind it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from msgspec.structs import replace

from router.ask import Ask
from router.because import Moment
from router.explain import Explanation, Seen, explain
from router.health.verdict import Verdict
from router.quotas.room import Room
from router.registry import Price
from router.routing.fleet import Fleet, Target
from router.routing.passing import Money
from router.routing.policy import choose
from router.tables.read import parse_rules
from router.tables.rules import Rules
from tests.gates import through
from tests.specimens import CLOUD, KEYLESS, LOCAL, RULES, Situation, ask, busy, cloud, local, situations

RICH = Money(left_usd=10.0)
CHAINED = parse_rules(
    {
        "tiers": {
            "standard": {"ttft_target_s": 2.0, "emergency": ["last"]},
            "thrifty": {"ttft_target_s": 2.0, "order": ["cloud"], "strategy": {"cheapest": 1.0, "least_busy": 0.5}},
        },
        "chains": {"smoke": {"fallbacks": ["next"]}},
    },
    "specimen.toml",
)
NEXT = cloud(name="cloud/next", models=frozenset({"next"}))
LAST = cloud(name="cloud/last", models=frozenset({"last"}))


def said(asked: Ask, *targets: Target, rules: Rules = RULES, money: Money = RICH, **more: Any) -> Explanation:
    return explain(asked, Fleet(targets), rules, Moment(money, through=lambda _, decision: through(decision), **more))


def of(found: Explanation, name: str) -> Seen:
    return next(seen for seen in found.targets if seen.target == name)


@given(situations())
def test_everybody_is_named_once_and_who_is_tried_stands_in_the_order_of_the_decision(situation: Situation) -> None:
    asked, fleet, rules, money = situation
    decision = through(choose(asked, fleet, rules, money))
    found = explain(asked, fleet, rules, Moment(money, through=lambda _, decision: through(decision)))
    tried = [seen.target for seen in found.targets if seen.rank is not None]
    assert tried == [target.name for target in decision.targets]
    assert [seen.rank for seen in found.targets][: len(tried)] == list(range(1, len(tried) + 1))
    assert sorted(seen.target for seen in found.targets) == sorted(target.name for target in fleet.targets)
    assert all(seen.why for seen in found.targets)
    assert (found.target, found.reason) == (tried[0] if tried else None, decision.reason)
    assert (found.refused is None) == (decision.refusal is None)
    assert [failing.target for failing in found.on_failure] == tried
    # It travels as JSON and comes back as it was.
    assert msgspec.convert(msgspec.json.decode(msgspec.json.encode(found)), Explanation) == found


@pytest.mark.parametrize(
    ("asked", "target", "words"),
    [
        pytest.param(ask(local_only=True), CLOUD, "keeps_privacy: the request is local-only", id="privacy"),
        pytest.param(ask(needs=frozenset({"tools"})), LOCAL, "is_capable: it has no tools", id="capability"),
        pytest.param(ask(prompt_bytes=40_000), LOCAL, "at least 5,000 tokens, its context is 4,096", id="context"),
        pytest.param(
            ask(prompt_bytes=16_000, max_tokens=3000), local(kind="vllm"), "3,000 for the answer, its", id="answer"
        ),
        pytest.param(ask(model="other"), LOCAL, "serves_model: it serves none of other", id="another model"),
        pytest.param(ask(tier="bulk"), CLOUD, "the order names it nowhere: local", id="the order"),
        pytest.param(ask(tier="airy"), KEYLESS, "off: the variable NANO_KEY is not set", id="off"),
        pytest.param(ask(tier="airy", max_usd=1e-9), CLOUD, "budget", id="money"),
        pytest.param(
            ask(tier="airy"), cloud(room=Room(ready_in_s=float("inf"), why="day")), "never let this in (day)", id="day"
        ),
    ],
)
def test_who_is_not_tried_is_named_with_the_rule_that_keeps_it_out(asked: Ask, target: Target, words: str) -> None:
    seen = of(said(asked, target), target.name)
    assert seen.rank is None
    assert words in seen.why


@pytest.mark.parametrize(
    ("targets", "second", "words"),
    [
        pytest.param((LOCAL, CLOUD), "cloud/nano", 'the order has "cloud" later', id="order"),
        pytest.param(
            (busy(unstarted_tokens=20_000), CLOUD),
            "local/smoke",
            "in time; promised are 2 s (spill:ttft)",
            id="promise",
        ),
        pytest.param((local(stale=True), CLOUD), "local/smoke", "its telemetry is old", id="stale"),
        pytest.param(
            (local(health=Verdict("connect", 0.0)), CLOUD), "local/smoke", "failed of late: connect", id="health"
        ),
        pytest.param(
            (busy(promised_tokens=2000), local(name="local/b")), "local/smoke", "and 0.00 before it", id="load"
        ),
        pytest.param((LOCAL, local(name="local/t")), "local/t", "as good", id="a twin"),
    ],
)
def test_who_is_tried_later_is_named_with_what_puts_it_there(
    targets: tuple[Target, ...], second: str, words: str
) -> None:
    seen = said(ask(), *targets).targets[1]
    assert (seen.target, seen.rank) == (second, 2)
    assert words in seen.why


def test_the_models_of_a_chain_are_named_in_their_order() -> None:
    found = said(ask(model="smoke"), LOCAL, NEXT, LAST, rules=CHAINED)
    assert found.models == ("smoke", "next", "last")
    assert [(seen.target, seen.model) for seen in found.targets] == [
        ("local/smoke", "smoke"),
        ("cloud/next", "next"),
        ("cloud/last", "last"),
    ]
    assert found.targets[2].why == "last comes after next"


def test_scores_are_shown_strategy_by_strategy_with_their_sum() -> None:
    dear = cloud(name="cloud/dear", price=Price(1.0, 0.4))
    found = said(ask(tier="thrifty"), dear, CLOUD, rules=CHAINED)
    assert found.strategy == {"cheapest": 1.0, "least_busy": 0.5}
    first, second = found.targets
    assert (first.target, second.target) == ("cloud/nano", "cloud/dear")
    assert set(second.scores) == {"cheapest", "least_busy"}
    assert second.score == pytest.approx(second.scores["cheapest"] + 0.5 * second.scores["least_busy"])
    assert first.score is not None
    assert second.score is not None
    assert first.score < second.score
    assert second.why.startswith("score ")


def test_what_a_failure_leads_to_is_said_for_each_target() -> None:
    longer = replace(NEXT, context_tokens=10**6)
    found = said(ask(model="smoke"), LOCAL, replace(CLOUD, context_tokens=4096), longer, rules=CHAINED)
    consequences = {
        failing.target: {cause: step.then for step in failing.steps for cause in step.on}
        for failing in found.on_failure
    }
    assert consequences["local/smoke"]["5xx"] == "cloud/nano"
    # A prompt that is too long passes over whoever has no longer context.
    assert consequences["local/smoke"]["context"] == "cloud/next"
    assert consequences["local/smoke"]["refused"] is None
    assert consequences["cloud/next"]["5xx"] is None


def test_a_forecast_is_told_of_an_engine_and_dollars_of_a_cloud() -> None:
    found = said(ask(prompt_bytes=4000), busy(unstarted_tokens=3000), CLOUD)
    assert of(found, "local/smoke").ttft_s == pytest.approx(1.0)
    assert of(found, "local/smoke").usd == 0.0
    nano = of(found, "cloud/nano")
    assert nano.ttft_s is None
    assert nano.usd == pytest.approx((1000 * 0.05 + 256 * 0.4) / 1e6)


def test_where_nobody_is_left_the_refusal_is_what_the_client_hears() -> None:
    found = said(ask(local_only=True, tier="airy"), CLOUD)
    assert found.target is None
    assert found.refused is not None
    assert found.refused.startswith("400 conflicting_hints: ")
    assert found.on_failure == ()
