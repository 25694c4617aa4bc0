"""The stand-in cloud: real process, real sockets, asked with OpenAI's own client."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from benchmarks.cloud_reply import EVENTS, Ending, Pace, reply
from benchmarks.price import Price
from benchmarks.switch import Switch, SwitchError, read_switch
from benchmarks.wire import BodyError, Kind, Question, read_question
from tests.stand_ins import StandIn, standing_in

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Where does the water go?"}]
MODES = ["ok", "429", "cut"]


@pytest.fixture(scope="module")
def cloud() -> Iterator[StandIn]:
    with standing_in("cloud", "--ttft-s", "0.01", "--tokens-per-s", "5000") as running:
        yield running


@pytest.fixture
def client(cloud: StandIn) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{cloud.url}/v1", api_key="sk-test", max_retries=0, timeout=10) as made:
        yield made


def test_a_whole_answer_has_openai_s_shape_and_says_what_it_is(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model="stand-in", messages=HELLO)
    answer = raw.parse()
    assert "stand-in cloud" in (answer.choices[0].message.content or "")
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == 4 + 6
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.id.startswith("chatcmpl-")
    assert answer.system_fingerprint
    assert raw.headers["x-request-id"].startswith("req_")
    assert {"x-ratelimit-remaining-requests", "openai-processing-ms"} <= set(raw.headers)


def test_a_stream_has_role_deltas_finish_and_usage_in_this_order(client: openai.OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model="stand-in", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
    )
    assert chunks[0].choices[0].delta.role == "assistant"
    assert all(chunk.choices[0].delta.content for chunk in chunks[1:-2])
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == len(chunks) - 3


def test_max_tokens_are_honoured_and_named_as_the_reason(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="stand-in", messages=HELLO, max_completion_tokens=7)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 7 == len((answer.choices[0].message.content or "").split())


def test_text_completions_and_models_are_served(client: openai.OpenAI) -> None:
    whole = client.completions.create(model="stand-in", prompt="Where", max_tokens=5)
    streamed = client.completions.create(model="stand-in", prompt="Where", max_tokens=5, stream=True)
    assert whole.object == "text_completion"
    assert "".join(each.choices[0].text for each in streamed) == whole.choices[0].text
    assert [each.id for each in client.models.list()] == ["stand-in"]


def test_a_wrong_key_is_refused_with_401(cloud: StandIn) -> None:
    with (
        openai.OpenAI(base_url=f"{cloud.url}/v1", api_key="sk-wrong-key", max_retries=0) as stranger,
        pytest.raises(openai.AuthenticationError, match=r"sk-wr\*\*\*"),
    ):
        stranger.chat.completions.create(model="stand-in", messages=HELLO)


def test_an_unknown_model_and_a_bad_body_name_what_is_wrong(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="has stand-in"):
        client.chat.completions.create(model="gpt-99", messages=HELLO)
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="stand-in", messages=[])
    assert caught.value.param == "messages"


@pytest.mark.parametrize(
    ("mode", "error"),
    [
        pytest.param("429", openai.RateLimitError, id="a rate limit"),
        pytest.param("500", openai.InternalServerError, id="a server error"),
        pytest.param("401", openai.AuthenticationError, id="a revoked key"),
    ],
)
def test_a_switched_status_reaches_the_client_once(
    cloud: StandIn, client: openai.OpenAI, mode: str, error: type[openai.APIStatusError]
) -> None:
    cloud.switch(mode, seconds=2)
    with pytest.raises(error) as caught:
        client.chat.completions.create(model="stand-in", messages=HELLO)
    assert caught.value.response.headers.get("retry-after") == ("2" if mode == "429" else None)
    assert client.chat.completions.create(model="stand-in", messages=HELLO, max_tokens=1).choices


def test_a_silent_cloud_times_the_client_out_and_counts_it_as_gone(cloud: StandIn, client: openai.OpenAI) -> None:
    cloud.switch("timeout")
    before = cloud.stats()["aborted"]
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.2).chat.completions.create(model="stand-in", messages=HELLO)
    # The next answer on the same process proves that the first was let go.
    client.chat.completions.create(model="stand-in", messages=HELLO, max_tokens=1)
    assert cloud.stats()["aborted"] == before + 1


def test_a_slow_first_byte_holds_the_headers_back(cloud: StandIn, client: openai.OpenAI) -> None:
    cloud.switch("slow_first_byte", seconds=5)
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.3).chat.completions.create(model="stand-in", messages=HELLO, stream=True)


@pytest.mark.parametrize("streamed", [True, False], ids=["a stream", "a whole answer"])
@pytest.mark.parametrize("mode", ["cut", "malformed", "error_event"])
def test_a_broken_answer_never_looks_complete(cloud: StandIn, client: openai.OpenAI, mode: str, streamed: bool) -> None:
    def ask() -> object:
        answer = client.chat.completions.create(model="stand-in", messages=HELLO, stream=streamed)
        return list(answer) if isinstance(answer, openai.Stream) else answer.choices[0]

    cloud.switch(mode, after=3)
    # OpenAI's client lets the errors of its HTTP library and of its JSON parser through unchanged.
    with pytest.raises(Exception, match=r"closed|parse|Unterminated|Expecting|server had an error|Connection"):
        ask()


def test_a_mode_in_the_model_name_holds_for_this_request_only(client: openai.OpenAI) -> None:
    with pytest.raises(openai.RateLimitError):
        client.chat.completions.create(model="stand-in+429", messages=HELLO)
    assert client.chat.completions.create(model="stand-in", messages=HELLO, max_tokens=1).choices


def test_tokens_and_dollars_are_counted(cloud: StandIn, client: openai.OpenAI) -> None:
    before = cloud.stats()
    usage = client.chat.completions.create(model="stand-in", messages=HELLO, max_tokens=9).usage
    after = cloud.stats()
    assert usage is not None
    assert after["requests"] == before["requests"] + 1
    assert after["completion_tokens"] == before["completion_tokens"] + 9
    spent = Price(0.15, 0.60).usd(usage.prompt_tokens, 9)
    assert after["usd"] - before["usd"] == pytest.approx(spent)


def test_a_client_that_leaves_a_stream_is_counted_and_pays_only_what_was_sent() -> None:
    with (
        standing_in("cloud", "--ttft-s", "0", "--tokens-per-s", "5") as slow,
        openai.OpenAI(base_url=f"{slow.url}/v1", api_key="sk-test", max_retries=0) as client,
    ):
        stream = client.chat.completions.create(model="stand-in", messages=HELLO, stream=True)
        next(iter(stream))
        stream.close()
        client.models.list()
        counted = slow.stats()
    assert counted["aborted"] == 1
    assert counted["completion_tokens"] < 5


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        pytest.param("{", "not JSON", id="not JSON"),
        pytest.param("[]", "must be a JSON object", id="not an object"),
        pytest.param('{"mode":"explode"}', "no mode 'explode'", id="an unknown mode"),
        pytest.param('{"mode":"ok","often":1}', "no key 'often'", id="an unknown key"),
        pytest.param('{"mode":"cut","after":-1}', "after must be a number", id="a negative count"),
        pytest.param('{"mode":"cut","for_requests":0}', "at least 1", id="for no request"),
    ],
)
def test_a_bad_switch_is_refused_with_a_sentence(body: str, sentence: str) -> None:
    with pytest.raises(SwitchError, match=sentence):
        read_switch(body.encode(), MODES)


def test_a_switch_wears_off() -> None:
    first, left = Switch("429", for_requests=2).take()
    second, left = left.take()
    third, _ = left.take()
    assert [first.mode, second.mode, third.mode] == ["429", "429", "ok"]
    assert Switch("429").take()[1].mode == "429"


@pytest.mark.parametrize(
    ("kind", "body", "param"),
    [
        pytest.param(Kind.CHAT, "[]", None, id="a body that is a list"),
        pytest.param(Kind.CHAT, '{"messages":[]}', "model", id="no model"),
        pytest.param(Kind.CHAT, '{"model":"m"}', "messages", id="no messages"),
        pytest.param(Kind.CHAT, '{"model":"m","messages":[{}]}', "messages[0].role", id="a message without a role"),
        pytest.param(Kind.TEXT, '{"model":"m","prompt":[]}', "prompt", id="an empty prompt list"),
        pytest.param(Kind.TEXT, '{"model":"m","prompt":"a","max_tokens":0}', "max_tokens", id="no token allowed"),
    ],
)
def test_a_bad_body_names_its_field(kind: Kind, body: str, param: str | None) -> None:
    with pytest.raises(BodyError) as caught:
        read_question(kind, body.encode())
    assert caught.value.param == param


def test_the_same_number_gets_the_same_reply_and_paces_are_kept() -> None:
    asked = Question(Kind.CHAT, "stand-in", 10, stream=True, include_usage=True, max_tokens=20, ignore_eos=False)
    pace = Pace(ttft_s=0.4, ttft_jitter=0.2, tokens_per_s=80)
    said = reply(asked, Switch(), pace, number=7, created=1)
    assert said == reply(asked, Switch(), pace, number=7, created=1)
    assert said != reply(asked, Switch(), pace, number=8, created=1)
    assert said.content_type == EVENTS
    assert said.ending is Ending.WHOLE
    assert sum(frame.tokens for frame in said.frames) == 20
    assert sum(frame.delay_s for frame in said.frames[1:]) == pytest.approx(19 / 80)
    medians = sorted(reply(asked, Switch(), pace, n, 1).frames[0].delay_s for n in range(201))
    assert medians[100] == pytest.approx(0.4, rel=0.1)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        pytest.param(["cloud", "--tokens-per-s", "0"], "above zero", id="no speed"),
        pytest.param(["engine", "--context", "9000"], "does not fit", id="a context larger than the KV cache"),
        pytest.param(["nothing"], "invalid choice", id="an unknown verb"),
    ],
)
def test_bad_options_get_a_sentence_and_status_2(options: list[str], sentence: str) -> None:
    ended = subprocess.run([sys.executable, "-m", "benchmarks", *options], capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert sentence in ended.stderr


def test_a_taken_port_is_named(cloud: StandIn) -> None:
    port = cloud.url.rsplit(":", 1)[1]
    command = [sys.executable, "-m", "benchmarks", "cloud", "--port", port]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert f"Port {port}" in ended.stderr
