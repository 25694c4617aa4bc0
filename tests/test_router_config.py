"""The router's tables of stack.toml: what is accepted, and that every refusal names file, table and key."""

from __future__ import annotations

import math
import re
import tomllib
from pathlib import Path

import pytest

from engines.snapshot import ModelView
from ground.prices import PRICES
from router.gaps import gaps
from router.spilling.periods import Dollars
from router.tables.endpoint import Endpoint, is_loopback
from router.tables.keys import read_keys
from router.tables.limits import Limits
from router.tables.read import load_rules, rules_of
from router.tables.table import ConfigError

SHIPPED = Path(__file__).parents[1] / "compose" / "stack.toml"
LIKE_TOML = re.compile(r"# (\[{1,2}[a-z]|[a-z_.]+ = )")
TIER = "[tiers.standard]\nttft_target_s = 2.0\n"
CLOUD = '[clouds.nano]\nmodel = "openai/gpt-5-nano"\nkey_env = "NANO_KEY"\n'


def refusal(folder: Path, text: str) -> str:
    path = folder / "stack.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_rules(path)
    message = str(caught.value)
    assert all(line.startswith(f"{path}: ") for line in message.splitlines())
    return message.replace(f"{path}: ", "")


def test_the_shipped_file_loads() -> None:
    rules = load_rules(SHIPPED)
    assert (rules.endpoint.host, rules.endpoint.port) == ("127.0.0.1", 4000)
    assert {name: tier.may_spill for name, tier in rules.tiers.items()} == {
        "bulk": False,
        "standard": True,
        "premium": True,
    }
    assert rules.limits.default_tier in rules.tiers


def test_one_tier_is_enough_and_the_rest_has_defaults(tmp_path: Path) -> None:
    path = tmp_path / "stack.toml"
    path.write_text(TIER)
    rules = load_rules(path)
    assert rules.tiers["standard"].order == ("local", "cloud")
    assert rules.limits.body_bytes == 20 * 1024 * 1024
    assert not rules.clouds


TIMES_S = {
    "receive_s": 30.0,
    "max_wait_s": 60.0,
    "connect_s": 2.0,
    "first_token_s": 120.0,
    "silence_s": 120.0,
    "whole_answer_s": 600.0,
    "drain_s": 10.0,
}


def test_the_shipped_file_shows_every_time_limit_with_its_default() -> None:
    shown = tomllib.loads(SHIPPED.read_text())["limits"]
    assert {key: value for key, value in shown.items() if key.endswith("_s")} == TIMES_S
    assert {key: getattr(Limits(), key) for key in TIMES_S} == TIMES_S


@pytest.mark.parametrize("key", TIMES_S)
@pytest.mark.parametrize("value", ["0", "-1.0", "nan", "inf", '"2"', "true"])
def test_a_time_limit_is_a_positive_number_of_seconds(tmp_path: Path, key: str, value: str) -> None:
    assert f"[limits]: {key}: " in refusal(tmp_path, TIER + f"[limits]\n{key} = {value}")


@pytest.mark.parametrize("workers", [1, 3, 64])
def test_a_router_may_have_up_to_64_workers(tmp_path: Path, workers: int) -> None:
    path = tmp_path / "stack.toml"
    path.write_text(f"[endpoint]\nworkers = {workers}\n" + TIER)
    assert load_rules(path).endpoint.workers == workers
    path.write_text(TIER)
    assert load_rules(path).endpoint.workers == 1


