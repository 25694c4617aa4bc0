"""What a job costs under a preset: the prices of the very places that `choose` prefers, and never zero for unknown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from ground.prices import PRICES, Listed
from router.costs import JobCost, TaskCost, costs, job_cost
from router.gaps import gaps
from router.imagined import imagined, whole
from router.routing.fleet import Fleet
from router.tables.read import load_rules, parse_rules
from router.tables.rules import Rules
from router.watch import Watch

EXAMPLE = Path(__file__).parents[1] / "compose" / "examples" / "seo-crew.toml"
KEYS = {"KEY_A": "sk-a", "SAMBANOVA_API_KEY": "sk-s", "NEBIUS_API_KEY": "sk-n"}
CHEAP = {"model": "openai/cheap", "key_env": "KEY_A", "input_usd_per_mtok": 1.0, "output_usd_per_mtok": 2.0}
DEAR = {"model": "openai/dear", "key_env": "KEY_A", "input_usd_per_mtok": 10.0, "output_usd_per_mtok": 20.0}
TABLES: dict[str, Any] = {
    "active_preset": "home",
    "tiers": {
        "standard": {"ttft_target_s": 2.0},
        "bulk": {"ttft_target_s": 20.0, "order": ["local"]},
        "thrifty": {"ttft_target_s": 2.0, "order": ["cloud"], "strategy": {"cheapest": 1.0}},
    },
    "tasks": {"read": {"tier": "bulk"}, "write": {"tier": "standard"}, "check": {"tier": "thrifty"}},
    "presets": {
        "home": {"default": "small"},
        "away": {"default": "large", "tasks": {"read": "small"}},
        "fallen": {"default": ["gone", "large"], "tasks": {"read": "small"}},
    },
    "models": {"small": {"source": "builtin:smoke"}},
    "clouds": {"cheap": CHEAP | {"serves": ["large", "small"]}, "dear": DEAR | {"serves": ["large"]}},
    "jobs": {
        "both": {
            "tasks": {
                "read": {"prompt_tokens": 1_000_000, "completion_tokens": 500_000},
                "write": {"prompt_tokens": 100_000, "completion_tokens": 50_000},
            }
        }
    },
}


def rules_with(**changed: Any) -> Rules:
    return parse_rules(TABLES | changed, "specimen.toml")


def fleet_of(rules: Rules, prices: dict[str, Listed] | None = None, keys: dict[str, str] = KEYS) -> Fleet:
    return imagined(rules, (), keys, prices or {})


def reckoned(preset: str | None, **changed: Any) -> JobCost:
    rules = rules_with(**changed)
    return job_cost(next(iter(rules.jobs)), preset, rules, fleet_of(rules))


def only(task: str, preset: str, **changed: Any) -> TaskCost:
    job = {"tasks": {task: {"prompt_tokens": 1_000_000, "completion_tokens": 1_000_000}}}
    return reckoned(preset, jobs={"one": job}, **changed).tasks[0]


def test_what_runs_here_costs_no_dollars_and_is_said_to_run_here() -> None:
    cost = reckoned("home")
    assert cost.usd == 0.0
    assert [(task.model, task.target, task.is_local) for task in cost.tasks] == [("small", "local/small", True)] * 2


def test_what_runs_here_but_may_leave_costs_what_the_cloud_takes_at_most() -> None:
    read, write = reckoned("home").tasks
    assert (read.most_usd, write.most_usd) == (0.0, 0.1 * 1.0 + 0.05 * 2.0)


def test_another_preset_is_reckoned_without_being_obeyed() -> None:
    rules = rules_with()
    cost = job_cost("both", "away", rules, fleet_of(rules))
    read, write = cost.tasks
    assert [read.usd, write.usd] == pytest.approx([0.0, 0.2])
    assert cost.usd == pytest.approx(0.2)
    assert cost.tokens == 1_650_000
    assert rules.active_preset == "home"


def test_at_most_is_the_dearest_place_that_may_serve() -> None:
    assert only("write", "away").most_usd == pytest.approx(30.0)


def test_the_strategy_of_the_tier_decides_between_prices() -> None:
    swapped = {"cheap": DEAR | {"serves": ["large"]}, "dear": CHEAP | {"serves": ["large"]}}
    for clouds in (TABLES["clouds"], swapped):
        assert only("check", "away", clouds=clouds).usd == pytest.approx(3.0)


def test_the_next_model_of_the_chain_counts_where_the_first_has_no_place() -> None:
    task = only("write", "fallen")
    assert task.model == "large"
    assert task.usd == pytest.approx(3.0)


def test_stand_ins_count_for_the_most_only() -> None:
    clouds = {"cheap": CHEAP | {"serves": ["large"]}, "dear": DEAR | {"serves": ["huge"]}}
    task = only("write", "away", clouds=clouds, chains={"large": {"emergency": ["huge"]}})
    assert [task.usd, task.most_usd] == pytest.approx([3.0, 30.0])


def test_an_unknown_price_is_unknown_and_so_is_every_sum_with_it() -> None:
    unpriced = {"model": "openai/nobody-knows", "key_env": "KEY_A", "serves": ["large"]}
    cost = reckoned("away", clouds={"cheap": unpriced})
    assert [task.usd for task in cost.tasks] == [0.0, None]
    assert (cost.usd, cost.most_usd) == (None, None)


def test_a_price_of_the_list_is_used() -> None:
    rules = rules_with(clouds={"cheap": {"model": "groq/fast", "key_env": "KEY_A", "serves": ["large"]}})
    listed = {"groq/fast": Listed(3.0, 4.0, 128_000, None)}
    _, write = job_cost("both", "away", rules, fleet_of(rules, listed)).tasks
    assert write.usd == pytest.approx(0.3 + 0.2)


def test_a_place_without_a_key_is_reckoned_as_if_it_had_one_and_named() -> None:
    rules = rules_with()
    read, write = job_cost("both", "away", rules, fleet_of(rules, keys={})).tasks
    assert read.off == ""
    assert write.usd == pytest.approx(0.2)
    assert "KEY_A is not set" in write.off


def test_a_task_that_nobody_can_serve_says_why() -> None:
    task = only("check", "home", clouds={"dear": DEAR | {"serves": ["large"]}})
    assert (task.target, task.usd) == (None, None)
    assert "thrifty" in task.why


def test_load_and_failures_of_now_do_not_count() -> None:
    rules = rules_with()
    idle = fleet_of(rules)
    busy = replace(idle, targets=tuple(replace(each, stale=True, off="failed") for each in idle.targets))
    now = [(task.target, task.usd) for task in costs(rules, busy)[0].tasks]
    assert now == [(task.target, task.usd) for task in costs(rules, idle)[0].tasks]


def test_a_model_whose_engine_nobody_has_heard_of_yet_counts_as_if_it_ran() -> None:
    rules = rules_with()
    fleet = fleet_of(rules)
    clouds = replace(fleet, targets=tuple(each for each in fleet.targets if each.name.startswith("cloud/")))
    assert job_cost("both", "home", rules, clouds).usd is None
    assert job_cost("both", "home", rules, whole(clouds, rules)).usd == 0.0
    assert whole(fleet_of(rules), rules) == fleet_of(rules)
    before_any_news = Watch(rules, environment=KEYS, prices={}).now()
    assert job_cost("both", "home", rules, whole(before_any_news, rules)).usd == 0.0


def test_a_route_that_holds_at_any_hour_and_length_counts() -> None:
    route = {"name": "cheaper", "tasks": ["write"], "tier": "thrifty"}
    assert only("write", "away", clouds={"a": CHEAP | {"serves": ["large"]}}, routes=[route]).target == "cloud/a"
    night = route | {"between": "22:00-06:00", "model": "small"}
    assert only("write", "away", routes=[night]).model == "large"


@pytest.fixture(scope="module")
def crew() -> Rules:
    return load_rules(EXAMPLE)


def crew_cost(preset: str, rules: Rules) -> JobCost:
    return job_cost("audit", preset, rules, imagined(rules, (), KEYS))


def test_the_crew_has_eleven_models_at_two_providers_and_no_hole(crew: Rules) -> None:
    fleet = imagined(crew, (), KEYS)
    assert len(fleet.model_names()) == 11
    assert set(crew.providers) == {"sambanova", "nebius"}
    assert {"sambanova-optimized", "nebius-balanced", "mixed-optimal", "local-first"} <= set(crew.presets)
    for preset in crew.presets:
        assert gaps(crew.model_copy(update={"active_preset": preset}), (), PRICES, KEYS) == []
    # It starts without any key as well.
    assert gaps(crew, (), PRICES, {}) == []


def test_the_crews_baseline_is_what_its_tokens_cost_at_the_largest_model(crew: Rules) -> None:
    job = crew.jobs["audit"].tasks.values()
    assert [use.prompt_tokens + use.completion_tokens for use in job] == [50_000, 100_000, 200_000, 500_000]
    price = PRICES["nebius/meta-llama/Meta-Llama-3.1-405B-Instruct"]
    assert price.input_usd_per_mtok is not None
    assert price.output_usd_per_mtok is not None
    usd = sum(
        (use.prompt_tokens * price.input_usd_per_mtok + use.completion_tokens * price.output_usd_per_mtok) / 1e6
        for use in job
    )
    assert crew_cost("baseline-405b", crew).usd == pytest.approx(usd)
    assert usd == pytest.approx(1.275)


def test_each_of_the_crews_presets_costs_less_than_its_baseline(crew: Rules) -> None:
    found = {preset: crew_cost(preset, crew).usd for preset in crew.presets}
    baseline = found.pop("baseline-405b")
    assert baseline is not None
    assert all(usd is not None and usd < baseline for usd in found.values())
    assert found["local-first"] == 0.0
