"""What one table of stack.toml says wrongly of another: refused with table, key and how to mend it."""

from __future__ import annotations

import pytest

from router.tables.read import rules_of
from router.tables.table import ConfigError

STACK = """
[tiers.standard]
ttft_target_s = 2.0
[tasks.think]
tier = "standard"
[clouds.nano]
model = "openai/gpt-5-nano"
key_env = "NANO_KEY"
"""


def refused(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        rules_of((STACK + text).encode(), "stack.toml")
    return str(caught.value)


def test_the_stack_itself_is_fine() -> None:
    assert rules_of(STACK.encode(), "stack.toml").tasks["think"].tier == "standard"


def test_all_that_a_stack_can_say_is_fine_together() -> None:
    text = """
[presets.day]
about = "what counts by day"
default = "llama-8b"
tasks.think = ["deepseek-v3", "llama-8b"]
[providers.gemini]
key_env = ["A", "B"]
requests_per_minute = 10
tokens_per_minute = 10000
requests_per_day = 100
concurrent = 4
[clouds.flash]
model = "gemini/gemini-2.5-flash"
[chains.llama-8b]
fallbacks = ["deepseek-v3"]
emergency = ["llama-405b"]
[chains.deepseek-v3]
fallbacks = ["llama-405b"]
[[routes]]
name = "night"
tasks = ["think"]
tiers = ["standard"]
between = "22:00-06:00"
zone = "Europe/Berlin"
order = ["cloud/nano", "local"]
strategy = { cheapest = 1.0, least_busy = 0.0 }
[shadows.trial]
tasks = ["think"]
percent = 5
model = "llama-405b"
[splits.half]
percent = 50
model = "llama-405b"
[jobs.seo.tasks.think]
prompt_tokens = 50000
"""
    rules = rules_of(('active_preset = "day"\n' + STACK + text).encode(), "stack.toml")
    assert rules.preset is not None
    assert rules.preset.default == ("llama-8b",)
    assert rules.providers["gemini"].key_env == ("A", "B")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        pytest.param(
            "[limits]\ndefault_tier = 'gone'", '[limits]: default_tier: "gone" does not exist; there are: standard'
        ),
        pytest.param("[tasks.t]\ntier = 'gone'", '[tasks.t]: tier: "gone" does not exist; there are: standard'),
        pytest.param(
            "[tiers.t]\nttft_target_s = 1\norder = ['cloud/big']",
            '[tiers.t]: order: "big" does not exist; there are: nano',
        ),
        pytest.param(
            "[[routes]]\nname = 'r'\norder = ['cloud/big']",
            '[[routes]] "r": order: "big" does not exist; there are: nano',
        ),
        pytest.param("[presets.p.tasks]\nthnk = 'm'", '[presets.p.tasks]: "thnk" does not exist; there are: think'),
        pytest.param(
            "[jobs.j.tasks.thnk]\nprompt_tokens = 1", '[jobs.j.tasks]: "thnk" does not exist; there are: think'
        ),
        pytest.param(
            "[[routes]]\nname = 'r'\ntasks = ['thnk']\ntier = 'standard'",
            '[[routes]] "r": tasks: "thnk" does not exist; there are: think',
        ),
        pytest.param(
            "[[routes]]\nname = 'r'\ntier = 'gone'", '[[routes]] "r": tier: "gone" does not exist; there are: standard'
        ),
        pytest.param(
            "[shadows.s]\npercent = 5\nmodel = 'm'\ntiers = ['gone']",
            '[shadows.s]: tiers: "gone" does not exist; there are: standard',
        ),
        pytest.param(
            "[splits.s]\npercent = 5\nmodel = 'm'\ntasks = ['thnk']",
            '[splits.s]: tasks: "thnk" does not exist; there are: think',
        ),
        pytest.param(
            "[clouds.x]\nmodel = 'groq/m'\nprovider = 'grok'", '[clouds.x]: provider: "grok" does not exist; there are'
        ),
    ],
    ids=lambda text: text.split("\n")[0] if "\n" in text else "",
)
def test_a_name_that_nothing_has_is_refused_with_those_that_exist(text: str, sentence: str) -> None:
    assert f"stack.toml: {sentence}" in refused(text)