@pytest.mark.parametrize("workers", ["0", "65", "-1", '"auto"', "1.5"])
def test_any_other_number_of_workers_is_refused(tmp_path: Path, workers: str) -> None:
    assert "[endpoint]: workers: " in refusal(tmp_path, f"[endpoint]\nworkers = {workers}\n" + TIER)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        pytest.param(TIER + "may_spil = true", "[tiers.standard]: unknown key 'may_spil'; did you mean 'may_spill'?"),
        pytest.param("[endpoint]\nprt = 1\n" + TIER, "[endpoint]: unknown key 'prt'; did you mean 'port'?"),
        pytest.param(CLOUD + "modes = 1\n" + TIER, "[clouds.nano]: unknown key 'modes'; did you mean 'model'?"),
        pytest.param(TIER + "[limit]\nbody_bytes = 1", "unknown key 'limit'; did you mean 'limits'?"),
        pytest.param(
            TIER + "[jobs.j.tasks.t]\nprompt_token = 1", "[jobs.j.tasks.t]: unknown key 'prompt_token'; did you mean"
        ),
        pytest.param(TIER + "[zzz]\n", "unknown key 'zzz'; known: active_preset, endpoint, tiers, tasks, presets"),
    ],
    ids=[
        "a key of a tier",
        "a key of the endpoint",
        "a key of a cloud",
        "a key of a job",
        "a table",
        "nothing is near",
    ],
)
def test_an_unknown_name_is_refused_with_what_was_meant(tmp_path: Path, text: str, sentence: str) -> None:
    assert sentence in refusal(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("", ("tiers", "missing"), id="no tiers"),
        pytest.param("[tiers]\n", ("tiers", "is empty"), id="an empty table of tiers"),
        pytest.param(
            "[tiers.standard]\n", ("[tiers.standard]", "ttft_target_s", "missing"), id="a tier with no promise"
        ),
        pytest.param("tiers = 5", ("tiers",), id="a number where a table belongs"),
        pytest.param(
            '[endpoint]\nport = "web"\n' + TIER, ("[endpoint]", "port", "whole number"), id="a word as a port"
        ),
        pytest.param(
            "[endpoint]\nport = 70000\n" + TIER, ("[endpoint]", "port", "65535"), id="a port that is too large"
        ),
        pytest.param(
            '[tiers.standard]\nttft_target_s = "2 s"', ("[tiers.standard]", "ttft_target_s"), id="a text as time"
        ),
        pytest.param(
            "[tiers.standard]\nttft_target_s = -1.0", ("[tiers.standard]", "ttft_target_s"), id="a negative time"
        ),
        pytest.param("[tiers.standard]\nttft_target_s = nan", ("[tiers.standard]", "ttft_target_s"), id="not a number"),
        pytest.param(
            TIER + "[limits]\ncloud_usd_per_day = -1", ("[limits]", "cloud_usd_per_day"), id="a negative budget"
        ),
        pytest.param(
            TIER + 'order = ["lcal"]', ("[tiers.standard]", "order", "lcal"), id="a place that does not exist"
        ),
        pytest.param(TIER + "order = []", ("[tiers.standard]", "order", "is empty"), id="an empty order"),
        pytest.param(TIER + "order = [1]", ("[tiers.standard", "order", "text in quotes"), id="a number as a place"),
        pytest.param(TIER + 'order = "local"', ("[tiers.standard]", "order: must be a list"), id="one place, no list"),
        pytest.param(TIER + 'strategy = "cheapest"', ("strategy: must be a table",), id="a name where a table belongs"),
        pytest.param(
            TIER + 'order = ["cloud/nono"]\n' + CLOUD, ("[tiers.standard]", "nono", "nano"), id="a cloud not there"
        ),
        pytest.param(TIER + '[tasks.t]\ntier = "bulk"', ("[tasks.t]", "tier", "bulk", "standard"), id="a task's tier"),
        pytest.param(
            '[tiers.bulk]\nttft_target_s = 2.0\n[limits]\ndefault_tier = "standard"',
            ("[limits]", "default_tier", "standard", "bulk"),
            id="a default tier that is missing",
        ),
        pytest.param(
            TIER + '[clouds.nano]\nmodel = "m/x"', ("[clouds.nano]", "key_env", "[providers.m]"), id="no key named"
        ),
        pytest.param(
            TIER + '[clouds.nano]\nmodel = "x"\nkey_env = "K"',
            ("[clouds.nano]", "model: must be like", "provider/model"),
            id="a model of no provider",
        ),
        pytest.param(
            '[tiers."a b"]\nttft_target_s = 2.0', ("a b", "must begin with a letter or digit"), id="a name with a space"
        ),
        pytest.param(TIER + "broken", ("not valid TOML",), id="not TOML"),
    ],
)
def test_a_bad_value_is_refused_with_table_and_key(tmp_path: Path, text: str, words: tuple[str, ...]) -> None:
    message = refusal(tmp_path, text)
    assert [word for word in words if word not in message] == []


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (
            "cloud_usd_per_hour = 20.0",
            "cloud_usd_per_hour: 20 dollars an hour never count beside cloud_usd_per_day = 10, ",
        ),
        ("cloud_usd_per_hour = 2\ncloud_usd_per_day = 1", "an hour never count beside cloud_usd_per_day = 1; lower it"),
        ("cloud_usd_per_month = 5", "cloud_usd_per_month: with 5 dollars a month, cloud_usd_per_day = 10, its default"),
        ("cloud_usd_per_day = 9\ncloud_usd_per_month = 5", "cloud_usd_per_day = 9 never counts; lower the day's"),
        (
            "cloud_usd_per_hour = 7\ncloud_usd_per_day = 9\ncloud_usd_per_month = 5",
            "cloud_usd_per_hour: 7 dollars an hour never count beside cloud_usd_per_month = 5",
        ),
        ("cloud_usd_per_month = -1", "[limits]: cloud_usd_per_month: must be greater than or equal to 0"),
        ("cloud_usd_per_hour = nan", "[limits]: cloud_usd_per_hour: "),
        ("cloud_usd_per_hour = true", "[limits]: cloud_usd_per_hour: must be a number"),
        ("cloud_usd_per_day = '5'", "[limits]: cloud_usd_per_day: must be a number"),
        ("cloud_usd_per_week = 5", "[limits]: unknown key 'cloud_usd_per_week'; did you mean 'cloud_usd_per_"),
    ],
)
def test_budgets_that_say_two_things_or_none_are_refused(tmp_path: Path, limits: str, words: str) -> None:
    assert words in refusal(tmp_path, TIER + f"[limits]\n{limits}\n")


