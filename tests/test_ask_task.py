"""What a task makes of a request: its models by the preset, its needs, the fields that a body leaves out."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from router.ask import Ask, Endpoint, read_ask
from router.tables.read import parse_rules
from router.tables.strategy import Strategy

CHAT: dict[str, Any] = {"model": "auto", "messages": [{"role": "user", "content": "Hello"}]}
OBEYED = parse_rules(
    {
        "tiers": {"standard": {"ttft_target_s": 2.0}},
        "clouds": {"x": {"model": "openai/x", "key_env": "KEY", "serves": ["usual", "coder", "backup"]}},
        "tasks": {
            "coding": {
                "tier": "standard",
                "needs": ["json_schema"],
                "temperature": 0.0,
                "max_tokens": 100,
                "strategy": {"cheapest": 1.0},
            },
            "writing": {"tier": "standard", "size": "large"},
        },
        "presets": {"mine": {"tasks": {"coding": ["coder", "backup"]}}},
        "active_preset": "mine",
    },
    "ask.toml",
)


def task(name: str, **changes: Any) -> Ask:
    return read_ask(orjson.dumps(CHAT | {"model": f"task/{name}"} | changes), {}, Endpoint.CHAT, OBEYED)


def test_the_preset_says_which_models_do_a_task() -> None:
    assert (task("coding").model, task("coding").stand_ins, task("coding").size) == ("coder", ("backup",), None)
    assert (task("writing").model, task("writing").stand_ins, task("writing").size) == (None, (), "large")


def test_a_role_is_a_header_beside_any_name_of_no_model() -> None:
    hinted = read_ask(orjson.dumps(CHAT), {"x-spillway-task": "coding"}, Endpoint.CHAT, OBEYED)
    assert (hinted.how, hinted.task, hinted.model) == ("task", "coding", "coder")
    named = read_ask(orjson.dumps(CHAT | {"model": "usual"}), {"x-spillway-task": "coding"}, Endpoint.CHAT, OBEYED)
    assert (named.how, named.task, named.model, named.stand_ins) == ("pinned", "coding", "usual", ())


def test_a_task_needs_what_each_of_its_requests_needs() -> None:
    assert task("coding").needs == {"json_schema"}
    assert task("coding", tools=[{"type": "function"}]).needs == {"json_schema", "tools"}


@pytest.mark.parametrize(
    ("given", "fill", "most"),
    [
        pytest.param({}, {"temperature": 0.0, "max_tokens": 100}, 100, id="nothing"),
        pytest.param({"temperature": 0.7}, {"max_tokens": 100}, 100, id="one of them"),
        pytest.param(
            {"temperature": None, "max_tokens": None}, {"temperature": 0.0, "max_tokens": 100}, 100, id="null"
        ),
        pytest.param({"max_completion_tokens": 7}, {"temperature": 0.0}, 7, id="the bound's other name"),
        pytest.param({"temperature": 0, "max_tokens": 7}, {}, 7, id="all"),
    ],
)
def test_a_task_fills_in_what_the_body_leaves_out(given: dict[str, Any], fill: dict[str, float], most: int) -> None:
    read = task("coding", **given)
    assert (dict(read.fill), read.max_tokens) == (fill, most)
    assert read.body == CHAT | {"model": "task/coding"} | given | fill


def test_a_task_has_a_strategy_of_its_own() -> None:
    assert task("coding").strategy == {Strategy.CHEAPEST: 1.0}
    assert task("writing").strategy is None
