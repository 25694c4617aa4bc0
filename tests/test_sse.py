"""Cutting and reading server-sent events: any chunking gives the same events, and nothing but BadEvent comes out."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.errors import ApiError
from router.sse import DONE, BadEvent, Cutter, Event, error_event, read_event


def chunk(*, content: str | None = None, finish: str | None = None, **more: Any) -> bytes:
    delta = {} if content is None else {"content": content}
    return (
        b"data: " + orjson.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]} | more) + b"\n\n"
    )


ROLE = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3}}\n\n'
TELLING = st.sampled_from(['"finish_reason":"stop"', '"usage":{', '"error":', "[DONE]", "data: [DONE]", "\n\n", "\r\n"])
TEXTS = st.lists(TELLING | st.text(max_size=8), max_size=4).map("".join)


def cut(chunks: list[bytes]) -> list[bytes]:
    cutter = Cutter()
    return [event for each in chunks for event in cutter.feed(each)]


def in_pieces(whole: bytes, borders: list[int]) -> list[bytes]:
    edges = [0, *sorted(border % (len(whole) + 1) for border in borders), len(whole)]
    return [whole[start:end] for start, end in pairwise(edges)]


@given(
    texts=st.lists(TEXTS, max_size=5),
    crlf=st.booleans(),
    comment=st.booleans(),
    borders=st.lists(st.integers(0, 10_000), max_size=20),
)
def test_any_chunking_gives_the_same_events(texts: list[str], crlf: bool, comment: bool, borders: list[int]) -> None:
    events = [ROLE, *(chunk(content=text) for text in texts), *([b": ping\n\n"] if comment else []), DONE]
    whole = b"".join(events)
    assert cut(in_pieces(whole.replace(b"\n", b"\r\n") if crlf else whole, borders)) == events


def test_a_line_break_between_two_chunks_is_one_line_break() -> None:
    assert cut([b"data: 1\r", b"\n\r", b"\ndata: 2\r\n\r\n"]) == [b"data: 1\n\n", b"data: 2\n\n"]


def test_half_an_event_is_no_event() -> None:
    assert cut([b'data: {"choices":']) == []


@pytest.mark.parametrize(
    ("raw", "event"),
    [
        pytest.param(chunk(content="Hi"), {"speaks": True}, id="a token"),
        pytest.param(ROLE, {}, id="the role alone is no token"),
        pytest.param(chunk(finish="stop"), {"finish_reason": "stop"}, id="the end"),
        pytest.param(chunk(content="!", finish="length"), {"speaks": True, "finish_reason": "length"}, id="both"),
        pytest.param(USAGE, {"usage": (7, 3), "only_usage": True}, id="a chunk with usage only"),
        pytest.param(
            chunk(content="a", usage={"prompt_tokens": 1, "completion_tokens": 2}),
            {"speaks": True, "usage": (1, 2)},
            id="usage beside a token",
        ),
        pytest.param(chunk(content="a", usage=None), {"speaks": True}, id="usage that is null"),
        pytest.param(b'data: {"error":{"message":"out of memory"}}\n\n', {"error": "out of memory"}, id="an error"),
        pytest.param(b'data: {"error":"bad"}\n\n', {"error": "bad"}, id="an error as a text"),
        pytest.param(DONE, {"done": True}, id="DONE"),
        pytest.param(b"data:[DONE]\n\n", {"done": True}, id="DONE without the space"),
        pytest.param(b": keep-alive\n\n", {}, id="a comment"),
        pytest.param(b"event: ping\n\n", {}, id="an event without data"),
        pytest.param(b'data: {"choices":[{"text":"Hi"}]}\n\n', {"speaks": True}, id="a text completion"),
        pytest.param(
            b'data: {"choices":[{"delta":{"tool_calls":[{"index":0}]}}]}\n\n', {"speaks": True}, id="a tool call"
        ),
        pytest.param(b'data: {"choices":[{"delta":{"reasoning_content":"hm"}}]}\n\n', {"speaks": True}, id="a thought"),
    ],
)
def test_an_event_tells_what_routing_needs(raw: bytes, event: dict[str, Any]) -> None:
    assert read_event(raw, started=False) == Event(raw, **event)


@pytest.mark.parametrize(
    "raw",
    [
        chunk(finish="stop"),
        USAGE,
        DONE,
        b'data: {"error": {"message": "x"}}\n\n',
        b'data: {"usage": {"prompt_tokens": 1}}\n\n',
    ],
    ids=["the end", "usage", "DONE", "an error with spaces", "usage with spaces"],
)
def test_telling_events_are_read_in_a_started_stream_too(raw: bytes) -> None:
    assert read_event(raw, started=True) == read_event(raw, started=False)


@given(TEXTS)
def test_no_content_is_taken_for_an_end_an_error_or_usage(text: str) -> None:
    for started in (False, True):
        event = read_event(chunk(content=text), started)
        assert (event.finish_reason, event.usage, event.error, event.done) == (None, None, None, False)
        assert event.speaks or not text


def test_a_comment_in_a_started_stream_is_no_token() -> None:
    assert not read_event(b": keep-alive\n\n", started=True).speaks


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"hello", id="no JSON"),
        pytest.param(b"[1]", id="a list"),
        pytest.param(b'{"choices":5}', id="a number of choices"),
        pytest.param(b'{"choices":[null]}', id="a choice that is null"),
        pytest.param(b'{"choices":[{"delta":"x"}]}', id="a delta that is no object"),
        pytest.param(b'{"usage":{"prompt_tokens":"many"}}', id="usage in words"),
        pytest.param(b'{"usage":{}, "usage":{"completion_tokens":1}}', id="half of the usage"),
    ],
)
def test_what_is_no_openai_event_is_a_bad_event(data: bytes) -> None:
    with pytest.raises(BadEvent, match="not an OpenAI stream event"):
        read_event(b"data: " + data + b"\n\n", started=False)


def test_a_finish_reason_is_always_a_text() -> None:
    event = read_event(b'data: {"choices":[{"finish_reason":["stop"]}]}\n\n', started=False)
    assert isinstance(event.finish_reason, str)


KEYS = st.sampled_from(["choices", "delta", "content", "finish_reason", "usage", "prompt_tokens", "error", "message"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=10,
)


@given(data=st.binary(max_size=60) | JSON.map(orjson.dumps), started=st.booleans())
def test_anything_at_all_is_an_event_or_a_bad_event(data: bytes, started: bool) -> None:
    try:
        event = read_event(b"data: " + data + b"\n\n", started)
    except BadEvent:
        return
    assert event.finish_reason is None or isinstance(event.finish_reason, str)
    assert event.usage is None or min(event.usage) >= 0


def test_an_error_event_can_be_read_again_and_is_no_end() -> None:
    event = read_event(error_event(ApiError(502, "stream_broken", 'it "broke"')), started=True)
    assert (event.error, event.done) == ('it "broke"', False)
