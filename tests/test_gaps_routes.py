"""Holes that only a route opens; and that a stack without holes has a target for every task, under every preset."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from engines.snapshot import ModelView
from ground.prices import Listed
from router.costs import job_cost
from router.gaps import gaps
from router.imagined import imagined
from router.tables.read import parse_rules
from router.tables.table import ConfigError
from tests.test_gaps import THINK, found

ROUTED = (
    THINK.format(tier="standard") + "model = 'deepseek-v3'\n[tasks.other]\ntier = 'standard'\n[[routes]]\nname = 'r'\n"
)


@pytest.mark.parametrize(
    ("route", "where"),
    [
        pytest.param("tier = 'home'", "deepseek-v3, for the task think, has no place in the order of the tier home"),
        pytest.param("order = ['local']", "deepseek-v3, for the task think, has no place in the order of the route"),
        pytest.param("tasks = ['think']\ntier = 'away'\nmodel = 'llama-8b'", "llama-8b, for the task think, has no"),
        pytest.param("tasks = ['think']\ntier = 'home'", "deepseek-v3, for the task think, has no place"),
        pytest.param("tiers = ['standard']\ntier = 'home'", "deepseek-v3, for the task think, has no place"),
        pytest.param("models = ['deepseek-v3']\ntier = 'home'", "deepseek-v3, for the task think, has no place"),
    ],
)
def test_a_route_that_leads_a_task_nowhere_is_a_hole(route: str, where: str) -> None:
    (gap,) = found(ROUTED + route)
    assert gap.startswith(f'[[routes]] "r": {where}')


@pytest.mark.parametrize(
    "route",
    [
        "tasks = ['other']\ntier = 'home'",
        "tiers = ['away']\ntier = 'home'",
        "models = ['llama-8b']\ntier = 'home'",
        "tier = 'home'\nmodel = 'llama-8b'",
        "tier = 'saved'",
    ],
)
def test_a_route_for_others_or_with_a_place_is_none(route: str) -> None:
    saved = "\n[tiers.saved]\nttft_target_s = 1\norder = ['local']\nfallbacks = ['llama-8b']\n"
    assert found(ROUTED + route + saved) == []


MODELS = ("m0", "m1", "m2", "m3")
TIERS = ("standard", "ta", "tb")
TASKS = ("t0", "t1", "t2")
PRICES = {"nebius/x": Listed(1.0, 2.0, 64_000, frozenset({"chat", "tools"}))}


def drawn(random: Random) -> dict[str, Any]:
    """Any stack, most of them with holes."""

    def some(among: tuple[str, ...], most: int) -> list[str]:
        return random.sample(among, random.randint(1, most))

    def maybe(share: float, table: dict[str, Any]) -> dict[str, Any]:
        return table if random.random() < share else {}

    def preset() -> dict[str, Any]:
        return {"default": some(MODELS, 2), "tasks": {task: some(MODELS, 2) for task in TASKS if random.random() < 0.4}}

    places = ("local", "cloud", "cloud/c0", "local/m0")
    route = {"name": "r", "tasks": some(TASKS, 1)} | random.choice(
        [{"tier": "ta"}, {"model": "m0"}, {"order": ["cloud"]}]
    )
    return {
        "active_preset": random.choice(["p", "q"]),
        "tiers": {
            name: {"ttft_target_s": 2.0, "order": some(places, 3)} | maybe(0.4, {"fallbacks": some(MODELS, 2)})
            for name in TIERS
        },
        "tasks": {
            name: {"tier": random.choice(TIERS)}
            | maybe(0.4, {"model": random.choice(MODELS)})
            | maybe(0.3, {"size": "large"})
            | maybe(0.3, {"needs": ["tools"]})
            for name in TASKS
        },
        "presets": {"p": preset(), "q": preset()},
        "clouds": {
            name: {"model": "nebius/x", "key_env": "KEY", "serves": some(MODELS, 4), "size": "large"}
            | maybe(0.2, {"optional": True})
            for name in ("c0", "c1")
        },
        "models": {name: {"size": "small"} for name in some(MODELS, 4)},
        "chains": maybe(0.5, {"m0": {"fallbacks": ["m1"]}, "m1": {"emergency": ["m2"]}}),
        "routes": [route] if random.random() < 0.5 else [],
        "jobs": {"j": {"tasks": {task: {"prompt_tokens": 1000} for task in TASKS}}},
    }


def test_a_stack_without_holes_has_a_target_for_every_task_under_every_preset() -> None:
    whole = 0
    for seed in range(600):
        tables = drawn(Random(seed))
        try:
            rules = parse_rules(tables, "drawn")
        except ConfigError:
            continue
        models = [ModelView(name, 8192, ("chat", "tools"), None) for name in tables["models"]]
        if gaps(rules, models, PRICES, {"KEY": "sk"}):
            continue
        whole += 1
        fleet = imagined(rules, models, {"KEY": "sk"}, PRICES)
        tasks = [task for preset in ("p", "q") for task in job_cost("j", preset, rules, fleet).tasks]
        assert [(seed, task.task, task.why) for task in tasks if task.target is None] == []
    assert whole > 20
