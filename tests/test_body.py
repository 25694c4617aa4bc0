"""Reading a body: what JSON is and is not, what may be said twice, what is taken as meant, what steers an engine."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.ask import STEERING, Ask, Endpoint, read_ask
from router.errors import ApiError
from tests.specimens import RULES

CHAT: dict[str, Any] = {"model": "auto", "messages": [{"role": "user", "content": "Hello"}]}
COMPLETION: dict[str, Any] = {"model": "auto", "prompt": "Hello"}


def read(raw: bytes, endpoint: Endpoint = Endpoint.CHAT) -> Ask:
    return read_ask(raw, {}, endpoint, RULES)


def chat(**changes: Any) -> Ask:
    return read(orjson.dumps(CHAT | changes))


def refusal(body: Any, endpoint: Endpoint = Endpoint.CHAT) -> ApiError:
    with pytest.raises(ApiError) as caught:
        read(body if isinstance(body, bytes) else orjson.dumps(body), endpoint)
    return caught.value


@pytest.mark.parametrize(
    ("body", "param"),
    [
        pytest.param(b"", None, id="nothing"),
        pytest.param(b"{", None, id="half an object"),
        pytest.param(b"\xff", None, id="not UTF-8"),
        pytest.param(b"[]", None, id="a list"),
        pytest.param({"messages": CHAT["messages"]}, "model", id="no model"),
        pytest.param(CHAT | {"model": ""}, "model", id="an empty model"),
        pytest.param(CHAT | {"model": 5}, "model", id="a number as the model"),
        pytest.param({"model": "auto"}, "messages", id="no messages"),
        pytest.param(CHAT | {"messages": []}, "messages", id="empty messages"),
        pytest.param(CHAT | {"messages": "Hi"}, "messages", id="a text as messages"),
        pytest.param(CHAT | {"messages": ["Hi"]}, "messages.0", id="a text as a message"),
        pytest.param(CHAT | {"messages": [{"content": "Hi"}]}, "messages.0.role", id="a message of nobody"),
        pytest.param(
            CHAT | {"messages": [{"role": "user", "content": 5}]}, "messages.0.content", id="a number as content"
        ),
        pytest.param(CHAT | {"stream": "maybe"}, "stream", id="a word as a switch"),
        pytest.param(CHAT | {"max_tokens": 0}, "max_tokens", id="no answer wanted"),
        pytest.param(CHAT | {"temperature": 3}, "temperature", id="too hot"),
        pytest.param(CHAT | {"n": 17}, "n", id="too many answers"),
        pytest.param(CHAT | {"stream_options": 1}, "stream_options", id="stream options that are no object"),
        pytest.param(CHAT | {"metadata": []}, "metadata", id="metadata that is no object"),
        pytest.param(CHAT | {"tools": ["hammer"]}, "tools.0", id="a tool that is no object"),
    ],
)
def test_a_bad_chat_is_400_and_the_field_is_named(body: Any, param: str | None) -> None:
    error = refusal(body)
    assert (error.status, error.param) == (400, param)
    assert error.param is None or error.param in error.message


@pytest.mark.parametrize(
    ("body", "param"),
    [
        pytest.param({"model": "auto"}, "prompt", id="no prompt"),
        pytest.param(COMPLETION | {"prompt": {"text": "Hi"}}, "prompt", id="an object as the prompt"),
        pytest.param(COMPLETION | {"prompt": None}, "prompt", id="nothing as the prompt"),
    ],
)
def test_a_bad_completion_is_400_and_the_field_is_named(body: Any, param: str) -> None:
    error = refusal(body, Endpoint.COMPLETION)
    assert (error.status, error.param) == (400, param)


def test_the_error_is_an_openai_envelope() -> None:
    assert refusal(CHAT | {"messages": []}).envelope()["error"] | {"message": ""} == {
        "message": "",
        "type": "invalid_request_error",
        "param": "messages",
        "code": "invalid_value",
    }


HELLO = orjson.dumps(CHAT)


def with_field(text: str) -> bytes:
    """A chat whose last field is written like this."""
    return HELLO[:-1] + b"," + text.encode() + b"}"


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(with_field('"seed":NaN'), id="NaN"),
        pytest.param(with_field('"seed":-Infinity'), id="Infinity"),
        pytest.param(with_field('"temperature":1e999'), id="a number beyond all"),
        pytest.param(with_field('"seed":1,'), id="a comma too many"),
        pytest.param(with_field('"seed":"\\ud800"'), id="half a character"),
        pytest.param(HELLO + b"x", id="more after the end"),
        pytest.param(b"\xef\xbb\xbf" + HELLO, id="a byte order mark"),
        pytest.param(HELLO[:-1] + b',"seed":"\xff"}', id="no UTF-8 in a field that is not ours"),
        pytest.param(HELLO[:-1] + b',"\xff":1}', id="no UTF-8 in the name of a field"),
    ],
)
def test_what_is_not_json_is_refused_as_such(raw: bytes) -> None:
    error = refusal(raw)
    assert (error.status, error.code, error.param) == (400, "invalid_json", None)
    assert "not JSON" in error.message or "not UTF-8" in error.message


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        pytest.param('"stream":"maybe","stream":true', "stream", True, id="a wrong one and a right one"),
        pytest.param('"user":"a","user":"b"', "tenant", "b", id="two right ones"),
        pytest.param('"messages":5,"messages":[{"role":"user","content":"Hi"}]', "prompt_bytes", 6, id="messages"),
    ],
)
def test_of_a_field_that_comes_twice_the_last_one_counts(text: str, field: str, value: object) -> None:
    assert getattr(read(with_field(text)), field) == value


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        pytest.param({"max_tokens": "5"}, "max_tokens", 5, id="a number as text"),
        pytest.param({"max_tokens": 5.0}, "max_tokens", 5, id="a number with a point"),
        pytest.param({"stream": "true"}, "stream", True, id="a switch as text"),
        pytest.param({"stream": 1}, "stream", True, id="a switch as a number"),
        pytest.param({"n": None}, "answers", 1, id="null is not said"),
    ],
)
def test_small_liberties_are_taken_as_they_are_meant(changes: dict[str, Any], field: str, value: object) -> None:
    assert getattr(chat(**changes), field) == value


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param({"messages": CHAT["messages"]}, "model: is missing", id="missing"),
        pytest.param(CHAT | {"model": 5}, "model: expected `str`, got `int`", id="of another kind"),
        pytest.param(CHAT | {"n": 99}, "n: expected `int` <= 16", id="out of bounds"),
        pytest.param(CHAT | {"messages": [{}]}, "messages.0.role: is missing", id="missing in a message"),
        pytest.param(
            CHAT | {"messages": [*CHAT["messages"], {"role": "user", "content": [5]}]},
            "messages.1.content.0: expected an object, got `int`",
            id="a part that is none",
        ),
    ],
)
def test_an_error_says_what_is_wrong_in_one_sentence(body: Any, message: str) -> None:
    assert refusal(body).message == message


def test_a_completion_has_prompts_of_one_kind() -> None:
    error = refusal(COMPLETION | {"prompt": ["Hello", 5]}, endpoint=Endpoint.COMPLETION)
    assert (error.status, error.param) == (400, "prompt")
    assert "mixture" in error.message


def test_the_body_is_kept_as_it_came() -> None:
    raw = b' {"model" : "auto", "messages":[{"role":"user","content":"Hi"}], "seed": 1.50 }\n'
    asked = read(raw)
    assert asked.raw is raw
    assert asked.body == {"model": "auto", "messages": [{"role": "user", "content": "Hi"}], "seed": 1.5}


@pytest.mark.parametrize("field", sorted(STEERING))
def test_a_field_that_steers_an_engine_is_noticed_however_it_is_spelled(field: str) -> None:
    assert not chat().steered
    assert not chat(metadata={field: 1}).steered
    for value in (1, None, {"x": 1}):
        assert read(orjson.dumps(CHAT | {field: value})).steered
    escaped = "".join(f"\\u{ord(letter):04x}" for letter in field)
    assert read(with_field(f'"{escaped}":1')).steered


def test_stream_options_are_noticed_whatever_they_say() -> None:
    assert not chat().has_stream_options
    assert chat(stream_options=None).has_stream_options
    assert chat(stream_options={}).has_stream_options
    assert not chat(stream=True, stream_options={}).wants_usage


@given(messages=st.lists(st.tuples(st.text(max_size=8), st.text(max_size=8)), min_size=1, max_size=4))
def test_short_and_long_forms_of_a_message_count_alike(messages: list[tuple[str, str]]) -> None:
    plain = [{"role": role, "content": content} for role, content in messages]
    size = sum(len((role + content).encode()) for role, content in messages)
    assert chat(messages=plain).prompt_bytes == size
    assert chat(messages=[message | {"name": None} for message in plain]).prompt_bytes == size
