"""Which models serve, and who stands in for them: presets, tasks, chains and tiers in their order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from router.routing.chain import models_of, stand_ins
from router.tables.read import parse_rules
from router.tables.rules import Rules

STANDARD: Mapping[str, Any] = {"tiers": {"standard": {"ttft_target_s": 2.0}}}
TASKS = {
    "coding": {"tier": "standard", "model": "coder"},
    "writing": {"tier": "standard", "size": "large"},
    "reading": {"tier": "standard"},
}
CLOUDS = {
    name: {"model": f"openai/{name}", "key_env": "KEY", "serves": [name]}
    for name in ("a", "b", "c", "d", "coder", "usual")
}


def rules(**tables: Any) -> Rules:
    return parse_rules({**STANDARD, "tasks": TASKS, "clouds": CLOUDS, **tables}, "chain.toml")


def with_preset(**preset: Any) -> Rules:
    presets = {"other": {"default": "d"}, "mine": preset}
    return rules(presets=presets, active_preset="mine")


@pytest.mark.parametrize(
    ("obeyed", "task", "models"),
    [
        pytest.param(rules(), None, (), id="no task"),
        pytest.param(rules(), "coding", ("coder",), id="no preset: the task's own"),
        pytest.param(rules(), "reading", (), id="a task that leaves it open"),
        pytest.param(with_preset(default="usual"), "coding", ("usual",), id="the default goes before the task's own"),
        pytest.param(with_preset(default="usual"), None, (), id="the default is of tasks alone"),
        pytest.param(
            with_preset(default="usual", tasks={"coding": ["a", "b"]}), "coding", ("a", "b"), id="several, in order"
        ),
        pytest.param(with_preset(tasks={"reading": "a"}), "coding", ("coder",), id="a preset that does not say"),
    ],
)
def test_the_active_preset_says_which_models_do_a_task(
    obeyed: Rules, task: str | None, models: tuple[str, ...]
) -> None:
    assert models_of(task, obeyed) == models


def test_one_line_changes_all_of_them() -> None:
    presets = {name: {"default": name} for name in "ab"}
    chosen = [models_of("reading", rules(presets=presets, active_preset=name)) for name in "ab"]
    assert chosen == [("a",), ("b",)]


@pytest.mark.parametrize(
    ("chains", "tier", "models", "others"),
    [
        pytest.param({}, {}, ("a",), (), id="nobody"),
        pytest.param({"a": {"fallbacks": ["b", "c"]}}, {}, ("a",), ("b", "c"), id="the model's own, in order"),
        pytest.param({"a": {"fallbacks": ["b"]}}, {}, ("b",), (), id="not the other way round"),
        pytest.param({}, {"fallbacks": ["b"], "emergency": ["c"]}, ("a",), ("b", "c"), id="the tier's"),
        pytest.param(
            {"a": {"fallbacks": ["b"], "emergency": ["d"]}},
            {"fallbacks": ["c"], "emergency": ["a"]},
            ("a",),
            ("b", "c", "d"),
            id="the model's before the tier's, and those for an emergency last",
        ),
        pytest.param(
            {"a": {"fallbacks": ["c"]}, "b": {"fallbacks": ["d"]}}, {}, ("a", "b"), ("c", "d"), id="of several models"
        ),
        pytest.param({"a": {"fallbacks": ["b"]}}, {"fallbacks": ["b"]}, ("a",), ("b",), id="each once"),
        pytest.param({}, {"emergency": ["b"]}, (), ("b",), id="where any model will do"),
    ],
)
def test_who_stands_in(chains: Any, tier: Any, models: tuple[str, ...], others: tuple[str, ...]) -> None:
    obeyed = rules(chains=chains, tiers={"standard": {"ttft_target_s": 2.0, **tier}})
    assert stand_ins(models, "standard", obeyed) == others
