"""The demo without vLLM: what it makes of recorded requests, its stack file, and its crowd against a fake engine."""

from __future__ import annotations

import io
import json
import random
import subprocess
import sys
import tomllib
import urllib.request
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.crowd import LOOK_S, Crowd, Phase, Shot, User, mix, question
from benchmarks.demo import STACK_FILE, Run, as_json, plan
from benchmarks.demo_stack import price_in, with_addresses
from benchmarks.demo_view import Screen, print_verdict
from benchmarks.pressure import Pressure, pressure_in
from benchmarks.price import Price
from benchmarks.stream import Sample, session
from benchmarks.verdict import BACK_COUNT, Verdict, judge
from engines.config import read_config
from router.tables.read import parse_rules
from tests.stand_ins import standing_in

PHASES = plan(30.0, 64, 60.0)
PRICE = Price(0.15, 0.60)
STANDARD, BULK, PREMIUM = User("standard"), User("bulk", local_only=True), User("premium")
LOCAL = Sample(200, 1.0, 0.1, 50, 100, "stop", "local/smoke", "tier", "standard")
SPILL = replace(LOCAL, ttft_s=0.4, target="cloud/stand-in", reason="spill:kv")
FULL = Sample(429, 0.01, reason="spill:kv", retry_after_s=1.0, error="full")


def shot(phase: int, user: User, sample: Sample, started_s: float = 0.0, refusals: int = 0) -> Shot:
    return Shot(PHASES[phase].name, user, started_s, sample, refusals, float(refusals))


# A run as it should be: calm at home, spills under pressure, at home again in the end.
GOOD = (
    shot(0, STANDARD, LOCAL),
    shot(1, STANDARD, LOCAL, 8.0),
    shot(1, STANDARD, SPILL, 9.0),
    shot(1, BULK, replace(LOCAL, reason="privacy"), 9.0, refusals=2),
    shot(1, BULK, FULL, 10.0, refusals=3),
    shot(1, PREMIUM, replace(SPILL, reason="tier"), 9.0),
    shot(2, STANDARD, SPILL, 22.0),
    *(shot(2, STANDARD, LOCAL, 23.5 + 0.5 * each) for each in range(BACK_COUNT)),
)


def printed(verdict: Verdict) -> str:
    console = Console(width=120, file=io.StringIO(), record=True)
    print_verdict(console, verdict, Pressure(14, 9, 0.97, 3), 0.00012)
    return console.export_text()


def test_a_good_run_shows_all_three_facts_with_their_figures() -> None:
    verdict = judge(GOOD, PHASES, PRICE)
    assert verdict.shown
    assert [fact.figures for fact in verdict.facts] == [
        "1 of 2 standard requests under pressure",
        "0 of 2 in the cloud, 1 answered, first token p95 2.10 s, 5 times 429",
        "9 of 10 standard requests in a row ran local again 1.0 s after the pressure; 50% of them under it",
    ]
    once = PRICE.usd(50, 100)
    assert verdict.spent_usd == pytest.approx(3 * once)
    assert verdict.all_cloud_usd == pytest.approx((6 + BACK_COUNT) * once)


@pytest.mark.parametrize(
    ("more", "fact"),
    [
        pytest.param([shot(1, BULK, SPILL, 9.0)], 1, id="a local-only request in the cloud"),
        pytest.param([shot(2, STANDARD, SPILL, 26.1 + each) for each in (0, 1)], 2, id="never nine of ten at home"),
        pytest.param([shot(1, STANDARD, LOCAL, 9.0)] * 20, 2, id="nobody was away"),
    ],
)
def test_what_is_wrong_is_seen(more: list[Shot], fact: int) -> None:
    verdict = judge([*GOOD, *more], PHASES, PRICE)
    assert not verdict.shown
    assert [each.shown for each in verdict.facts].index(False) == fact


@pytest.mark.parametrize(
    ("left_out", "fact"),
    [
        pytest.param(SPILL, 0, id="no spill"),
        pytest.param(replace(LOCAL, reason="privacy"), 1, id="no local-only request answered"),
        pytest.param(LOCAL, 2, id="no local request at the end"),
    ],
)
def test_what_did_not_happen_is_not_shown(left_out: Sample, fact: int) -> None:
    verdict = judge([each for each in GOOD if each.sample != left_out], PHASES, PRICE)
    assert not verdict.facts[fact].shown


def test_the_tables_name_targets_reasons_dollars_and_failures() -> None:
    broken = shot(1, STANDARD, Sample(502, 0.1, error="nobody answered", target="local/smoke"))
    text = printed(judge([*GOOD, broken], PHASES, PRICE))
    for words in ("local/smoke", "cloud/stand-in", "spill:kv", "refused (429)", "calm again", "97%", "0.00020"):
        assert words in text
    assert "yes  local-only requests never left" in text
    assert "1 requests failed" in text
    assert "local/smoke: nobody answered" in text


def test_the_json_file_holds_the_verdict() -> None:
    verdict = judge(GOOD, PHASES, PRICE)
    written = json.loads(json.dumps(as_json(Run(PHASES, GOOD, Pressure(), None), verdict)))
    assert written["shown"] is True
    assert written["splits"][1]["phase"]["streams"] == 64
    assert sum(row["requests"] for row in written["rows"]) == len(GOOD)


def test_the_shipped_stack_file_is_valid_for_engines_and_router() -> None:
    (model,) = read_config(STACK_FILE).models
    tables = tomllib.loads(STACK_FILE.read_text())
    rules = parse_rules(tables, str(STACK_FILE))
    assert rules.clouds["stand-in"].serves == (model,)
    assert price_in(tables) == PRICE