def test_an_active_preset_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigError, match='active_preset: "night" does not exist; there are: day'):
        rules_of(f'active_preset = "night"\n{STACK}[presets.day]\n'.encode(), "stack.toml")


@pytest.mark.parametrize(
    ("chains", "loop"),
    [
        pytest.param({"a": "fallbacks = ['a']"}, "a -> a", id="to itself"),
        pytest.param({"a": "fallbacks = ['b']", "b": "fallbacks = ['a']"}, "a -> b -> a", id="of two"),
        pytest.param({"a": "fallbacks = ['b']", "b": "emergency = ['a']"}, "a -> b -> a", id="by an emergency"),
        pytest.param(
            {"a": "fallbacks = ['x', 'b']", "b": "fallbacks = ['c']", "c": "fallbacks = ['y', 'a']"},
            "a -> b -> c -> a",
            id="of three",
        ),
        pytest.param(
            {"z": "fallbacks = ['a']", "a": "fallbacks = ['b']", "b": "fallbacks = ['a']"}, "a -> b -> a", id="inside"
        ),
    ],
)
def test_a_loop_in_fallbacks_is_refused_and_named_once(chains: dict[str, str], loop: str) -> None:
    said = refused("".join(f"[chains.{model}]\n{table}\n" for model, table in chains.items()))
    assert said.count("a loop") == 1
    assert f"a loop: {loop}; take one of these steps away" in said


def test_two_ways_to_the_same_model_are_no_loop() -> None:
    text = "[chains.a]\nfallbacks = ['b', 'c']\n[chains.b]\nfallbacks = ['d']\n[chains.c]\nfallbacks = ['d']\n"
    assert rules_of((STACK + text).encode(), "stack.toml").chains["a"].fallbacks == ("b", "c")


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("[tiers.t]\nttft_target_s = 1\nstrategy = { cheapest = 0, affinity = 0 }", "[tiers.t]"),
        ("[tasks.t]\ntier = 'standard'\nstrategy = { cheapest = 0 }", "[tasks.t]"),
        ("[[routes]]\nname = 'r'\nstrategy = { cheapest = 0 }", '[[routes]] "r"'),
    ],
    ids=["of a tier", "of a task", "of a route"],
)
def test_weights_that_are_all_zero_are_refused(text: str, where: str) -> None:
    assert f"{where}: strategy: all weights are 0" in refused(text)


@pytest.mark.parametrize("weight", ["-1", "-0.5", "inf", "nan", '"much"'])
def test_a_weight_that_is_none_is_refused(weight: str) -> None:
    said = refused(f"[tiers.t]\nttft_target_s = 1\nstrategy = {{ cheapest = {weight} }}")
    assert "[tiers.t.strategy]: cheapest: " in said


