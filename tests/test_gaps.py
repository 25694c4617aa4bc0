"""Holes in what stack.toml promises, each named with its table and key: models, places, keys, prices, capabilities."""

from __future__ import annotations

import pytest

from engines.snapshot import ModelView
from ground.prices import Listed
from router.gaps import gaps
from router.tables.read import rules_of
from router.tables.rules import Rules

TIERS = """
[tiers.standard]
ttft_target_s = 2.0
[tiers.home]
ttft_target_s = 2.0
order = ["local"]
[tiers.away]
ttft_target_s = 2.0
order = ["cloud"]
"""
PLACES = """
[models.llama-8b]
size = "small"
[clouds.deep]
model = "nebius/deep"
key_env = "DEEP_KEY"
serves = ["deepseek-v3"]
size = "large"
"""
PRICES = {"nebius/deep": Listed(1.0, 2.0, 64_000, frozenset({"chat", "tools"}))}
KEYS = {"DEEP_KEY": "sk"}
LLAMA = ModelView("llama-8b", 8192, ("chat", "completion", "json_schema"), None)


def rules(text: str, places: str = PLACES) -> Rules:
    return rules_of((text + TIERS + places).encode(), "stack.toml")


def found(
    text: str = "",
    places: str = PLACES,
    environment: dict[str, str] = KEYS,
    prices: dict[str, Listed] = PRICES,
    is_open: bool = False,
) -> list[str]:
    """`text` stands first, for keys that belong to no table."""
    return gaps(rules(text, places), (LLAMA,), prices, environment, is_open)


WHOLE = """
active_preset = "day"
[presets.day]
default = ["llama-8b", "deepseek-v3"]
tasks.think = ["deepseek-v3", "llama-8b"]
[presets.night]
default = ["deepseek-v3", "llama-8b"]
[tasks.think]
tier = "standard"
[tasks.sort]
tier = "home"
[tasks.write]
tier = "standard"
size = "large"
needs = ["tools"]
[chains.deepseek-v3]
fallbacks = ["llama-8b"]
[[routes]]
name = "long"
prompt_tokens_from = 8000
model = "deepseek-v3"
[shadows.trial]
percent = 5
model = "deepseek-v3"
"""


def test_a_stack_without_holes_has_none() -> None:
    assert found(WHOLE) == []
    assert found() == []


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("[presets.p]\ndefault = 'lama-8b'\n", "[presets.p]: default"),
        ("[presets.p.tasks]\nt = ['llama-8b', 'lama-8b']\n[tasks.t]\ntier = 'standard'\n", "[presets.p.tasks]: t"),
        ("[tasks.t]\ntier = 'standard'\nmodel = 'lama-8b'\n", "[tasks.t]: model"),
        ("[chains.lama-8b]\nfallbacks = ['llama-8b']\n", "[chains.lama-8b]"),
        ("[chains.llama-8b]\nfallbacks = ['lama-8b']\n", "[chains.llama-8b]: fallbacks"),
        ("[chains.llama-8b]\nemergency = ['lama-8b']\n", "[chains.llama-8b]: emergency"),
        ("[tiers.t]\nttft_target_s = 1\nfallbacks = ['lama-8b']\n", "[tiers.t]: fallbacks"),
        ("[tiers.t]\nttft_target_s = 1\nemergency = ['lama-8b']\n", "[tiers.t]: emergency"),
        ("[[routes]]\nname = 'r'\nmodel = 'lama-8b'\n", '[[routes]] "r": model'),
        ("[[routes]]\nname = 'r'\ntier = 'home'\nmodels = ['lama-8b']\n", '[[routes]] "r": models'),
        ("[shadows.s]\npercent = 1\nmodel = 'lama-8b'\n", "[shadows.s]: model"),
        ("[splits.s]\npercent = 1\nmodel = 'lama-8b'\n", "[splits.s]: model"),
    ],
    ids=lambda text: text.split("\n")[0] if text.startswith("[") and "\n" in text else "",
)
def test_a_model_that_runs_nowhere_is_named_where_it_is_wanted(text: str, where: str) -> None:
    sentence = f'{where}: the model "lama-8b" runs nowhere; did you mean "llama-8b"?'
    assert [gap for gap in found(text) if gap.startswith(sentence)]


def test_what_is_nowhere_near_is_told_with_what_there_is() -> None:
    (gap,) = found("[tasks.t]\ntier = 'standard'\nmodel = 'gpt'\n")
    assert "there are: deepseek-v3, llama-8b." in gap
    assert 'serves = ["gpt"] in one of [clouds]' in gap


