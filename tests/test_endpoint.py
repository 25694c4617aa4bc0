"""The endpoint as clients see it: the real router as a process, asked with OpenAI's own SDK and with bare HTTP."""

from __future__ import annotations

import json
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionToolParam

from tests.routers import HELLO, KEY, TIERS, Router, asked, cloud_table, post, running_router, until
from tests.stand_ins import StandIn


def test_the_model_list_has_models_tiers_tasks_and_auto(client: openai.OpenAI) -> None:
    names = [model.id for model in client.models.list()]
    assert names[0] == "tiny"
    assert {"auto", "smart-router", "tier/bulk", "tier/standard", "tier/premium", "task/coding"} <= set(names)


def test_an_answer_says_where_it_ran_and_why(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model="tiny", messages=HELLO, max_tokens=4)
    assert raw.parse().choices[0].message.content
    assert raw.headers["x-spillway-target"] == "local/tiny"
    assert raw.headers["x-spillway-model"] == "tiny"
    assert raw.headers["x-spillway-tier"] == "standard"
    assert raw.headers["x-spillway-reason"] == "pinned"
    assert raw.headers["x-spillway-attempts"] == "1"
    assert raw.headers["x-spillway-usd"] == "0"
    assert raw.headers["x-request-id"].startswith("req-")


def test_a_stream_arrives_whole_and_hides_the_usage_nobody_asked_for(client: openai.OpenAI) -> None:
    chunks = list(client.chat.completions.create(model="auto", messages=HELLO, max_tokens=5, stream=True))
    assert chunks[-1].choices[0].finish_reason == "length"
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)
    assert len("".join(chunk.choices[0].delta.content or "" for chunk in chunks).split()) == 5


@pytest.mark.parametrize("model", ["tiny", "tier/premium"])
def test_a_stream_tells_its_usage_to_a_client_that_asks(client: openai.OpenAI, model: str) -> None:
    stream = client.chat.completions.create(
        model=model, messages=HELLO, max_tokens=5, stream=True, stream_options={"include_usage": True}
    )
    last = list(stream)[-1]
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.completion_tokens == 5


@pytest.mark.parametrize("model", ["tiny", "tier/premium"])
def test_plain_completions_work_at_both_places(client: openai.OpenAI, model: str) -> None:
    assert client.completions.create(model=model, prompt="The dam", max_tokens=3).choices[0].text
    pieces = [each.choices[0].text for each in client.completions.create(model=model, prompt="The dam", stream=True)]
    assert "".join(pieces)


def test_a_cloud_answer_says_what_it_cost(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model="tier/premium", messages=HELLO, max_tokens=8)
    usage = raw.parse().usage
    assert raw.headers["x-spillway-target"] == "cloud/stand-in"
    assert raw.headers["x-spillway-reason"] == "tier"
    assert usage is not None
    cost = (usage.prompt_tokens * 0.15 + usage.completion_tokens * 0.60) / 1e6
    assert float(raw.headers["x-spillway-usd"]) == pytest.approx(cost, abs=1e-8)


@pytest.mark.parametrize(
    ("model", "headers", "body", "target", "reason"),
    [
        pytest.param("task/coding", {}, {}, "cloud/stand-in", "task", id="a task picks its tier"),
        pytest.param(
            "auto", {"x-spillway-tier": "premium"}, {}, "cloud/stand-in", "tier", id="a header picks the tier"
        ),
        pytest.param("auto", {}, {"metadata": {"tier": "premium"}}, "cloud/stand-in", "tier", id="metadata does too"),
        pytest.param(
            "auto",
            {"x-spillway-tier": "bulk"},
            {"metadata": {"tier": "premium"}},
            "local/tiny",
            "tier",
            id="header wins",
        ),
        pytest.param(
            "tier/premium",
            {"x-spillway-privacy": "local-only"},
            {},
            "local/tiny",
            "privacy",
            id="local-only stays here",
        ),
        pytest.param(
            "tier/premium", {"x-spillway-max-usd": "0.0000001"}, {}, "local/tiny", "budget", id="too dear stays here"
        ),
        pytest.param("smart-router", {}, {}, "local/tiny", "tier", id="smart-router is auto"),
    ],
)
def test_hints_decide_the_place(
    router: Router, model: str, headers: dict[str, str], body: dict[str, Any], target: str, reason: str
) -> None:
    status, got, _ = post(router, asked(model, **body), **headers)
    assert (status, got["x-spillway-target"], got["x-spillway-reason"]) == (200, target, reason)


