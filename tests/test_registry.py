"""Where models run in clouds, resolved: each fact from stack.toml, else models.lock, else litellm's table."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from engines.snapshot import ModelView
from ground.prices import Listed
from router.registry import Deployment, Price, Quota, deployments
from router.tables.read import parse_rules
from router.tables.rules import Rules
from tests.specimens import ENVIRONMENT, MODEL, TWIN

MODEL_STRING = "openai/gpt-5-nano"
LISTED = {MODEL_STRING: Listed(1.0, 2.0, 64_000, frozenset({"chat", "vision"}))}


def with_cloud(providers: dict[str, Any] | None = None, **changes: Any) -> Rules:
    table = {"model": MODEL_STRING, "key_env": "NANO_KEY"} | changes
    known = {key: value for key, value in table.items() if value is not None}
    tables = {"tiers": {"standard": {"ttft_target_s": 1.0}}, "clouds": {"nano": known}, "providers": providers or {}}
    return parse_rules(tables, "specimen")


def only(
    rules: Rules,
    models: tuple[ModelView, ...] = (MODEL,),
    listed: dict[str, Listed] = LISTED,
    environment: dict[str, str] = ENVIRONMENT,
) -> Deployment:
    (found,) = deployments(rules, models, listed, environment)
    return found


@pytest.mark.parametrize(
    ("table", "models", "listed", "price"),
    [
        pytest.param({"input_usd_per_mtok": 7, "output_usd_per_mtok": 8}, (MODEL,), LISTED, Price(7, 8), id="table"),
        pytest.param({}, (MODEL,), LISTED, Price(0.05, 0.4), id="lock"),
        pytest.param({}, (), LISTED, Price(1.0, 2.0), id="list"),
        pytest.param({"input_usd_per_mtok": 0.0}, (MODEL,), LISTED, Price(0.0, 0.4), id="each side by itself"),
        pytest.param({}, (), {}, None, id="nobody"),
        pytest.param({"input_usd_per_mtok": 1}, (), {}, None, id="half of it"),
        pytest.param({}, (), {MODEL_STRING: Listed(1.0, None, None, None)}, None, id="half of it in the list"),
    ],
)
def test_a_price_is_that_of_the_first_who_knows_it(
    table: dict[str, Any], models: tuple[ModelView, ...], listed: dict[str, Listed], price: Price | None
) -> None:
    found = only(with_cloud(**table), models, listed)
    assert found.price == price
    assert (found.off is None) == (price is not None)


def test_what_was_locked_for_another_model_is_not_said_of_this_one() -> None:
    """Whoever changes the model of a cloud must not pay by the price of the one before, until `make lock`."""
    model = replace(MODEL, twin=replace(TWIN, model="openai/gpt-5-large"))
    found = only(with_cloud(), (model,))
    assert (found.price, found.context_tokens, found.serves) == (Price(1.0, 2.0), 64_000, frozenset({"smoke"}))
    unlisted = only(with_cloud(), (model,), {})
    assert (unlisted.price, unlisted.off is None) == (None, False)


def test_context_and_capabilities_are_those_of_the_first_who_knows_them() -> None:
    own = only(with_cloud(context_tokens=8000, capabilities=["chat"]))
    locked, listed, unknown = only(with_cloud()), only(with_cloud(), ()), only(with_cloud(), (), {})
    assert [each.context_tokens for each in (own, locked, listed, unknown)] == [8000, 272_000, 64_000, 128_000]
    assert own.capabilities == {"chat"}
    assert locked.capabilities == {"chat", "tools"}
    assert listed.capabilities == {"chat", "vision"}
    assert unknown.capabilities == {"chat", "completion"}


def test_of_a_server_that_only_speaks_openais_format_the_list_knows_nothing() -> None:
    assert only(with_cloud(base_url="http://127.0.0.1:9/v1"), ()).price is None
    assert only(with_cloud(base_url="https://api.openai.com/v1"), ()).price == Price(1.0, 2.0)
    provider = {"home": {"key_env": "NANO_KEY", "base_url": "http://127.0.0.1:9/v1"}}
    at_home = only(with_cloud(provider, key_env=None, provider="home"), ())
    assert (at_home.price, at_home.base_url) == (None, "http://127.0.0.1:9/v1")


def test_it_serves_what_its_table_says_and_what_it_is_the_twin_of() -> None:
    rules = with_cloud(serves=["llama-405b"])
    assert only(rules).serves == {"llama-405b", "smoke"}
    stranger = replace(MODEL, twin=replace(TWIN, deployment="other"))
    assert only(rules, (stranger,)).serves == {"llama-405b"}
    wanted = Rules.model_validate(rules.model_dump() | {"models": {"new": {"twin": "nano"}, "alone": {}}})
    assert only(wanted, ()).serves == {"llama-405b", "new"}


@pytest.mark.parametrize(
    ("table", "provider", "environment", "off"),
    [
        pytest.param({}, None, {"NANO_KEY": "sk"}, None, id="its own key"),
        pytest.param({}, None, {}, "the variable NANO_KEY is not set", id="its own key is not set"),
        pytest.param({}, None, {"NANO_KEY": " "}, "the variable NANO_KEY is not set", id="its own key is empty"),
        pytest.param({"off": True}, None, {"NANO_KEY": "sk"}, "off = true in stack.toml", id="turned off"),
        pytest.param({}, {"key_env": ["A", "B"]}, {"B": "sk"}, None, id="one key of a pool"),
        pytest.param({}, {"key_env": ["A", "B"]}, {}, "none of the variables A, B is set", id="no key of a pool"),
        pytest.param({}, {"key_env": "A", "off": True}, {"A": "sk"}, "off = true in stack.toml", id="provider off"),
    ],
)
def test_why_it_is_off_is_said(
    table: dict[str, Any], provider: dict[str, Any] | None, environment: dict[str, str], off: str | None
) -> None:
    keys = {} if provider is None else {"key_env": None}
    rules = with_cloud(None if provider is None else {"openai": provider}, **keys, **table)
    assert only(rules, environment=environment).off == off


def test_keys_and_limits_are_those_of_its_provider() -> None:
    provider = {"key_env": ["A", "B"], "requests_per_minute": 30, "concurrent": 2, "day_zone": "Europe/Berlin"}
    rules = with_cloud({"openai": provider}, key_env=None, tokens_per_day=5)
    found = only(rules, environment={"A": "sk"})
    assert (found.provider, found.kind, found.key_envs) == ("openai", "openai", ("A", "B"))
    assert found.pool == Quota(requests_per_minute=30, concurrent=2, day_zone="Europe/Berlin")
    assert found.own == Quota(tokens_per_day=5, day_zone="Europe/Berlin")


def test_a_key_of_its_own_is_a_pool_of_its_own() -> None:
    provider = {"key_env": "A", "requests_per_minute": 30}
    found = only(with_cloud({"openai": provider}))
    assert (found.provider, found.key_envs) == ("NANO_KEY", ("NANO_KEY",))
    assert found.pool == Quota()


@pytest.mark.parametrize(
    ("model", "zone"),
    [("gemini/gemini-2.5-pro", "America/Los_Angeles"), ("groq/x", "UTC"), ("somebody/x", "UTC")],
)
def test_a_day_begins_at_the_midnight_of_its_kind_unless_the_table_says_where(model: str, zone: str) -> None:
    assert only(with_cloud(model=model)).own.day_zone == zone
    assert only(with_cloud(model=model, day_zone="Asia/Tokyo")).own.day_zone == "Asia/Tokyo"


def test_size_speed_and_weight_are_passed_on() -> None:
    found = only(with_cloud(size="large", output_tokens_per_s=250, weight=3))
    assert (found.size, found.output_tokens_per_s, found.weight) == ("large", 250.0, 3.0)
