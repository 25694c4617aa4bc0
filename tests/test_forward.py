"""What an engine gets to read: the body as it came, or the same JSON with our changes and no others."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from router.ask import STEERING, Ask, Endpoint, read_ask
from router.errors import ApiError
from router.forward import engine_body
from tests.specimens import RULES

CHAT: dict[str, Any] = {"model": "smoke", "messages": [{"role": "user", "content": "Grüße {[\\"}]}
ASKED = {"stream": True, "stream_options": {"include_usage": True}}


def read(raw: bytes) -> Ask:
    return read_ask(raw, {}, Endpoint.CHAT, RULES)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(CHAT, id="a whole answer"),
        pytest.param(CHAT | ASKED, id="a stream with usage"),
        pytest.param(CHAT | {"stream_options": None}, id="stream options without a stream"),
        pytest.param(CHAT | {"logprobs": 5, "x": {"priority": 1}}, id="fields that are not ours"),
    ],
)
def test_a_body_that_will_do_is_not_touched(body: Mapping[str, Any]) -> None:
    raw = json.dumps(body, indent=3).encode() + b"\n"
    assert engine_body(read(raw), "smoke") is raw


@pytest.mark.parametrize("end", [b"", b"\n", b" \r\n\t "], ids=["nothing", "a line break", "spaces"])
def test_usage_is_asked_for_in_every_stream(end: bytes) -> None:
    raw = orjson.dumps(CHAT | {"stream": True})
    sent = engine_body(read(raw + end), "smoke")
    assert sent == raw[:-1] + b',"stream_options":{"include_usage":true}}'
    assert orjson.loads(sent) == CHAT | ASKED


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        pytest.param(None, {"include_usage": True}, id="null"),
        pytest.param({"include_usage": False}, {"include_usage": True}, id="not wanted"),
        pytest.param({"x": 1}, {"x": 1, "include_usage": True}, id="others beside it"),
    ],
)
def test_stream_options_of_the_client_are_kept_beside_ours(given: Any, sent: Any) -> None:
    raw = orjson.dumps(CHAT | {"stream": True, "stream_options": given})
    assert orjson.loads(engine_body(read(raw), "smoke"))["stream_options"] == sent


@pytest.mark.parametrize("field", sorted(STEERING))
@pytest.mark.parametrize("value", [None, 0, {}, [1]])
def test_no_client_steers_an_engine(field: str, value: Any) -> None:
    escaped = "".join(f"\\u{ord(character):04x}" for character in field)
    for key in (field, escaped):
        raw = orjson.dumps(CHAT)[:-1] + f',"{key}":{json.dumps(value)}}}'.encode()
        assert orjson.loads(raw)[field] == value
        assert orjson.loads(engine_body(read(raw), "smoke")) == CHAT


def test_of_a_key_that_comes_twice_the_last_one_goes_on() -> None:
    raw = b'{"model":"other","priority":1,"messages":[{"role":"user","content":"Hi"}],"priority":2,"model":"smoke"}'
    assert orjson.loads(engine_body(read(raw), "smoke")) == {
        "model": "smoke",
        "messages": [{"role": "user", "content": "Hi"}],
    }


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
) | st.text(max_size=8)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "system"]), "content": st.text(max_size=20)}, optional={"x": VALUES}
    ),
    min_size=1,
    max_size=3,
)
BODIES = st.builds(
    lambda known, more: known | {key: value for key, value in more.items() if key not in known},
    st.fixed_dictionaries(
        {"model": st.sampled_from(["smoke", "auto", "tier/bulk"]), "messages": MESSAGES},
        optional={
            "stream": st.booleans(),
            "stream_options": st.none()
            | st.fixed_dictionaries({}, optional={"include_usage": st.booleans(), "x": VALUES}),
        },
    ),
    st.dictionaries(st.sampled_from(sorted(STEERING)) | st.sampled_from(["seed", "logprobs", "extra"]), VALUES),
)


def as_an_engine_must_hear_it(body: Mapping[str, Any]) -> Mapping[str, Any]:
    wanted = {key: value for key, value in body.items() if key not in STEERING} | {"model": "smoke"}
    if body.get("stream"):
        wanted["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
    return wanted


@given(
    body=BODIES, indent=st.none() | st.integers(0, 2), ascii_only=st.booleans(), end=st.sampled_from(["", " ", "\n"])
)
def test_an_engine_hears_the_same_as_if_the_body_were_parsed_changed_and_written(
    body: dict[str, Any], indent: int | None, ascii_only: bool, end: str
) -> None:
    raw = (json.dumps(body, indent=indent, ensure_ascii=ascii_only) + end).encode()
    assert orjson.loads(engine_body(read(raw), "smoke")) == as_an_engine_must_hear_it(orjson.loads(raw))


NESTS = [pytest.param(b"[", b"]", id="lists"), pytest.param(b'{"x":', b"}", id="objects")]


def nested(depth: int, opening: bytes, closing: bytes) -> bytes:
    """A body of this depth whose model name must be replaced, so that it is parsed and written."""
    inner = opening * (depth - 1) + b"1" + closing * (depth - 1)
    return orjson.dumps(CHAT | {"model": "auto"})[:-1] + b',"x":' + inner + b"}"


@pytest.mark.parametrize(("opening", "closing"), NESTS)
@given(depth=st.integers(1, 254))
def test_what_was_read_can_be_written(opening: bytes, closing: bytes, depth: int) -> None:
    raw = nested(depth, opening, closing)
    assert orjson.loads(engine_body(read(raw), "smoke")) == orjson.loads(raw) | {"model": "smoke"}


@pytest.mark.parametrize(("opening", "closing"), NESTS)
@given(depth=st.integers(255, 400))
def test_what_cannot_be_written_is_not_read(opening: bytes, closing: bytes, depth: int) -> None:
    with pytest.raises(ApiError, match="nested too deeply") as caught:
        read(nested(depth, opening, closing))
    assert caught.value.status == 400


def test_brackets_in_a_text_are_not_nesting() -> None:
    text = "[{" * 5000
    raw = orjson.dumps(CHAT | {"messages": [{"role": "user", "content": text}]})
    assert engine_body(read(raw), "smoke") is raw


def test_a_number_that_is_none_is_refused_before_an_engine_hears_it() -> None:
    # Only a whole parse finds a number out of range in a field that is not ours.
    body = read(orjson.dumps(CHAT | {"model": "auto"})[:-1] + b',"x":1e999}')
    with pytest.raises(ApiError) as caught:
        engine_body(body, "smoke")
    assert (caught.value.status, caught.value.code) == (400, "invalid_json")


def test_ollama_reads_max_tokens_alone() -> None:
    sent = orjson.loads(engine_body(read(orjson.dumps(CHAT | {"max_completion_tokens": 9})), "qwen3:8b", "ollama"))
    assert sent == CHAT | {"model": "qwen3:8b", "max_tokens": 9}


def test_no_field_makes_ollama_load_its_model_anew_or_let_it_go() -> None:
    reloading = {"options": {"num_ctx": 99}, "keep_alive": 0, "truncate": True, "num_ctx": 9, "template": "x", "raw": 1}
    sent = orjson.loads(engine_body(read(orjson.dumps(CHAT | reloading | {"temperature": 0.5})), "smoke", "ollama"))
    assert sent == CHAT | {"temperature": 0.5}


def test_ollama_tells_the_usage_of_every_stream() -> None:
    sent = orjson.loads(engine_body(read(orjson.dumps(CHAT | {"stream": True})), "smoke", "ollama"))
    assert sent == CHAT | ASKED


@pytest.mark.parametrize("kind", ["vllm", "ollama"])
@pytest.mark.parametrize(
    "more", [{}, {"stream": True}, ASKED, {"priority": 3}], ids=["whole", "stream", "usage", "steered"]
)
def test_what_its_task_fills_in_reaches_the_engine(kind: str, more: dict[str, Any]) -> None:
    asked = replace(read(orjson.dumps(CHAT | more)), fill=(("temperature", 0.2), ("max_tokens", 100)))
    sent = orjson.loads(engine_body(asked, "smoke", kind))
    assert (sent["temperature"], sent["max_tokens"], sent["messages"]) == (0.2, 100, CHAT["messages"])
    assert ("stream_options" in sent, "priority" in sent) == ("stream" in more, False)
