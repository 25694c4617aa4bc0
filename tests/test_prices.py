"""Twins from the table that litellm carries: context, capabilities and price of a cloud deployment."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from typing import Any

import pytest

from engines.models.prices import PriceError, Prices, installed_prices
from ground.prices import PriceList

CHAT = {
    "litellm_provider": "openai",
    "mode": "chat",
    "max_input_tokens": 1000,
    "max_tokens": 500,
    "input_cost_per_token": 5e-08,
    "output_cost_per_token": 4e-07,
}


def prices(**rows: dict[str, Any]) -> Prices:
    return Prices("litellm 1.2.3", PriceList(json.dumps(rows).encode()))


def test_the_installed_table_knows_the_shipped_twin() -> None:
    twin = installed_prices().twin("nano", "openai/gpt-5-nano", {})
    assert (twin.deployment, twin.model) == ("nano", "openai/gpt-5-nano")
    assert twin.priced_from == f"litellm {version('litellm')}"
    assert twin.context_tokens > 100_000
    assert 0 < twin.input_usd_per_mtok < twin.output_usd_per_mtok
    assert {"chat", "tools", "vision", "json_schema"} <= set(twin.capabilities)


def test_the_table_is_read_without_importing_litellm() -> None:
    code = (
        "import sys; from engines.models.prices import installed_prices; "
        "installed_prices().twin('d', 'openai/gpt-5-nano', {}); print('litellm' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_prices_are_exact_in_dollars_per_million_tokens() -> None:
    twin = prices(small=CHAT).twin("d", "openai/small", {})
    assert (twin.input_usd_per_mtok, twin.output_usd_per_mtok, twin.context_tokens) == (0.05, 0.4, 1000)


def test_capabilities_are_those_that_the_row_affirms() -> None:
    row = {**CHAT, "supports_function_calling": True, "supports_vision": False, "supports_reasoning": True}
    assert prices(small=row).twin("d", "openai/small", {}).capabilities == ("chat", "tools", "reasoning")


def test_the_context_ends_where_the_price_rises() -> None:
    row = {**CHAT, "max_input_tokens": 1_000_000, "input_cost_per_token_above_200k_tokens": 1e-07}
    assert prices(small=row).twin("d", "openai/small", {}).context_tokens == 200_000


@pytest.mark.parametrize(
    ("provider", "model", "is_known"),
    [
        ("openai", "openai/small", True),
        ("azure", "openai/small", False),
        ("bedrock_converse", "bedrock/small", True),
        ("vertex_ai-mistral_models", "vertex_ai/small", True),
        ("openai", "openrouter/openai/small", False),
        ("openai", "small", True),
    ],
)
def test_a_row_without_its_provider_in_the_name_must_be_of_that_provider(
    provider: str, model: str, is_known: bool
) -> None:
    known = prices(**{"small": {**CHAT, "litellm_provider": provider}})
    assert (model in known.listed) is is_known


def test_a_row_with_its_provider_goes_before_one_without() -> None:
    whole = {**CHAT, "input_cost_per_token": 1e-06}
    twin = prices(**{"small": CHAT, "openai/small": whole}).twin("d", "openai/small", {})
    assert twin.input_usd_per_mtok == 1.0


def test_an_unknown_model_is_said_with_what_to_add_where() -> None:
    with pytest.raises(PriceError, match=r"litellm 1\.2\.3 does not know .*'openai/own'.*\[clouds\.d\] in stack\.toml"):
        prices(small=CHAT).twin("d", "openai/own", {"input_usd_per_mtok": 0.1})


def test_an_unknown_model_has_the_price_that_stack_toml_gives() -> None:
    own = {
        "input_usd_per_mtok": 1,
        "output_usd_per_mtok": 2.5,
        "context_tokens": 4096,
        "capabilities": ["chat", "tools"],
    }
    twin = prices(small=CHAT).twin("d", "openai/own", own)
    assert (twin.input_usd_per_mtok, twin.output_usd_per_mtok, twin.context_tokens) == (1.0, 2.5, 4096)
    assert (twin.capabilities, twin.priced_from) == (("chat", "tools"), "stack.toml")


@pytest.mark.parametrize("missing", ["input_cost_per_token", "output_cost_per_token"])
def test_a_price_that_is_not_said_is_unknown_and_not_free(missing: str) -> None:
    row = {key: value for key, value in CHAT.items() if key != missing}
    with pytest.raises(PriceError, match="does not know all of context and price"):
        prices(small=row).twin("d", "openai/small", {})


@pytest.mark.parametrize("key", ["input_cost_per_token", "output_cost_per_token"])
def test_a_price_of_nothing_is_unknown_unless_stack_toml_says_it(key: str) -> None:
    known, free = prices(small={**CHAT, key: 0.0}), {"input_usd_per_mtok": 0, "output_usd_per_mtok": 0}
    with pytest.raises(PriceError, match="does not know all of context and price"):
        known.twin("d", "openai/small", {})
    twin = known.twin("d", "openai/small", free)
    assert (twin.input_usd_per_mtok, twin.context_tokens, twin.priced_from) == (0.0, 1000, "stack.toml")


def test_what_does_not_chat_is_no_twin() -> None:
    with pytest.raises(PriceError, match=r"is no model to chat with: litellm 1\.2\.3 lists it as 'embedding'"):
        prices(small={**CHAT, "mode": "embedding"}).twin("d", "openai/small", {})
