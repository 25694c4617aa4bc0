"""The router asks each provider in its own wire format, and its client hears OpenAI's: a real router, a real socket."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai.types.chat import (
    ChatCompletion,
    ChatCompletionMessageParam,
    ChatCompletionToolParam,
)
from openai.types.shared_params import ResponseFormatJSONSchema

from tests.provider_words import THOUGHT
from tests.providers import MODELS, RunningProvider, deployment
from tests.routers import KEY, TIERS, Router, running_router
from tests.scripted import scripted_engine

# The three wire formats; the others are said to speak that of the last.
FORMATS = ["anthropic", "gemini", "openai"]
PATHS = {
    "anthropic": "/anthropic/v1/messages",
    "gemini": "/gemini/models/gemini-2.5-flash:generateContent",
    "mistral": "/mistral/v1/chat/completions",
}
KEY_HEADERS = {"anthropic": "x-api-key", "gemini": "x-goog-api-key"}
QUESTION = "Where does the water go?"
SAID = f"You said: {QUESTION}"
ASKED: list[ChatCompletionMessageParam] = [{"role": "user", "content": QUESTION}]
PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(92)
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL: ChatCompletionToolParam = {
    "type": "function",
    "function": {"name": "weather", "description": "Of a city.", "parameters": dict(CITY)},
}
SCHEMA: ResponseFormatJSONSchema = {
    "type": "json_schema",
    "json_schema": {"name": "place", "strict": True, "schema": CITY | {"additionalProperties": False}},
}


@pytest.fixture(scope="module")
def router(provider: RunningProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Router]:
    clouds = "".join(deployment(provider.url, name) for name in MODELS)
    with (
        scripted_engine() as engine,
        running_router(tmp_path_factory.mktemp("wire"), TIERS + clouds, {"tiny": engine.url}) as running,
    ):
        yield running


@pytest.fixture
def client(router: Router, provider: RunningProvider) -> Iterator[openai.OpenAI]:
    provider.asked()
    with openai.OpenAI(base_url=f"{router.url}/v1", api_key="unused", max_retries=0, timeout=20) as made:
        yield made


def streamed(client: openai.OpenAI, name: str, **more: Any) -> tuple[str, str | None]:
    """(text, finish reason) of a stream."""
    chunks = list(
        client.chat.completions.create(model=f"via-{name}", messages=ASKED, max_tokens=200, stream=True, **more)
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    return text, chunks[-1].choices[0].finish_reason


def asked(client: openai.OpenAI, name: str, **more: Any) -> ChatCompletion:
    arguments: dict[str, Any] = {"messages": ASKED, "max_tokens": 200} | more
    answer: ChatCompletion = client.chat.completions.create(model=f"via-{name}", **arguments)
    return answer


@pytest.mark.parametrize("name", MODELS)
def test_each_provider_is_asked_where_it_should_be_with_its_key_and_its_name_of_the_model(
    client: openai.OpenAI, provider: RunningProvider, name: str
) -> None:
    answer = asked(client, name)
    assert answer.choices[0].message.content == SAID
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (11, 7)
    (request,) = provider.asked()
    assert request["path"] == PATHS.get(name, f"/{name}/chat/completions")
    assert KEY in request["headers"][KEY_HEADERS.get(name, "authorization")]
    told = request["body"].get("model") or request["path"]
    assert MODELS[name].partition("/")[2] in told
    assert request["body"].keys().isdisjoint({"max_retries", "num_retries", "timeout", "api_base", "api_key"})


@pytest.mark.parametrize("name", MODELS)
def test_each_provider_streams_and_its_usage_is_counted(client: openai.OpenAI, name: str, router: Router) -> None:
    before = router.target(f"cloud/{name}")
    assert streamed(client, name) == (SAID, "stop")
    last = list(
        client.chat.completions.create(
            model=f"via-{name}", messages=ASKED, stream=True, stream_options={"include_usage": True}
        )
    )[-1]
    assert last.choices == []
    assert last.usage is not None
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (11, 7)
    assert before["name"] == f"cloud/{name}"


@pytest.mark.parametrize("name", [*FORMATS, "somebody"])
def test_a_text_is_completed(client: openai.OpenAI, name: str) -> None:
    arguments: dict[str, Any] = {"model": f"via-{name}", "prompt": QUESTION, "max_tokens": 200}
    assert client.completions.create(**arguments).choices[0].text == SAID
    chunks = list(client.completions.create(stream=True, **arguments))
    assert "".join(chunk.choices[0].text for chunk in chunks) == SAID
    assert chunks[-1].choices[0].finish_reason == "stop"


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_cut_off_at_max_tokens_says_so(client: openai.OpenAI, name: str) -> None:
    answer = asked(client, name, max_tokens=3)
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("You said: Where", "length")


@pytest.mark.parametrize("name", FORMATS)
def test_the_system_prompt_arrives(client: openai.OpenAI, provider: RunningProvider, name: str) -> None:
    asked(client, name, messages=[{"role": "system", "content": "Be brief."}, *ASKED])
    assert "Be brief." in str(provider.asked()[0]["body"])


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("name", MODELS)
def test_a_tool_is_called(client: openai.OpenAI, name: str, stream: bool) -> None:
    if stream:
        arguments: dict[str, Any] = {"messages": ASKED, "tools": [TOOL], "max_tokens": 200}
        with client.chat.completions.stream(model=f"via-{name}", **arguments) as events:
            choice = events.get_final_completion().model_dump()["choices"][0]
    else:
        choice = asked(client, name, tools=[TOOL]).model_dump()["choices"][0]
    (call,) = choice["message"]["tool_calls"]
    assert (call["function"]["name"], json.loads(call["function"]["arguments"])) == ("weather", {"city": "Oslo"})
    assert choice["finish_reason"] == "tool_calls"


@pytest.mark.parametrize("name", FORMATS)
def test_what_a_tool_has_said_goes_back(client: openai.OpenAI, name: str) -> None:
    called: ChatCompletionMessageParam = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}],
    }
    said: ChatCompletionMessageParam = {"role": "tool", "tool_call_id": "c1", "content": "sunny"}
    answer = asked(client, name, messages=[*ASKED, called, said], tools=[TOOL])
    assert answer.choices[0].message.content == "The tool says: sunny"


@pytest.mark.parametrize("name", MODELS)
def test_a_schema_reaches_every_provider(client: openai.OpenAI, name: str) -> None:
    content = asked(client, name, response_format=SCHEMA).choices[0].message.content
    assert json.loads(content or "") == {"city": "Oslo"}


@pytest.mark.parametrize("name", [name for name in MODELS if name != "deepseek"])
def test_an_image_reaches_every_provider_that_has_models_for_it(client: openai.OpenAI, name: str) -> None:
    picture = f"data:image/png;base64,{base64.b64encode(PICTURE).decode()}"
    parts = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": picture}}]
    answer = asked(client, name, messages=[{"role": "user", "content": parts}])
    assert answer.choices[0].message.content == "I see image/png of 100 bytes. You said: What is it?"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("name", ["anthropic", "gemini", "deepseek"])
def test_a_thought_is_told_apart_from_the_answer(client: openai.OpenAI, name: str, stream: bool) -> None:
    more: dict[str, Any] = {"reasoning_effort": "low", "max_tokens": 4000}
    if not stream:
        message = asked(client, name, **more).choices[0].message
        assert message.content == SAID
        assert (message.model_extra or {})["reasoning_content"] == THOUGHT
        return
    arguments: dict[str, Any] = {"messages": ASKED, "stream": True} | more
    chunks = list(client.chat.completions.create(model=f"via-{name}", **arguments))
    deltas = [chunk.choices[0].delta for chunk in chunks]
    assert "".join((delta.model_extra or {}).get("reasoning_content") or "" for delta in deltas) == THOUGHT
    assert "".join(delta.content or "" for delta in deltas) == SAID


@pytest.mark.parametrize("name", MODELS)
def test_every_provider_hears_which_request_it_is(client: openai.OpenAI, provider: RunningProvider, name: str) -> None:
    keys = []
    for body in ("one", "one", "another"):
        words: ChatCompletionMessageParam = {"role": "user", "content": body}
        asked(client, name, messages=[words], extra_headers={"x-request-id": "req-of-mine"})
        (request,) = provider.asked()
        assert request["headers"]["x-request-id"] == "req-of-mine"
        keys.append(request["headers"]["idempotency-key"])
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize("name", ["anthropic", "mistral", "sambanova"])
def test_several_answers_are_not_asked_of_who_would_give_one(client: openai.OpenAI, name: str) -> None:
    with pytest.raises(openai.BadRequestError, match="gives one"):
        asked(client, name, n=2)


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/picture.png", "http://169.254.169.254/latest"])
def test_an_image_that_cannot_be_fetched_is_the_client_s_to_mend(
    client: openai.OpenAI, provider: RunningProvider, address: str
) -> None:
    parts = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": address}}]
    with pytest.raises(openai.BadRequestError, match="data URL") as caught:
        asked(client, "anthropic", messages=[{"role": "user", "content": parts}])
    assert caught.value.code == "invalid_image_url"
    assert provider.asked() == []


def test_nothing_of_a_client_s_can_send_the_key_elsewhere(client: openai.OpenAI, provider: RunningProvider) -> None:
    elsewhere = {"api_base": "http://127.0.0.1:9", "base_url": "http://127.0.0.1:9", "api_key": "mine", "timeout": 0}
    answer = asked(client, "anthropic", extra_body=elsewhere)
    assert answer.choices[0].message.content == SAID
    assert provider.asked()[0]["headers"]["x-api-key"] == KEY
