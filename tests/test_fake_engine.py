"""The fake engine: vLLM's addresses and metric names, batching in miniature, and faults on purpose."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.batch import Batch, Limits, Sequence, Step, add, remove, step
from tests.stand_ins import StandIn, standing_in

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Where does the water go?"}]
SMALL = Limits(context_tokens=100, kv_tokens=100, max_num_seqs=2, prefill_tokens_per_s=1000.0, step_s=0.01)


@pytest.fixture
def engine() -> Iterator[StandIn]:
    with standing_in("engine", "--step-ms", "1", "--answer-tokens", "12") as running:
        yield running


@pytest.fixture
def client(engine: StandIn) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{engine.url}/v1", api_key="none", max_retries=0, timeout=10) as made:
        yield made


def get(engine: StandIn, path: str) -> str:
    with urllib.request.urlopen(engine.url + path, timeout=10) as response:
        return str(response.read().decode())


def switch(engine: StandIn, **wanted: Any) -> None:
    urllib.request.urlopen(f"{engine.url}/_switch", data=json.dumps(wanted).encode(), timeout=10).close()


def metrics(engine: StandIn) -> dict[str, float]:
    """Sample name, with the finish reason where there is one, to value."""
    samples = (each for family in text_string_to_metric_families(get(engine, "/metrics")) for each in family.samples)
    return {"/".join(filter(None, (each.name, each.labels.get("finished_reason")))): each.value for each in samples}


def test_it_lists_its_model_with_its_context_and_is_healthy(engine: StandIn) -> None:
    (model,) = json.loads(get(engine, "/v1/models"))["data"]
    assert (model["id"], model["max_model_len"]) == ("tiny", 4096)
    assert get(engine, "/health") == ""


def test_answers_stream_and_do_not_with_usage(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="tiny", messages=HELLO)
    chunks = list(
        client.chat.completions.create(
            model="tiny", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
    )
    assert "".join(each.choices[0].delta.content or "" for each in chunks[:-1]) == whole.choices[0].message.content
    assert whole.usage == chunks[-1].usage
    assert whole.choices[0].finish_reason == "stop"
    limited = client.completions.create(model="tiny", prompt="Where", max_tokens=5)
    assert limited.choices[0].finish_reason == "length"


def test_metrics_carry_vllm_s_names_and_count_what_was_done(engine: StandIn, client: openai.OpenAI) -> None:
    client.chat.completions.create(model="tiny", messages=HELLO)
    seen = metrics(engine)
    assert seen["vllm:prompt_tokens_total"] == 10
    assert seen["vllm:generation_tokens_total"] == 12
    assert seen["vllm:request_success_total/stop"] == 1
    assert seen["vllm:iteration_tokens_total_count"] == 12
    assert seen["vllm:num_requests_running"] == seen["vllm:kv_cache_usage_perc"] == 0
    assert 'kv_cache_size_tokens="8192"' in get(engine, "/metrics")


def test_a_client_that_leaves_is_aborted_and_its_kv_is_free(engine: StandIn, client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="tiny", messages=HELLO, stream=True, extra_body={"ignore_eos": True, "max_tokens": 4000}
    )
    next(iter(stream))
    assert metrics(engine)["vllm:num_requests_running"] == 1
    stream.close()
    client.chat.completions.create(model="tiny", messages=HELLO)
    seen = metrics(engine)
    assert seen["vllm:request_success_total/abort"] == 1
    assert seen["vllm:kv_cache_usage_perc"] == 0


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        pytest.param({"model": "huge"}, 404, "does not exist", id="an unknown model"),
        pytest.param({"messages": [{"role": "user", "content": "a" * 17000}]}, 400, "maximum context", id="too long"),
        pytest.param({"max_tokens": 5000}, 400, "at most 4096", id="more tokens than the context"),
        pytest.param({"messages": 3}, 400, "messages", id="messages that are no list"),
    ],
)
def test_what_does_not_fit_is_refused_as_vllm_does(
    engine: StandIn, body: dict[str, Any], status: int, words: str
) -> None:
    asked = json.dumps({"model": "tiny", "messages": HELLO} | body).encode()
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{engine.url}/v1/chat/completions", data=asked, timeout=10)
    with caught.value as refused:
        error = json.load(refused)["error"]
    assert (refused.status, error["code"]) == (status, status)
    assert words in error["message"]


@pytest.mark.parametrize("mode", ["503", "500"])
def test_a_switched_status_holds_for_one_request(engine: StandIn, client: openai.OpenAI, mode: str) -> None:
    switch(engine, mode=mode, for_requests=1)
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model="tiny", messages=HELLO)
    assert caught.value.status_code == int(mode)
    assert client.chat.completions.create(model="tiny", messages=HELLO).choices


def test_an_abort_looks_like_success_without_text(engine: StandIn, client: openai.OpenAI) -> None:
    switch(engine, mode="abort", for_requests=2)
    whole = client.chat.completions.create(model="tiny", messages=HELLO)
    streamed = list(client.chat.completions.create(model="tiny", messages=HELLO, stream=True))
    assert (whole.choices[0].message.content, str(whole.choices[0].finish_reason)) == ("", "abort")
    assert [str(each.choices[0].finish_reason) for each in streamed] == ["None", "abort"]


def test_an_error_in_the_stream_is_still_followed_by_done(engine: StandIn) -> None:
    switch(engine, mode="error_in_stream", after=2)
    asked = json.dumps({"model": "tiny", "messages": HELLO, "stream": True}).encode()
    with urllib.request.urlopen(f"{engine.url}/v1/chat/completions", data=asked, timeout=10) as response:
        events = response.read().decode().split("\n\n")
    assert '"error"' in events[-3]
    assert events[-2] == "data: [DONE]"


@pytest.mark.parametrize("mode", ["stall", "hang", "slow_first_token"])
def test_a_silent_engine_keeps_its_health(engine: StandIn, client: openai.OpenAI, mode: str) -> None:
    switch(engine, mode=mode, seconds=30)
    impatient = client.with_options(timeout=0.3)
    with pytest.raises(openai.APITimeoutError):
        impatient.chat.completions.create(model="tiny", messages=HELLO)
    assert get(engine, "/health") == ""
    switch(engine, mode="ok")
    assert client.chat.completions.create(model="tiny", messages=HELLO).choices


def test_death_after_some_tokens_cuts_the_stream_with_the_wanted_exit_code(
    engine: StandIn, client: openai.OpenAI
) -> None:
    switch(engine, mode="die_after_tokens", after=5, exit_code=0)
    stream = client.chat.completions.create(model="tiny", messages=HELLO, stream=True)
    with pytest.raises(Exception, match="closed"):
        list(stream)
    assert engine.process.wait(10) == 0


def test_death_at_once(engine: StandIn) -> None:
    with pytest.raises((urllib.error.URLError, ConnectionError)):
        switch(engine, mode="die", exit_code=3)
    assert engine.process.wait(10) == 3


def many(*sizes: int, wanted: int = 10) -> Batch:
    batch = Batch()
    for index, size in enumerate(sizes):
        batch = add(batch, Sequence(f"s{index}", size, wanted))
    return batch


@pytest.mark.parametrize(
    ("batch", "served"),
    [
        pytest.param(many(10, 10), ("s0", "s1"), id="what fits runs"),
        pytest.param(many(10, 10, 10), ("s0", "s1"), id="no more than the seats"),
        pytest.param(many(60, 60), ("s0",), id="no more than the KV"),
        pytest.param(many(60, 60, 5), ("s0",), id="a large head is not overtaken"),
        pytest.param(Batch(), (), id="nothing to do"),
    ],
)
def test_admission_is_first_come_first_served(batch: Batch, served: tuple[str, ...]) -> None:
    assert step(batch, SMALL)[1].served == served


def test_the_youngest_gives_way_and_is_computed_again() -> None:
    batch = many(48, 48)
    seen: list[Step] = []
    while not batch.is_empty:
        batch, done = step(batch, SMALL)
        assert batch.kv_tokens <= SMALL.kv_tokens
        seen.append(done)
    assert [done.preempted for done in seen].count(("s1",)) == 1
    assert sum(done.served.count("s1") for done in seen) == 10
    assert sum(done.prefilled_tokens for done in seen) == 48 + 48 + (48 + 2)


def test_a_step_takes_longer_with_a_prompt_in_it() -> None:
    after, first = step(many(50), SMALL)
    _, second = step(after, SMALL)
    assert first.duration_s(SMALL) == pytest.approx(0.01 + 0.05)
    assert second.duration_s(SMALL) == pytest.approx(0.01)


def test_who_leaves_frees_seat_and_kv() -> None:
    batch, _ = step(many(60, 60), SMALL)
    assert step(remove(batch, "s0"), SMALL)[1].served == ("s1",)
    assert replace(batch, running=()) == remove(batch, "s0")