def test_a_strategy_that_does_not_exist_is_refused_with_those_that_do() -> None:
    said = refused("[tiers.t]\nttft_target_s = 1\nstrategy = { cheap = 1 }")
    assert "[tiers.t.strategy" in said
    assert "cheapest" in said


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        pytest.param(
            "[providers.anthropic]\nkey_env = 'K'\ntokens_per_day = 1",
            "[providers.anthropic]: tokens_per_day: anthropic has no tokens_per_day; "
            "it has requests_per_minute, tokens_per_minute",
            id="of a provider",
        ),
        pytest.param(
            "[providers.deepseek]\nkey_env = 'K'\nrequests_per_minute = 1",
            "deepseek has no requests_per_minute; it bounds only how many run at once: concurrent",
            id="of a provider with no window at all",
        ),
        pytest.param(
            "[clouds.c]\nmodel = 'gemini/x'\nkey_env = 'K'\ntokens_per_day = 1",
            "[clouds.c]: tokens_per_day: gemini has no tokens_per_day",
            id="of a cloud with a key of its own",
        ),
        pytest.param(
            "[providers.work]\nkey_env = 'K'\nrequests_per_day = 1\n"
            "[clouds.c]\nmodel = 'anthropic/x'\nprovider = 'work'",
            "[providers.work]: requests_per_day: anthropic has no requests_per_day",
            id="of a provider by another name",
        ),
    ],
)
def test_a_window_that_the_provider_does_not_have_is_refused(text: str, sentence: str) -> None:
    assert sentence in refused(text)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("[providers.groq]\nkey_env = 'K'\ntokens_per_day = 1", id="one that it has"),
        pytest.param("[providers.deepseek]\nkey_env = 'K'\nconcurrent = 1", id="how many at once"),
        pytest.param("[providers.somebody]\nkey_env = 'K'\ntokens_per_day = 1", id="of a provider that nobody knows"),
        pytest.param(
            "[clouds.c]\nmodel = 'openai/x'\nkey_env = 'K'\nbase_url = 'http://127.0.0.1:9/v1'\nrequests_per_day = 1",
            id="of a server that only speaks the format of one",
        ),
    ],
)
def test_other_windows_are_taken(text: str) -> None:
    assert rules_of((STACK + text).encode(), "stack.toml").clouds["nano"].requests_per_day is None


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        pytest.param(
            "[clouds.c]\nmodel = 'groq/x'",
            "[clouds.c]: key_env is missing: name the variable that holds its key, "
            "or those of all its like in [providers.groq]",
            id="a cloud without a key",
        ),
        pytest.param(
            "[clouds.c]\nmodel = 'groq/x'\nkey_env = 'K'\nprovider = 'groq'",
            "has both provider and key_env",
            id="a cloud with two keys",
        ),
        pytest.param(
            "[tasks.t]\ntier = 'standard'\nneeds = ['json']", '[tasks.t]: needs: "json" does not exist', id="a need"
        ),
        pytest.param(
            "[[routes]]\nname = 'r'\ntier = 'standard'\nprompt_tokens_from = 8\nprompt_tokens_below = 8",
            '[[routes]] "r": no prompt has from 8 and below 8 tokens',
            id="a condition that never holds",
        ),
        pytest.param(
            "[[routes]]\nname = 'r'\ntier = 'standard'\n[[routes]]\nname = 'r'\nmodel = 'm'",
            'two are called "r"',
            id="two routes of one name",
        ),
        pytest.param(
            "[shadows.new]\npercent = 5\nmodel = 'm'\n[splits.new]\npercent = 5\nmodel = 'm'",
            "[shadows.new] and [splits.new] have the same name",
            id="a shadow and a split of one name",
        ),
        pytest.param(
            "[clouds.c]\nmodel = 'opnai/x'\nkey_env = 'K'",
            '[clouds.c]: model: "opnai" is no provider; did you mean "openai"?',
            id="a provider that is misspelt",
        ),
        pytest.param("[[routes]]\nname = 'r'", "changes nothing", id="a route that changes nothing"),
        pytest.param(
            "[providers.groq]\nkey_env = 'K'\nday_zone = 'Mars/Base'", '"Mars/Base" is no time zone', id="a time zone"
        ),
        pytest.param("[providers.groq]\nkey_env = []", "is empty; name at least one", id="an empty pool"),
        pytest.param(
            "[[routes]]\nname = 'r'\ntier = 'standard'\nbetween = '24:00-25:00'", "22:00-06:30", id="no time of a day"
        ),
        pytest.param("[shadows.s]\nmodel = 'm'\npercent = 101", "[shadows.s]: percent", id="more than all"),
    ],
)
def test_what_cannot_be_meant_is_refused(text: str, sentence: str) -> None:
    assert sentence in refused(text)