@pytest.mark.parametrize(
    ("places", "is_open"),
    [
        pytest.param(PLACES, True, id="engines by their URLs"),
        pytest.param(PLACES + "[external.studio]\nurl = 'http://127.0.0.1:1'\n", False, id="a server that names none"),
        pytest.param("", False, id="a file that does not say what runs"),
    ],
)
def test_where_engines_serve_models_that_no_table_names_none_is_missing(places: str, is_open: bool) -> None:
    text = "[tasks.t]\ntier = 'standard'\nmodel = 'gpt'\n"
    assert [gap for gap in found(text, places, is_open=is_open) if "gpt" in gap] == []
    assert [gap for gap in found(text) if "gpt" in gap] != []


def test_models_of_servers_of_others_have_a_place() -> None:
    places = "[external.studio]\nurl = 'http://127.0.0.1:1'\nmodels = { gpt = 'theirs' }\n"
    assert found("[tasks.t]\ntier = 'standard'\nmodel = 'gpt'\n", PLACES + places) == []
    assert found("[tasks.t]\ntier = 'standard'\nmodel = 'theirs'\n", PLACES + places) != []


@pytest.mark.parametrize(
    ("order", "is_there"),
    [
        ('["local"]', True),
        ('["cloud"]', True),
        ('["local/llama-8b"]', True),
        ('["local/llama-8b-2"]', True),
        ('["local/llama-80b"]', False),
        ('["local/llama-8b-x"]', False),
    ],
)
def test_a_tier_needs_a_target(order: str, is_there: bool) -> None:
    said = found(f"[tiers.t]\nttft_target_s = 1\norder = {order}\n")
    assert [gap for gap in said if gap.startswith("[tiers.t]: order: there is no target")] == said
    assert bool(said) is not is_there


def test_each_engine_that_an_order_names_exists() -> None:
    order = 'order = ["local/llama-80b", "cloud/deep"]\n'
    said = found(f"[tiers.t]\nttft_target_s = 1\n{order}[[routes]]\nname = 'r'\n{order}")
    hint = '"local/llama-80b" does not exist; did you mean "local/llama-8b"?'
    assert said == [f"[tiers.t]: order: {hint}", f'[[routes]] "r": order: {hint}']
    # Of engines that no table names nobody can tell here.
    assert found(f"[tiers.t]\nttft_target_s = 1\n{order}", is_open=True) == []


def test_a_tier_of_clouds_without_any_cloud_is_a_hole() -> None:
    said = found("", "[models.llama-8b]\n")
    assert said == [
        "[tiers.away]: order: there is no target at cloud; add a model or a cloud that is, or name another place"
    ]


THINK = "[tasks.think]\ntier = '{tier}'\n"


@pytest.mark.parametrize(
    ("preset", "tier", "words"),
    [
        pytest.param("tasks.think = 'deepseek-v3'", "home", "[presets.p.tasks]: think: deepseek-v3", id="a cloud"),
        pytest.param("tasks.think = 'llama-8b'", "away", "[presets.p.tasks]: think: llama-8b", id="a local one"),
        pytest.param(
            "tasks.think = ['llama-8b', 'deepseek-v3']",
            "home",
            "[presets.p.tasks]: think: deepseek-v3",
            id="one of two",
        ),
        pytest.param("default = 'deepseek-v3'", "home", "[presets.p]: default: deepseek-v3", id="the default"),
    ],
)
def test_a_model_outside_the_order_of_its_tasks_tier_is_a_hole(preset: str, tier: str, words: str) -> None:
    (gap,) = found(f"[presets.p]\n{preset}\n" + THINK.format(tier=tier))
    assert gap.startswith(f"{words} has no place in the order of the tier {tier} of the task think")
    assert f"it runs at {'cloud/deep' if tier == 'home' else 'local/llama-8b'}. Give the task another tier" in gap


def test_every_preset_is_judged_and_not_only_the_active_one() -> None:
    text = "active_preset = 'a'\n[presets.a]\ndefault = 'llama-8b'\n[presets.b.tasks]\nthink = 'deepseek-v3'\n"
    (gap,) = found(text + THINK.format(tier="home"))
    assert gap.startswith("[presets.b.tasks]: think: deepseek-v3 has no place")


def test_of_a_default_it_is_enough_that_one_can_or_who_stands_in() -> None:
    assert found("[presets.p]\ndefault = ['deepseek-v3', 'llama-8b']\n" + THINK.format(tier="home")) == []
    chain = "[chains.deepseek-v3]\nfallbacks = ['llama-8b']\n"
    assert found("[presets.p]\ndefault = 'deepseek-v3'\n" + chain + THINK.format(tier="home")) == []


