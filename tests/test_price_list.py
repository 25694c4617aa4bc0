"""litellm's table of prices, read as a file: of models that everybody knows, and of rows made for the purpose."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from ground.prices import PRICES, Listed, listed

ROW = {
    "mode": "chat",
    "input_cost_per_token": 5e-08,
    "output_cost_per_token": 4e-07,
    "max_input_tokens": 272_000,
    "supports_function_calling": True,
    "supports_vision": False,
}


def test_a_row_is_read_per_million_tokens_and_exactly() -> None:
    assert listed(ROW) == Listed(0.05, 0.4, 272_000, frozenset({"chat", "tools"}), "chat")


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        pytest.param({"input_cost_per_token": 0}, "input_usd_per_mtok", None, id="0 is unknown"),
        pytest.param({"output_cost_per_token": None}, "output_usd_per_mtok", None, id="no price"),
        pytest.param({"output_cost_per_token": True}, "output_usd_per_mtok", None, id="no number"),
        pytest.param(
            {"mode": "embedding", "output_cost_per_token": 0},
            "output_usd_per_mtok",
            0.0,
            id="embeddings have no output",
        ),
        pytest.param({"mode": "embedding"}, "capabilities", frozenset({"embeddings", "tools"}), id="embeddings"),
        pytest.param({"mode": "responses"}, "capabilities", frozenset({"chat", "tools"}), id="another name for chat"),
        pytest.param({"mode": "rerank"}, "capabilities", None, id="what nobody here serves"),
        pytest.param({"max_input_tokens": None, "max_tokens": 4096}, "context_tokens", 4096, id="one length alone"),
        pytest.param({"max_input_tokens": "8k"}, "context_tokens", None, id="a length that is none"),
        pytest.param(
            {"input_cost_per_token_above_200k_tokens": 1e-07}, "context_tokens", 200_000, id="dearer when longer"
        ),
    ],
)
def test_what_a_row_does_not_say_is_unknown(changes: dict[str, Any], field: str, value: object) -> None:
    assert getattr(listed(ROW | changes), field) == value


@pytest.mark.parametrize(
    "model",
    [
        "openai/gpt-4o-mini",
        "anthropic/claude-sonnet-4-5",
        "gemini/gemini-2.5-flash",
        "groq/openai/gpt-oss-20b",
        "mistral/mistral-large-latest",
        "together_ai/meta-llama/Llama-3.3-70B-Instruct-Turbo",
        "deepseek/deepseek-chat",
        "sambanova/Meta-Llama-3.3-70B-Instruct",
        "nebius/Qwen/Qwen3-32B",
    ],
)
def test_a_model_of_each_provider_has_a_price(model: str) -> None:
    """OpenRouter, which asks what its own providers ask, is not in the table."""
    found = PRICES.get(model)
    assert found is not None
    assert found.input_usd_per_mtok
    assert found.output_usd_per_mtok
    assert found.capabilities is not None


@pytest.mark.parametrize("model", ["openai/own", "groq/gpt-4o-mini", "gpt", ""])
def test_of_others_it_knows_nothing(model: str) -> None:
    assert PRICES.get(model) is None


def test_it_is_read_without_litellm_which_takes_seconds() -> None:
    code = (
        "import sys; from ground.prices import PRICES; "
        "print(len(PRICES) > 1000, PRICES.source.startswith('litellm '), 'litellm' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["True", "True", "False"]
