"""What clients see when engines and clouds misbehave on purpose, and what engines see when clients leave."""

from __future__ import annotations

import json
import urllib.request
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import openai
import pytest

from tests.routers import CHAT, HELLO, TIERS, Router, asked, cloud_table, post, running_router, until
from tests.stand_ins import StandIn, standing_in


@pytest.mark.parametrize("stream", [True, False], ids=["streaming", "not streaming"])
@pytest.mark.parametrize(
    ("mode", "cause"),
    [("503", "503"), ("500", "500"), ("abort", "abort")],
    ids=["a full engine", "a broken engine", "an engine that shuts down"],
)
def test_a_fault_before_the_first_token_is_answered_elsewhere(
    router: Router, client: openai.OpenAI, tiny_engine: StandIn, mode: str, cause: str, stream: bool
) -> None:
    tiny_engine.switch(mode)
    raw = client.chat.completions.with_raw_response.create(model="tiny", messages=HELLO, max_tokens=4, stream=stream)
    raw.http_response.read()
    assert raw.headers["x-spillway-target"] == "cloud/stand-in"
    assert raw.headers["x-spillway-reason"] == f"fallback:{cause}"
    assert raw.headers["x-spillway-attempts"] == "2"


@pytest.mark.parametrize("mode", ["429", "500", "401"])
def test_a_cloud_that_refuses_is_followed_by_the_local_engine(router: Router, fast_cloud: StandIn, mode: str) -> None:
    before = router.get("/spillway/status")["spend"]["today_usd"]
    fast_cloud.switch(mode)
    status, headers, _ = post(router, asked("tier/premium"))
    assert (status, headers["x-spillway-target"]) == (200, "local/tiny")
    assert headers["x-spillway-reason"] == f"fallback:{mode}"
    assert router.get("/spillway/status")["spend"]["today_usd"] == before


def test_when_nobody_can_answer_the_client_hears_who_failed_and_when_to_come_back(
    tiny_engine: StandIn, tmp_path: Path
) -> None:
    with running_router(tmp_path, TIERS, {"tiny": tiny_engine.url}) as router:
        # It is asked once more, since there is nobody else.
        tiny_engine.switch("503", for_requests=2)
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
    router: Router, client: openai.OpenAI, tiny_engine: StandIn, fast_cloud: StandIn, model: str, mode: str
) -> None:
    faulty = tiny_engine if model == "tiny" else fast_cloud
    faulty.switch(mode)
    text = stream_of(router, model)
    last = json.loads(text.strip().split("\n\n")[-1].removeprefix("data: "))
    assert last["error"]["code"] == "stream_broken"
    assert "[DONE]" not in text
    faulty.switch(mode)
    with pytest.raises(openai.APIError, match="middle of the answer"):
        list(client.chat.completions.create(model=model, messages=HELLO, max_tokens=50, stream=True))


def test_an_engine_that_dies_mid_stream_ends_the_stream_with_an_error_event(tmp_path: Path) -> None:
    with (
        standing_in("engine", "--model", "tiny") as engine,
        running_router(tmp_path, TIERS, {"tiny": engine.url}) as router,
    ):
        engine.switch("die_after_tokens", after=3)
        text = stream_of(router, "tiny")
    assert "stream_broken" in text.split("\n\n")[-2]
    assert "[DONE]" not in text


@pytest.mark.parametrize("stream", [True, False], ids=["in the middle of a stream", "before an answer"])
def test_a_client_that_leaves_frees_the_engine(tiny_engine: StandIn, router: Router, stream: bool) -> None:
    before = tiny_engine.stats()["aborted"]
    parts = urlsplit(router.url)
    connection = HTTPConnection(parts.hostname or "", parts.port)
    connection.request("POST", CHAT, asked(stream=stream, max_tokens=400))
    if stream:
        connection.getresponse().read(10)
    else:
        until(lambda: tiny_engine.stats()["running"] > 0)
    connection.close()
    until(lambda: tiny_engine.stats()["aborted"] == before + 1)
    until(lambda: router.target("local/tiny")["in_flight"]["requests"] == 0)


def test_a_client_that_leaves_hangs_up_on_the_cloud_too(tiny_engine: StandIn, tmp_path: Path) -> None:
    with (
        standing_in("cloud", "--ttft-s", "0.01", "--tokens-per-s", "5") as slow_cloud,
        running_router(tmp_path, TIERS + cloud_table(slow_cloud.url), {"tiny": tiny_engine.url}) as router,
        openai.OpenAI(base_url=f"{router.url}/v1", api_key="none", max_retries=0) as client,
    ):
        stream = client.chat.completions.create(model="tier/premium", messages=HELLO, stream=True)
        words = iter(stream)
        next(words)
        stream.close()
        until(lambda: slow_cloud.stats()["aborted"] == 1)
        until(lambda: router.target("cloud/stand-in")["in_flight"]["requests"] == 0)