@pytest.mark.parametrize(
    ("body", "headers", "status", "code", "said"),
    [
        pytest.param(b"{nonsense", {}, 400, "invalid_json", "not JSON", id="a body that is not JSON"),
        pytest.param(b"[1]", {}, 400, "invalid_json", "JSON object", id="a body that is no object"),
        pytest.param(b'{"model": "tiny"}', {}, 400, "invalid_value", "messages: is missing", id="no messages"),
        pytest.param(b'{"messages": [{"role": "user"}]}', {}, 400, "invalid_value", "model: is missing", id="no model"),
        pytest.param(asked(messages=[]), {}, 400, "invalid_value", "messages", id="empty messages"),
        pytest.param(asked(messages=["hi"]), {}, 400, "invalid_value", "messages.0", id="a message that is text"),
        pytest.param(asked(stream="perhaps"), {}, 400, "invalid_value", "stream", id="a flag that is no flag"),
        pytest.param(asked(max_tokens=-1), {}, 400, "invalid_value", "max_tokens", id="negative max_tokens"),
        pytest.param(asked(temperature=9), {}, 400, "invalid_value", "temperature", id="temperature out of range"),
        pytest.param(asked("gpt-9"), {}, 404, "model_not_found", "tiny", id="an unknown model"),
        pytest.param(asked("tier/gold"), {}, 404, "model_not_found", "bulk, premium, standard", id="an unknown tier"),
        pytest.param(asked("task/juggling"), {}, 404, "model_not_found", "coding", id="an unknown task"),
        pytest.param(
            asked(),
            {"x-spillway-deadline-ms": "soon"},
            400,
            "invalid_hint",
            "deadline-ms",
            id="a hint that is no number",
        ),
        pytest.param(
            asked(), {"x-spillway-privacy": "please"}, 400, "invalid_hint", "local-only", id="an unknown privacy"
        ),
        pytest.param(b"x" * 20001, {}, 413, "body_too_large", "20000", id="a body over the limit"),
    ],
)
def test_bad_input_gets_a_clear_error(
    router: Router, body: bytes, headers: dict[str, str], status: int, code: str, said: str
) -> None:
    got, _, answer = post(router, body, **headers)
    assert (got, answer["error"]["code"]) == (status, code)
    assert said in answer["error"]["message"]


def test_a_prompt_too_long_for_every_target_states_the_sizes(router: Router) -> None:
    long = [{"role": "user", "content": "water " * 1000}]
    status, _, answer = post(router, asked(messages=long), x_spillway_privacy="local-only")
    assert (status, answer["error"]["code"]) == (400, "context_length_exceeded")
    assert "512" in answer["error"]["message"]


def test_a_prompt_too_long_for_the_engine_goes_where_it_fits(router: Router) -> None:
    long = [{"role": "user", "content": "water " * 1000}]
    status, headers, _ = post(router, asked(messages=long))
    assert (status, headers["x-spillway-target"]) == (200, "cloud/stand-in")


def test_an_unknown_path_and_a_wrong_method_get_the_envelope_too(router: Router) -> None:
    assert post(router, b"{}", "/v1/nothing")[0] == 404
    assert post(router, b"{}", "/v1/models")[2]["error"]["code"] == "unknown_url"


def test_with_keys_only_health_is_open(tiny_engine: StandIn, tmp_path: Path) -> None:
    config = TIERS + '[endpoint]\nkeys_env = "APP_KEYS"\n'
    with running_router(tmp_path, config, {"tiny": tiny_engine.url}, {"APP_KEYS": f"other, {KEY}"}) as router:
        assert post(router, asked())[0] == 401
        assert post(router, asked(), authorization="Bearer wrong")[0] == 401
        assert post(router, asked(), authorization=f"Bearer {KEY}")[0] == 200
        assert router.get("/healthz") == {"status": "alive"}


def test_a_cloud_without_a_key_is_shown_as_off_and_nothing_is_sent_there(
    tiny_engine: StandIn, fast_cloud: StandIn, tmp_path: Path
) -> None:
    before = fast_cloud.stats()["requests"]
    config, environment = TIERS + cloud_table(fast_cloud.url) + "optional = true\n", {"STAND_IN_KEY": ""}
    with running_router(tmp_path, config, {"tiny": tiny_engine.url}, environment) as router:
        assert "STAND_IN_KEY" in router.get("/readyz")["targets"]["cloud/stand-in"]
        assert router.get("/spillway/status")["clouds"][0]["state"] == "off"
        _, headers, _ = post(router, asked("tier/premium"))
        assert headers["x-spillway-target"] == "local/tiny"
        assert headers["x-spillway-reason"] == "fallback:off"
    assert fast_cloud.stats()["requests"] == before


def test_status_decisions_and_metrics_tell_of_a_request(router: Router) -> None:
    post(router, asked("tier/premium"), x_request_id="find-me")
    newest = router.get("/spillway/decisions")["decisions"][0]
    assert (newest["request_id"], newest["target"], newest["reason"]) == ("find-me", "cloud/stand-in", "tier")
    assert router.get("/spillway/status")["spend"]["today_usd"] > 0
    with urllib.request.urlopen(router.url + "/metrics", timeout=10) as response:
        text = response.read().decode()
    assert 'spillway_requests_total{reason="tier",status="200",target="cloud/stand-in",tier="premium"}' in text
    assert "spillway_ttft_seconds_bucket" in text


def test_a_deadline_that_passes_is_answered_in_time(router: Router, tiny_engine: StandIn) -> None:
    tiny_engine.switch("slow_first_token", seconds=2.0)
    hints = {"x_spillway_deadline_ms": "300", "x_spillway_privacy": "local-only"}
    status, _, answer = post(router, asked(stream=True), **hints)
    assert (status, answer["error"]["code"]) == (504, "deadline_exceeded")