def test_the_copy_gets_its_own_addresses() -> None:
    tables = tomllib.loads(with_addresses(STACK_FILE.read_text(), 4999, "http://127.0.0.1:5999/v1"))
    assert tables["endpoint"]["port"] == 4999
    assert tables["clouds"]["stand-in"]["base_url"] == "http://127.0.0.1:5999/v1"


@pytest.mark.parametrize("text", ["", "[endpoint]\nport = 1\n"], ids=["an empty file", "no stand-in"])
def test_a_stack_file_without_a_place_for_the_addresses_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="needs a line"):
        with_addresses(text, 4999, "http://127.0.0.1:5999/v1")


@pytest.mark.parametrize(
    "options", [["--seconds", "1"], ["--streams", "8"], ["--patience", "-1"], ["--config", "/nowhere.toml"]]
)
def test_bad_options_get_a_sentence_and_start_nothing(options: list[str]) -> None:
    command = [sys.executable, "-m", "benchmarks", "demo", *options]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith("benchmarks demo: ")
    assert ended.stdout == ""


@pytest.mark.parametrize("streams", [8, 20, 64])
def test_the_mix_keeps_its_shares_whatever_the_number(streams: int) -> None:
    counted = Counter(user.tier for user in mix(streams))
    for tier, share in (("standard", 0.60), ("bulk", 0.25), ("premium", 0.15)):
        assert abs(counted[tier] - share * streams) < 1
    assert all(user.local_only == (user.tier == "bulk") for user in mix(streams))


def test_questions_differ_and_can_be_repeated() -> None:
    asked = [question(random.Random(3)) for _ in range(2)]
    assert asked[0] == asked[1]
    rng = random.Random(3)
    assert len({question(rng) for _ in range(100)}) > 90


@pytest.mark.parametrize(
    ("status", "seen"),
    [
        pytest.param({}, None, id="no status yet"),
        pytest.param({"engines": [{"name": "smoke", "load": None}]}, None, id="an engine that loads"),
        pytest.param(
            {
                "engines": [
                    {
                        "load": {
                            "running": 3,
                            "waiting": 2,
                            "kv_used_fraction": 0.5,
                            "preemptions_total": 1,
                            "age_s": 0.1,
                        }
                    }
                ]
            },
            Pressure(3, 2, 0.5, 1),
            id="an engine at work",
        ),
    ],
)
def test_pressure_is_read_from_the_status(status: dict[str, object], seen: Pressure | None) -> None:
    assert pressure_in(status) == seen


def test_a_peak_takes_the_higher_of_each_value() -> None:
    assert Pressure(3, 0, 0.9, 1).peak(Pressure(2, 5, 0.1, 4)) == Pressure(3, 5, 0.9, 4)


async def test_a_crowd_asks_in_a_closed_loop_and_shows_where_it_is() -> None:
    with standing_in("engine", "--step-ms", "1", "--answer-tokens", "8") as engine:
        async with session(0) as client:
            crowd = Crowd(client, f"{engine.url}/v1", "tiny")
            screen = Screen(crowd)
            await crowd.run([Phase("calm", 0.5, 2), Phase("pressure", 0.7, 12)], screen.begin)
    console = Console(width=100, file=io.StringIO(), record=True)
    console.print(screen)
    text = console.export_text()
    assert {each.sample.error for each in crowd.shots} == {None}
    assert Counter(each.phase for each in crowd.shots)["pressure"] > 12
    assert crowd.in_flight == 0
    assert "pressure" in text
    assert "0 in flight" in text


@pytest.mark.parametrize("seen_after", [3, 1000], ids=["until it is seen", "no longer than its patience"])
async def test_a_phase_goes_on_until_what_it_is_to_show_is_seen(seen_after: int) -> None:
    asked: list[tuple[str, ...]] = []

    def is_seen(taken: Sequence[Phase]) -> bool:
        asked.append(tuple(phase.name for phase in taken))
        assert crowd.is_late == (len(asked) > 1)
        return len(asked) == seen_after

    with standing_in("engine", "--step-ms", "1", "--answer-tokens", "8") as engine:
        async with session(0) as client:
            crowd = Crowd(client, f"{engine.url}/v1", "tiny")
            phases = (Phase("pressure", 0.1, 2), Phase("calm again", 0.1, 2, patience_s=1.0))
            _, again = await crowd.run(phases, lambda _: None, is_seen)
    assert set(asked) == {("pressure", "calm again")}
    assert again.seconds >= min(1.0, (seen_after - 1) * LOOK_S)
    assert not crowd.is_late


async def test_a_user_waits_as_long_as_a_429_says_and_tries_again() -> None:
    with standing_in("cloud", "--ttft-s", "0", "--tokens-per-s", "5000") as cloud:
        refuse = json.dumps({"mode": "429", "for_requests": 1, "seconds": 0.2}).encode()
        urllib.request.urlopen(f"{cloud.url}/_switch", data=refuse, timeout=10).close()
        async with session(0, key="sk-test") as client:
            crowd = Crowd(client, f"{cloud.url}/v1", "stand-in")
            await crowd.run([Phase("calm", 2.0, 1)], lambda _: None)
    first = crowd.shots[0]
    assert (first.refusals, first.sample.error) == (1, None)
    # The header is in whole seconds, rounded up.
    assert first.waited_s >= 1.0
    assert all(each.refusals == 0 for each in crowd.shots[1:])


def test_a_stack_file_without_a_price_is_refused(tmp_path: Path) -> None:
    stack = tmp_path / "demo.toml"
    stack.write_text("[endpoint]\nport = 1\n")
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks", "demo", "--config", str(stack)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert "input_usd_per_mtok" in ended.stderr
