"""What routes and splits make of a request, and what they never touch."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from router.ask import Ask
from router.routing.directed import directed
from router.routing.fleet import Fleet
from router.routing.passing import Money
from router.routing.policy import choose
from router.tables.read import parse_rules
from router.tables.rules import Rules
from router.tables.strategy import Strategy
from tests.specimens import ask, local

NOON = datetime(2026, 7, 1, 12, 0, tzinfo=UTC).timestamp()
CLOUDS = {
    name: {"model": f"openai/{name}", "key_env": "KEY", "serves": [name]} for name in ("smoke", "trial", "a", "b")
}


def obeying(routes: Any = (), **tables: Any) -> Rules:
    tiers = {name: {"ttft_target_s": 2.0} for name in ("standard", "bulk")}
    tasks = {name: {"tier": "standard"} for name in ("writing", "reading")}
    return parse_rules({"tiers": tiers, "tasks": tasks, "clouds": CLOUDS, "routes": list(routes), **tables}, "x.toml")


def test_without_routes_and_splits_nothing_is_touched() -> None:
    asked = ask()
    assert directed(asked, obeying(), NOON) is asked


def test_a_route_changes_what_it_names_and_is_named() -> None:
    route = {"name": "long", "prompt_tokens_from": 10, "tier": "bulk", "order": ["cloud"], "strategy": {"cheapest": 1}}
    found = directed(ask(prompt_bytes=40), obeying([route]), NOON)
    assert (found.route, found.tier, found.order, found.strategy) == (
        "long",
        "bulk",
        ("cloud",),
        {Strategy.CHEAPEST: 1.0},
    )
    assert (found.model, found.how, found.prompt_bytes) == (None, "tier", 40)


def test_what_a_route_does_not_name_stays_as_the_task_has_it() -> None:
    asked = ask(task="writing", strategy={Strategy.CHEAPEST: 1.0})
    assert directed(asked, obeying([{"name": "all", "model": "a"}]), NOON).strategy == {Strategy.CHEAPEST: 1.0}
    weightless = [{"name": "all", "strategy": {}}]
    assert directed(asked, obeying(weightless), NOON).strategy == {}


def test_a_condition_that_does_not_hold_changes_nothing() -> None:
    asked = ask(prompt_bytes=39)
    assert directed(asked, obeying([{"name": "long", "prompt_tokens_from": 10, "tier": "bulk"}]), NOON) is asked


def test_the_first_route_that_holds_is_followed() -> None:
    routes = [
        {"name": "others", "tenants": ["acme"], "tier": "bulk"},
        {"name": "first", "model": "a"},
        {"name": "second", "tier": "bulk"},
    ]
    found = directed(ask(), obeying(routes), NOON)
    assert (found.route, found.model, found.tier) == ("first", "a", "standard")


def test_a_route_by_night() -> None:
    rules = obeying([{"name": "night", "between": "22:00-06:00", "tier": "bulk"}])
    assert [directed(ask(), rules, NOON + hours * 3600).tier for hours in (0, 12)] == ["standard", "bulk"]


def test_another_model_stands_alone_with_its_own_chain() -> None:
    found = directed(ask(how="task", model="smoke", stand_ins=("b",), size="large"), obeying([NAMES_A]), NOON)
    assert (found.model, found.stand_ins, found.size) == ("a", (), None)


NAMES_A = {"name": "all", "model": "a"}


@pytest.mark.parametrize(
    ("route", "model"),
    [
        pytest.param(NAMES_A, "smoke", id="a rule for all"),
        pytest.param(NAMES_A | {"models": ["smoke"]}, "a", id="a rule that names it"),
    ],
)
def test_who_names_a_model_gets_it_unless_the_rule_is_one_of_that_model(route: Any, model: str) -> None:
    assert directed(ask(how="pinned", model="smoke"), obeying([route]), NOON).model == model


def test_privacy_money_and_deadline_are_never_touched() -> None:
    asked = ask(local_only=True, max_usd=0.1, deadline_s=3.0)
    found = directed(asked, obeying([{"name": "all", "order": ["cloud"], "model": "a"}]), NOON)
    assert (found.local_only, found.max_usd, found.deadline_s) == (True, 0.1, 3.0)


def arms(rules: Rules, asked: Ask) -> tuple[str | None, str | None, tuple[str, ...]]:
    found = directed(asked, rules, NOON)
    return found.arm, found.model, found.stand_ins


def test_in_a_trial_the_models_from_before_stand_in() -> None:
    rules = obeying(splits={"new": {"percent": 100, "model": "trial"}})
    asked = ask(how="task", model="smoke", stand_ins=("trial", "b"), tenant="acme")
    assert arms(rules, asked) == ("new/trial", "trial", ("smoke", "b"))


def test_where_any_model_would_have_served_any_other_stands_in_for_a_trial() -> None:
    tiers = {"standard": {"ttft_target_s": 2.0, "emergency": ["b"]}}
    external = {"elsewhere": {"models": {"far": "far-1"}}}
    rules = obeying(
        splits={"new": {"percent": 100, "model": "trial"}},
        models={"smoke": {}, "near": {}},
        external=external,
        tiers=tiers,
    )
    assert arms(rules, ask(tenant="acme")) == ("new/trial", "trial", ("smoke", "near", "far", "a"))
    engine = local()
    decision = choose(directed(ask(), rules, NOON), Fleet((engine,)), rules, Money(0.0))
    assert decision.targets == (engine,)


def test_who_is_not_in_the_trial_is_served_as_ever_and_counted_beside_it() -> None:
    rules = obeying(splits={"new": {"percent": 0.000001, "model": "trial"}})
    assert arms(rules, ask(how="task", model="smoke", stand_ins=("b",))) == ("new/control", "smoke", ("b",))


def test_a_split_sees_what_the_route_has_made_of_the_request() -> None:
    splits = {"new": {"percent": 100, "model": "trial", "tiers": ["bulk"]}}
    rules = obeying([{"name": "all", "tasks": ["writing"], "tier": "bulk"}], splits=splits)
    assert arms(rules, ask(task="writing"))[0] == "new/trial"
    assert arms(rules, ask(task="reading"))[0] is None