def test_budgets_of_all_three_periods_may_be_given(tmp_path: Path) -> None:
    path = tmp_path / "stack.toml"
    path.write_text(TIER + "[limits]\ncloud_usd_per_hour = 1\ncloud_usd_per_day = 1.0\ncloud_usd_per_month = 30.0\n")
    assert load_rules(path).limits.caps == Dollars(1.0, 1.0, 30.0)
    assert Limits().caps == Dollars(math.inf, 10.0, math.inf)


def test_a_promise_that_nobody_can_keep_is_refused(tmp_path: Path) -> None:
    message = refusal(tmp_path, "[tiers.quick]\nttft_target_s = 0.001\n[limits]\ndefault_tier = 'quick'\n")
    assert "[tiers.quick]: ttft_target_s: no engine and no cloud gives a first token within 0.001 s" in message


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    message = refusal(tmp_path, "[endpoint]\nport = -1\nprt = 1\n" + TIER)
    assert len(message.splitlines()) == 2


@pytest.mark.parametrize("name", ["nowhere.toml", "."], ids=["a missing file", "a folder"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be read") as caught:
        load_rules(tmp_path / name)
    assert str(tmp_path) in str(caught.value)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "stack.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_rules(path)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "gpu-box"])
def test_an_open_host_needs_keys(tmp_path: Path, host: str) -> None:
    message = refusal(tmp_path, f'[endpoint]\nhost = "{host}"\n' + TIER)
    assert "[endpoint]" in message
    assert "keys_env" in message
    with_keys = tmp_path / "with_keys.toml"
    with_keys.write_text(f'[endpoint]\nhost = "{host}"\nkeys_env = "KEYS"\n' + TIER)
    assert load_rules(with_keys).endpoint.host == host


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("localhost", True), ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("0.0.0.0", False), ("", False)],
)
def test_loopback_is_told_by_address(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_keys_are_separated_by_commas() -> None:
    assert read_keys(Endpoint(keys_env="KEYS"), {"KEYS": " a, b ,,"}).accepted == {"a", "b"}
    assert read_keys(Endpoint(), {"KEYS": "a"}).accepted == frozenset()


@pytest.mark.parametrize("environment", [{}, {"KEYS": ""}, {"KEYS": " , "}], ids=["unset", "empty", "only commas"])
def test_a_named_but_empty_variable_never_opens_the_endpoint(environment: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"\[endpoint\] keys_env.*KEYS"):
        read_keys(Endpoint(keys_env="KEYS"), environment)


def uncommented(text: str) -> str:
    return "\n".join(line.removeprefix("# ") if LIKE_TOML.match(line) else line for line in text.splitlines()) + "\n"


def test_what_the_shipped_file_only_shows_can_be_used_as_it_stands() -> None:
    shown = SHIPPED.read_text()
    for table in ("presets", "providers", "chains", "shadows", "splits", "jobs"):
        assert f"# [{table}." in shown
    before, rest = shown.split("# Where applications find", 1)
    engines, after = rest.split("# A tier is a promise", 1)
    rules = rules_of(f"{uncommented(before)}#{engines}#{uncommented(after)}".encode(), "stack.toml")
    assert (rules.active_preset, list(rules.chains), list(rules.jobs)) == ("thrifty", ["smoke"], ["article"])
    assert rules.tiers["premium"].fallbacks == ("nano",)
    models = [ModelView("smoke", 4096, ("chat", "completion", "json_schema"), None)]
    assert gaps(rules, models, PRICES, {"OPENAI_API_KEY": "sk", "GROQ_KEY_A": "sk", "GROQ_KEY_B": "sk"}) == []