@pytest.fixture(scope="module")
def apart(tiny_engine: StandIn, fast_cloud: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Router]:
    """A router whose budget these tests change, and whose cloud knows tools."""
    config = TIERS + cloud_table(fast_cloud.url) + 'capabilities = ["chat", "completion", "tools"]\n'
    with running_router(tmp_path_factory.mktemp("apart"), config, {"tiny": tiny_engine.url}) as running:
        yield running


def spend(router: Router) -> dict[str, float]:
    return dict(router.get("/spillway/status")["spend"])


def allow(router: Router, usd_per_day: float) -> None:
    """An edit of its stack.toml, obeyed."""
    path, budget = Path(router.get("/spillway/status")["config"]["path"]), f"{usd_per_day:.9f}"
    path.write_text(path.read_text().partition("[limits]")[0] + f"[limits]\ncloud_usd_per_day = {budget}\n")
    until(lambda: spend(router)["cloud_usd_per_day"] == float(budget))


def test_a_budget_that_is_used_up_keeps_requests_here(apart: Router) -> None:
    allow(apart, 1e-9)
    _, headers, _ = post(apart, asked("tier/premium"))
    assert (headers["x-spillway-target"], headers["x-spillway-reason"]) == ("local/tiny", "budget")


def test_so_does_one_of_an_hour_while_the_day_has_plenty(apart: Router) -> None:
    path = Path(apart.get("/spillway/status")["config"]["path"])
    limits = f"[limits]\ncloud_usd_per_hour = {1e-9:.9f}\ncloud_usd_per_month = 50\n"
    path.write_text(path.read_text().partition("[limits]")[0] + limits)
    until(lambda: spend(apart)["cloud_usd_per_hour"] == 1e-9)
    _, headers, _ = post(apart, asked("tier/premium"))
    assert (headers["x-spillway-target"], headers["x-spillway-reason"]) == ("local/tiny", "budget")
    assert (spend(apart)["cloud_usd_per_day"], spend(apart)["cloud_usd_per_month"]) == (10.0, 50.0)


def test_a_budget_holds_however_many_ask_at_once(apart: Router) -> None:
    each_usd = (len(HELLO[0]["role"] + str(HELLO[0]["content"])) / 1.5 * 0.15 + 4 * 0.60) / 1e6
    before_usd = spend(apart)["today_usd"]
    allow(apart, before_usd + each_usd * 3.5)
    with ThreadPoolExecutor(16) as users:
        answers = list(users.map(lambda _: post(apart, asked("tier/premium")), range(16)))
    spent_usd = spend(apart)["today_usd"] - before_usd
    reasons = Counter(headers["x-spillway-reason"] for status, headers, _ in answers if status == 200)
    assert reasons["tier"] >= 1
    assert reasons["tier"] + reasons["budget"] == 16
    assert spent_usd <= each_usd * 3.5


def test_money_that_is_spent_is_told_and_lowers_only_promises_that_give_way(apart: Router) -> None:
    allow(apart, 10.0)
    pacing = apart.get("/spillway/status")["spend"]["pacing"]
    assert (pacing["price_factor"], pacing["short"], pacing["stretch"]) == (1.0, "", {"standard": 1.0, "premium": 1.0})
    _, headers, _ = post(apart, asked("tier/premium"))
    assert headers["x-spillway-target"] == "cloud/stand-in"
    allow(apart, 1e-9)
    pacing = apart.get("/spillway/status")["spend"]["pacing"]
    assert (pacing["price_factor"], pacing["usd_now"]) == (None, {"standard": 0.0, "premium": 0.0})
    assert pacing["short"].endswith("all stay here; a first token is promised to standard 8 s instead of 2 s")
    with urllib.request.urlopen(f"{apart.url}/metrics", timeout=10) as response:
        page = response.read().decode()
    assert "\nspillway_budget_price_factor +Inf\n" in page
    assert '\nspillway_tier_stretch{tier="standard"} 4.0\n' in page
    with urllib.request.urlopen(_route(apart, "tier/standard"), timeout=10) as response:
        assert json.load(response)["ttft_target_s"] == 8.0


def _route(router: Router, model: str) -> urllib.request.Request:
    return urllib.request.Request(f"{router.url}/spillway/route", asked(model))


@pytest.mark.parametrize("stream", [True, False], ids=["streaming", "not streaming"])
def test_a_call_with_tools_goes_where_tools_are_known(apart: Router, stream: bool) -> None:
    allow(apart, 10.0)
    tool: ChatCompletionToolParam = {
        "type": "function",
        "function": {"name": "look", "parameters": {"type": "object", "properties": {}}},
    }
    with openai.OpenAI(base_url=f"{apart.url}/v1", api_key="none", max_retries=0) as client:
        raw = client.chat.completions.with_raw_response.create(
            model="tiny",
            messages=HELLO,
            max_tokens=4,
            stream=stream,
            tools=[tool],
        )
        assert raw.headers["x-spillway-target"] == "cloud/stand-in"
