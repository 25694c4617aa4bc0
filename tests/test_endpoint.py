"""The endpoint as clients see it: the real router as a process, between OpenAI's own SDK and stand-ins for engines
and clouds that misbehave on purpose."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from tests.routers import KEY, TIERS, Router, cloud_table, running_router
from tests.stand_ins import StandIn, standing_in

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Where does the water go?"}]
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def cloud() -> Iterator[StandIn]:
    with standing_in("cloud", "--ttft-s", "0.01", "--tokens-per-s", "2000") as running:
        yield running


@pytest.fixture(scope="module")
def engine() -> Iterator[StandIn]:
    with standing_in("engine", "--model", "tiny", "--context", "512", "--step-ms", "5") as running:
        yield running


@pytest.fixture(scope="module")
def router(cloud: StandIn, engine: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Router]:
    limits = "[limits]\nbody_bytes = 20000\n"
    config = TIERS + cloud_table(cloud.url) + limits
    with running_router(tmp_path_factory.mktemp("router"), config, {"tiny": engine.url}) as running:
        yield running


@pytest.fixture
def healed(router: Router) -> Router:
    """The shared router once no target rests any more from the test before."""
    until(lambda: not any(each["resting"] for each in router.get("/spillway/status")["targets"]))
    return router


@pytest.fixture
def client(router: Router) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{router.url}/v1", api_key="none", max_retries=0, timeout=20) as made:
        yield made


def switch(stand_in: StandIn, mode: str, **more: Any) -> None:
    body = json.dumps({"mode": mode, "for_requests": 1} | more).encode()
    urllib.request.urlopen(f"{stand_in.url}/_switch", data=body, timeout=10).close()


def stats(stand_in: StandIn) -> dict[str, Any]:
    with urllib.request.urlopen(f"{stand_in.url}/_stats", timeout=10) as response:
        return dict(json.load(response))


def post(router: Router, body: bytes, path: str = CHAT, **headers: str) -> tuple[int, dict[str, str], Any]:
    request = urllib.request.Request(router.url + path, body, {k.replace("_", "-"): v for k, v in headers.items()})
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, dict(response.headers), json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), json.load(error)


def asked(model: str = "tiny", **more: Any) -> bytes:
    return json.dumps({"model": model, "messages": HELLO, "max_tokens": 4} | more).encode()


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
        pytest.param(b'{"messages": []}', {}, 400, "invalid_value", "model: is missing", id="no model"),
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


@pytest.mark.parametrize("stream", [True, False], ids=["streaming", "not streaming"])
@pytest.mark.parametrize(
    ("mode", "cause"),
    [("503", "503"), ("500", "500"), ("abort", "abort")],
    ids=["a full engine", "a broken engine", "an engine that shuts down"],
)
def test_a_fault_before_the_first_token_is_answered_elsewhere(
    healed: Router, client: openai.OpenAI, engine: StandIn, mode: str, cause: str, stream: bool
) -> None:
    switch(engine, mode)
    raw = client.chat.completions.with_raw_response.create(model="tiny", messages=HELLO, max_tokens=4, stream=stream)
    raw.http_response.read()
    assert raw.headers["x-spillway-target"] == "cloud/stand-in"
    assert raw.headers["x-spillway-reason"] == f"fallback:{cause}"
    assert raw.headers["x-spillway-attempts"] == "2"


@pytest.mark.parametrize("mode", ["429", "500", "401"])
def test_a_cloud_that_refuses_is_followed_by_the_local_engine(healed: Router, cloud: StandIn, mode: str) -> None:
    before = healed.get("/spillway/status")["spend"]["today_usd"]
    switch(cloud, mode)
    status, headers, _ = post(healed, asked("tier/premium"))
    assert (status, headers["x-spillway-target"]) == (200, "local/tiny")
    assert headers["x-spillway-reason"] == f"fallback:{mode}"
    assert healed.get("/spillway/status")["spend"]["today_usd"] == before


def test_when_nobody_can_answer_the_client_hears_who_failed_and_when_to_come_back(
    engine: StandIn, tmp_path: Path
) -> None:
    with running_router(tmp_path, TIERS, {"tiny": engine.url}) as router:
        switch(engine, "503")
        status, headers, answer = post(router, asked())
    assert (status, answer["error"]["code"]) == (429, "saturated")
    assert int(headers["retry-after"]) >= 1
    assert "local/tiny" in answer["error"]["message"]


def stream_of(router: Router, model: str) -> str:
    request = urllib.request.Request(router.url + CHAT, asked(model, stream=True, max_tokens=50))
    with urllib.request.urlopen(request, timeout=20) as response:
        return str(response.read().decode())


@pytest.mark.parametrize(
    ("model", "mode"),
    [("tiny", "error_in_stream"), ("tier/premium", "cut"), ("tier/premium", "error_event")],
    ids=["an engine that fails", "a cloud that hangs up", "a cloud that reports an error"],
)
def test_a_stream_that_breaks_ends_with_an_error_event_and_never_looks_whole(
    healed: Router, client: openai.OpenAI, engine: StandIn, cloud: StandIn, model: str, mode: str
) -> None:
    faulty = engine if model == "tiny" else cloud
    switch(faulty, mode)
    text = stream_of(healed, model)
    last = json.loads(text.strip().split("\n\n")[-1].removeprefix("data: "))
    assert last["error"]["code"] == "stream_broken"
    assert "[DONE]" not in text
    switch(faulty, mode)
    with pytest.raises(openai.APIError, match="middle of the answer"):
        list(client.chat.completions.create(model=model, messages=HELLO, max_tokens=50, stream=True))


def test_an_engine_that_dies_mid_stream_ends_the_stream_with_an_error_event(tmp_path: Path) -> None:
    with (
        standing_in("engine", "--model", "tiny") as engine,
        running_router(tmp_path, TIERS, {"tiny": engine.url}) as router,
    ):
        switch(engine, "die_after_tokens", after=3)
        text = stream_of(router, "tiny")
    assert "stream_broken" in text.split("\n\n")[-2]
    assert "[DONE]" not in text


@pytest.mark.parametrize("stream", [True, False], ids=["in the middle of a stream", "before an answer"])
def test_a_client_that_leaves_frees_the_engine(engine: StandIn, router: Router, stream: bool) -> None:
    before = stats(engine)["aborted"]
    parts = urlsplit(router.url)
    connection = HTTPConnection(parts.hostname or "", parts.port)
    connection.request("POST", CHAT, asked(stream=stream, max_tokens=400))
    if stream:
        connection.getresponse().read(10)
    else:
        until(lambda: stats(engine)["running"] > 0)
    connection.close()
    until(lambda: stats(engine)["aborted"] == before + 1)
    until(lambda: router.target("local/tiny")["in_flight"]["requests"] == 0)


def until(holds: Callable[[], bool]) -> None:
    """Ask until it holds; pytest's own time limit and the clients' bound it."""
    while not holds():
        pass


def test_with_keys_only_health_is_open(engine: StandIn, tmp_path: Path) -> None:
    config = TIERS + '[endpoint]\nkeys_env = "APP_KEYS"\n'
    with running_router(tmp_path, config, {"tiny": engine.url}, {"APP_KEYS": f"other, {KEY}"}) as router:
        assert post(router, asked())[0] == 401
        assert post(router, asked(), authorization="Bearer wrong")[0] == 401
        assert post(router, asked(), authorization=f"Bearer {KEY}")[0] == 200
        assert router.get("/healthz") == {"status": "alive"}


def test_a_cloud_without_a_key_is_shown_as_off_and_nothing_is_sent_there(
    engine: StandIn, cloud: StandIn, tmp_path: Path
) -> None:
    before = stats(cloud)["requests"]
    environment = {"STAND_IN_KEY": ""}
    with running_router(tmp_path, TIERS + cloud_table(cloud.url), {"tiny": engine.url}, environment) as router:
        assert "STAND_IN_KEY" in router.get("/readyz")["targets"]["cloud/stand-in"]
        assert router.get("/spillway/status")["clouds"][0]["state"] == "off"
        _, headers, _ = post(router, asked("tier/premium"))
        assert headers["x-spillway-target"] == "local/tiny"
        assert headers["x-spillway-reason"] == "fallback:off"
    assert stats(cloud)["requests"] == before


def test_status_decisions_and_metrics_tell_of_a_request(router: Router) -> None:
    post(router, asked("tier/premium"), x_request_id="find-me")
    newest = router.get("/spillway/decisions")["decisions"][0]
    assert (newest["request_id"], newest["target"], newest["reason"]) == ("find-me", "cloud/stand-in", "tier")
    assert router.get("/spillway/status")["spend"]["today_usd"] > 0
    with urllib.request.urlopen(router.url + "/metrics", timeout=10) as response:
        text = response.read().decode()
    assert 'spillway_requests_total{reason="tier",status="200",target="cloud/stand-in",tier="premium"}' in text
    assert "spillway_ttft_seconds_bucket" in text


def test_a_budget_that_is_used_up_keeps_requests_here(engine: StandIn, cloud: StandIn, tmp_path: Path) -> None:
    config = TIERS + cloud_table(cloud.url) + "[limits]\ncloud_usd_per_day = 0.0\n"
    with running_router(tmp_path, config, {"tiny": engine.url}) as router:
        _, headers, _ = post(router, asked("tier/premium"))
        assert (headers["x-spillway-target"], headers["x-spillway-reason"]) == ("local/tiny", "budget")


def test_a_deadline_that_passes_is_answered_in_time(engine: StandIn, tmp_path: Path) -> None:
    with running_router(tmp_path, TIERS, {"tiny": engine.url}) as router:
        switch(engine, "hang")
        status, _, answer = post(router, asked(stream=True), x_spillway_deadline_ms="300")
    assert (status, answer["error"]["code"]) == (504, "no_target")
