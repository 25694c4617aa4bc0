"""Routers beside each other in front of one engine: what is asked, who answers, what it comes to, the whole of it."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from benchmarks import hybrid
from benchmarks.batch import Limits
from benchmarks.cloud import Cloud
from benchmarks.cloud_reply import Pace
from benchmarks.demo_stack import free_port
from benchmarks.drive.request import body_of
from benchmarks.drive.sample import Sample
from benchmarks.engine import Engine
from benchmarks.figures.promise import Promise
from benchmarks.price import Price
from benchmarks.rivals.capacity import highest
from benchmarks.rivals.contender import Contender, Door, Ground, Policy, litellm_config
from benchmarks.rivals.model import SMOKE, Size, bias, write_model
from benchmarks.rivals.outcome import Till, all_cloud_usd, best, judged, outcome_of
from benchmarks.rivals.serving import serving
from benchmarks.rivals.threshold import Place, Threshold
from benchmarks.rivals.trial import endpoint
from benchmarks.rivals.verb import setting_in
from benchmarks.rivals.window import Source, arrivals
from benchmarks.workload.arrival import Arrival, Prompt
from benchmarks.workload.trace import TraceKind

PROMISE = Promise({"ttft_s": 2.0, "tpot_s": 0.1}, 0.99)
PRICE = Price(0.15, 0.60)
NAMED = ("Spillway", 1.3, 2.0)
TEN_S, PER_S = 10, 10


def trace_in(folder: Path, seconds: int = TEN_S) -> Path:
    """Ten requests a second, each of 80 tokens and an answer of 8."""
    path = folder / "steady.csv"
    rows = "".join(f"{number / PER_S},80,8\n" for number in range(seconds * PER_S))
    path.write_text(f"at_s,input_tokens,output_tokens\n{rows}")
    return path


def source(folder: Path, **more: Any) -> Source:
    made = Source(trace_in(folder), TraceKind.AUTO, SMOKE, 2.0, 1000, 2.0, 0.0, 7)
    return replace(made, **more)


def sample(ttft_s: float, tpot_s: float = 0.01, tokens: int = 5, **more: Any) -> Sample:
    last_s = ttft_s + tpot_s * (tokens - 1)
    facts = {"first_s": ttft_s, "last_s": last_s, "completion_tokens": tokens, "expected_output_tokens": tokens}
    return Sample(0, 0.0, 0.0, last_s, 200, **(facts | more))


@pytest.mark.parametrize(("rate", "count"), [(4.0, 8), (10.0, 20), (25.0, 50)])
def test_a_stretch_has_as_many_requests_as_its_rate_wants(tmp_path: Path, rate: float, count: int) -> None:
    asked = arrivals(source(tmp_path), 0, rate, run=1)
    assert len(asked) == count
    assert all(0 <= each.at_s < 2.0 for each in asked)
    assert {(each.prompt.tokens, each.output_tokens) for each in asked} == {(40, 4)}


def test_a_lower_rate_takes_a_part_of_what_a_higher_one_takes(tmp_path: Path) -> None:
    few, many = ({each.at_s for each in arrivals(source(tmp_path), 0, rate, run=1)} for rate in (3.0, 7.0))
    assert few < many


def test_another_run_asks_at_the_same_moments_with_other_words(tmp_path: Path) -> None:
    one, other = (arrivals(source(tmp_path), 0, 5.0, run) for run in (1, 2))
    assert [each.at_s for each in one] == [each.at_s for each in other]
    assert not {each.prompt.content for each in one} & {each.prompt.content for each in other}


def test_a_trace_that_is_over_is_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no request in the 2 s after 10 s"):
        arrivals(source(tmp_path, start_s=10.0), 0, 5.0, run=1)


def test_no_router_can_learn_an_answers_length_from_max_tokens() -> None:
    place = endpoint(Door("http://127.0.0.1:9"), most_tokens=500)
    short, long = (body_of(Arrival(Prompt("Hi"), output_tokens=tokens), place) for tokens in (3, 300))
    assert short["max_tokens"] == long["max_tokens"] == 500
    assert "ignore_eos" not in long
    assert (long["min_tokens"], long["seed"]) == (300, 300)


def test_the_model_wants_to_end_more_than_to_speak_and_knows_both_tokens(tmp_path: Path) -> None:
    write_model(tmp_path / "model", Size(512, 3))
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert (config["hidden_size"], config["num_hidden_layers"]) == (512, 3)
    assert config["num_attention_heads"] * config["head_dim"] == 512
    wants = bias()
    assert max(wants, key=wants.__getitem__) == f"{config['eos_token_id']}"
    assert all(int(token) < config["vocab_size"] for token in wants)
    with pytest.raises(ValueError, match="multiple of 256"):
        write_model(tmp_path / "other", Size(300, 3))


def test_the_end_of_an_answer_is_no_token_of_it_and_a_wrong_length_is_an_error() -> None:
    assert judged(sample(1.0, completion_tokens=6)).completion_tokens == 5
    assert judged(sample(1.0)).error is None
    assert judged(sample(1.0, completion_tokens=9)).error == "wrong_length"
    assert judged(sample(1.0, completion_tokens=4)).error == "wrong_length"
    assert judged(sample(1.0, completion_tokens=1, error="cut")).error == "cut"


def test_an_outcome_by_hand() -> None:
    samples = [sample(1.0), sample(2.5), sample(1.0, tpot_s=0.2), sample(1.0, error="cut", message="it was cut")]
    metrics = (
        'spillway_ttft_error_seconds{target="local/big",quantile="0.5"} 0.25\n'
        'spillway_ttft_error_seconds{quantile="0.95",target="local/big"} 1.5\n'
        'spillway_ttft_error_seconds{target="cloud/stand-in",quantile="0.5"} 9\n'
    )
    found = outcome_of(NAMED, samples, PROMISE, Till(1, 0.5), 2.0, metrics)
    assert (found.kept_share, found.ttft_kept_share, found.tpot_kept_share) == (0.25, 0.5, 0.5)
    assert (found.bill_share, found.spilled_share) == (0.25, 0.25)
    assert (found.errors, found.said) == ({"cut": 1}, "it was cut")
    assert found.foretold_s == {"0.5": 0.25, "0.95": 1.5}
    assert outcome_of(NAMED, samples, PROMISE, Till(1, 0.5), 2.0).foretold_s == {}


def test_the_best_value_is_the_cheapest_that_keeps_the_promise_else_the_most_faithful() -> None:
    made = outcome_of(NAMED, [sample(1.0)], PROMISE, Till(0, 0.0), 1.0)
    broken, dear, cheap = (
        replace(made, contender=name, kept_share=kept, bill_share=bill)
        for name, kept, bill in (("broken", 0.98, 0.1), ("dear", 1.0, 0.4), ("cheap", 0.99, 0.3))
    )
    assert best([broken, dear, cheap], 0.99) is cheap
    assert best([broken, replace(broken, kept_share=0.5)], 0.99) is broken


def test_litellm_prefers_the_engine_and_falls_back_without_a_pause() -> None:
    ground = Ground("http://engine", "http://cloud", "key", PRICE, 2.0, Path(), 0.99)
    config: Any = litellm_config(7, ground, "sk-1")
    home, cloud = (each["litellm_params"] for each in config["model_list"])
    assert (home["api_base"], home["order"], home["max_parallel_requests"]) == ("http://engine/v1", 1, 7)
    assert (cloud["api_base"], cloud["order"]) == ("http://cloud/v1", 2)
    assert "max_parallel_requests" not in cloud
    assert len({each["model_name"] for each in config["model_list"]}) == 1
    assert config["router_settings"]["disable_cooldowns"]


@pytest.mark.parametrize("limit", [0.3, 1.0, 5.0])
def test_the_capacity_is_the_highest_rate_that_is_kept(limit: float) -> None:
    async def keeps(rate: float) -> bool:
        return rate <= limit

    found = asyncio.run(highest(keeps, 2.0))
    assert limit / 1.1 < found <= limit


@pytest.mark.parametrize(("kept", "words"), [(True, "at every rate"), (False, "at no rate")])
def test_a_promise_that_no_rate_decides_is_refused(kept: bool, words: str) -> None:
    async def keeps(_: float) -> bool:
        return kept

    with pytest.raises(ValueError, match=words):
        asyncio.run(highest(keeps, 2.0))


def test_a_server_that_ends_at_once_is_quoted(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "print('no weights'); raise SystemExit(3)"]
    url = f"http://127.0.0.1:{free_port()}/health"
    with (
        pytest.raises(ValueError, match="ended with status 3; it said: no weights"),
        serving(command, url, tmp_path / "log", {}, None),
    ):
        pass


def test_a_count_in_flight_sends_who_is_too_many_to_the_cloud() -> None:
    found = asyncio.run(three_at_once())
    assert [each["usage"]["completion_tokens"] for each in found] == [30, 30, 30]
    assert sorted(each["model"] for each in found) == ["big", "stand-in", "stand-in"]


async def three_at_once() -> Sequence[dict[str, Any]]:
    """At a count of one, in front of an engine that is slow and a cloud that is not."""
    engine = Engine(["big"], Limits(step_s=0.02), 64, lengths_by_seed=True)
    cloud = Cloud(Pace(ttft_s=0.0, tokens_per_s=1000.0, seeded=True), PRICE, {"sk-test": None}, ("stand-in",))
    async with served(engine.application()) as home_url, served(cloud.application()) as cloud_url:
        threshold = Threshold(1, Place(home_url, "big", "none"), Place(cloud_url, "stand-in", "sk-test"))
        async with served(threshold.application()) as url, ClientSession() as client:
            return await asyncio.gather(*(answer_of(client, url, tokens=30) for _ in range(3)))


@asynccontextmanager
async def served(application: web.Application) -> AsyncIterator[str]:
    async with TestServer(application) as server:
        yield str(server.make_url("")).rstrip("/")


async def answer_of(client: ClientSession, url: str, tokens: int) -> dict[str, Any]:
    body = {"model": "any", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 100, "seed": tokens}
    async with client.post(f"{url}/v1/chat/completions", json=body) as response:
        return dict(await response.json())


def options_of(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    hybrid.add_arguments(parser)
    return parser.parse_args(["--rivals", *words])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "needs --trace FILE"),
        (("--trace", "t.csv", "--url", "http://127.0.0.1:9"), "leave --url out"),
        (("--trace", "t.csv", "--rate", "3"), "leave --rate out"),
        (("--trace", "t.csv", "--capacity", "0"), "--capacity 0 must be above 0"),
        (("--trace", "t.csv", "--shrink", "0.5"), "it must be 1 or more"),
        (("--trace", "t.csv", "--loads", "1.3;1.8"), "write numbers with commas"),
        (("--trace", "t.csv", "--model-size", "big"), "write width and layers"),
        (("--trace", "t.csv", "--promise", "e2e_s=3"), "name one, such as ttft_s=2"),
        (("--trace", "t.csv", "--context", "9000", "--kv-tokens", "8000"), "does not fit into --kv-tokens 8000"),
    ],
)
def test_what_cannot_be_compared_is_a_sentence(words: Sequence[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        setting_in(options_of(*words))


def test_what_only_the_comparison_has_is_refused_without_it() -> None:
    options = options_of("--capacity", "3")
    options.rivals = False
    with pytest.raises(ValueError, match="--capacity belongs to --rivals"):
        hybrid.main(options)


def test_without_its_program_litellm_is_left_out() -> None:
    base = ("--trace", "t.csv", "--slots", "3,4", "--in-flight", "5")
    ours = (Contender(Policy.THRESHOLD, 5), Contender(Policy.SPILLWAY))
    assert tuple(setting_in(options_of(*base)).contenders) == ours
    tuned = tuple(Contender(Policy.LITELLM, slots) for slots in (3, 4))
    assert tuple(setting_in(options_of(*base, "--litellm", "litellm")).contenders) == (*tuned, *ours)


def test_routers_are_compared_by_the_same_load_and_each_bill_is_the_clouds_own(tmp_path: Path) -> None:
    out = tmp_path / "rivals.json"
    few = (
        "--window-s",
        "1.5",
        "--warm-s",
        "0.3",
        "--capacity",
        "10",
        "--loads",
        "1.4",
        "--in-flight",
        "1",
        "--shrink",
        "2",
    )
    fake = ("--engine", "fake", "--engine-options", "--step-ms 20")
    path = str(trace_in(tmp_path))
    hybrid.main(options_of("--trace", path, *few, *fake, "--promise", "ttft_s=20,share=0.5", "--json", str(out)))
    found = json.loads(out.read_text())
    count, ours = found["chosen"]
    assert (count["contender"], ours["contender"]) == ("in flight < 1", "Spillway")
    assert [each["requests"] for each in (count, ours)] == [21, 21]
    assert [each["errors"] for each in (count, ours)] == [{}, {}]
    # One at home at a time is too few for this load, and the engine has room for far more.
    assert count["spilled_share"] > 0.2 > ours["spilled_share"]
    assert 0 < count["bill_share"] < 1
    asked = arrivals(source(tmp_path, seconds=1.5), 0, 14.0, run=1)
    assert count["usd"] / count["bill_share"] == pytest.approx(all_cloud_usd(asked, PRICE), rel=0.1)