@pytest.mark.parametrize(
    ("size", "tier", "is_hole"),
    [("small", "home", False), ("large", "away", False), ("large", "home", True), ("frontier", "standard", True)],
)
def test_a_size_that_no_model_in_reach_has_is_a_hole(size: str, tier: str, is_hole: bool) -> None:
    said = found(THINK.format(tier=tier) + f"size = '{size}'\n")
    assert [
        gap for gap in said if gap.startswith(f'[tasks.think]: size: a model of the size "{size}" has no place')
    ] == said
    assert bool(said) is is_hole


@pytest.mark.parametrize(
    ("needs", "tier", "can"),
    [
        ("tools", "away", True),
        ("vision", "away", False),
        ("json_schema", "home", True),
        ("tools", "home", False),
        ("tools", "standard", True),
        ("vision", "standard", False),
    ],
)
def test_capabilities_must_suffice_for_the_task(needs: str, tier: str, can: bool) -> None:
    said = found(THINK.format(tier=tier) + f"needs = ['{needs}']\n")
    assert bool(said) is not can
    assert all(f"the task think needs {needs}, and " in gap and "Name a model that can" in gap for gap in said)


def test_what_a_local_model_can_is_not_judged_before_anybody_knows() -> None:
    text = THINK.format(tier="home") + "needs = ['vision']\n"
    assert gaps(rules(text), (), PRICES, KEYS) == []
    assert len(gaps(rules(text), (LLAMA,), PRICES, KEYS)) == 1


@pytest.mark.parametrize(
    ("table", "environment", "gap"),
    [
        pytest.param("", {}, "[clouds.deep]: key_env: the variable DEEP_KEY is not set", id="not set"),
        pytest.param("", {"DEEP_KEY": ""}, "[clouds.deep]: key_env: the variable DEEP_KEY is not set", id="empty"),
        pytest.param("", {"DEEP_KEY": "a\nb"}, "or holds what no header can", id="two lines"),
        pytest.param("optional = true\n", {}, None, id="optional"),
        pytest.param("off = true\n", {}, None, id="off"),
    ],
)
def test_a_key_that_is_not_set_is_a_hole_unless_a_word_allows_it(
    table: str, environment: dict[str, str], gap: str | None
) -> None:
    said = found("", PLACES + table, environment)
    assert (said == []) if gap is None else (len(said) == 1 and gap in said[0])


def test_every_key_of_a_pool_must_be_set_and_is_told_of_once() -> None:
    places = "[clouds.one]\nmodel = 'nebius/deep'\n[clouds.two]\nmodel = 'nebius/deep'\n[models.llama-8b]\n"
    pool = "[providers.nebius]\nkey_env = ['A', 'B', 'C']\n"
    said = found("", places + pool, {"A": "sk"})
    assert [gap.partition(" is not set")[0] for gap in said] == [
        "[providers.nebius]: key_env: the variable B",
        "[providers.nebius]: key_env: the variable C",
    ]
    assert found("", places + pool + "optional = true\n", {"A": "sk"}) == []


def test_a_provider_that_nobody_uses_needs_no_key() -> None:
    assert found("[providers.groq]\nkey_env = 'NOWHERE'\n") == []


def test_a_price_that_nobody_knows_is_a_hole_and_never_zero() -> None:
    (gap,) = found(prices={})
    assert gap.startswith("[clouds.deep]: the price of nebius/deep is not known; set input_usd_per_mtok")
    said = "input_usd_per_mtok = 0\noutput_usd_per_mtok = 0\n"
    assert found("", PLACES + said, prices={}) == []
    assert found("", PLACES + "off = true\n", prices={}) == []


def test_under_the_active_preset_a_task_needs_a_place_that_is_on() -> None:
    text = "active_preset = 'p'\n[presets.q.tasks]\nthink = 'llama-8b'\n[presets.p.tasks]\nthink = 'deepseek-v3'\n"
    text += THINK.format(tier="standard")
    assert found(text, PLACES + "optional = true\n") == []
    (gap,) = found(text, PLACES + "optional = true\n", {})
    assert gap.startswith(
        "[tasks.think]: has no place that is on: cloud/deep is off (the variable DEEP_KEY is not set)"
    )
    assert found(text.replace("active_preset = 'p'", "active_preset = 'q'"), PLACES + "optional = true\n", {}) == []
    chain = "[chains.deepseek-v3]\nfallbacks = ['llama-8b']\n"
    assert found(text + chain, PLACES + "optional = true\n", {}) == []
