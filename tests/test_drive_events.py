"""Reading a stream cheaply: however it is cut into pieces, the counts are those of reading every event as JSON."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.drive.events import LONGEST_EVENT_BYTES, Events
from tests.test_sse import ROLE, USAGE, chunk

DONE = b"data: [DONE]\n\n"
STOP = chunk(finish="stop")
# Texts that look like what the reader goes by.
TELLING = st.sampled_from(
    [
        '"finish_reason":"stop"',
        '"usage":{',
        '"error":',
        "[DONE]",
        "data: [DONE]",
        "\n\n",
        "\r\n",
        '"content":"',
        '"}',
        "\\",
    ]
)
TEXTS = st.lists(TELLING | st.text(max_size=8), max_size=4).map("".join)


def told(*pieces: bytes) -> Events:
    """What a stream says; a second passes between its reads."""
    events = Events()
    for second, piece in enumerate(pieces):
        events.take([piece], float(second))
    events.end()
    return events


def spaced(text: str, **more: Any) -> bytes:
    """An event of a server that writes its JSON with spaces, and repeats the role, as ollama does."""
    choice = {"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": None}
    return b"data: " + json.dumps({"id": "a", "choices": [choice]} | more).encode() + b"\n\n"


@given(
    texts=st.lists(TEXTS, max_size=12),
    crlf=st.booleans(),
    borders=st.lists(st.integers(0, 10_000), max_size=20),
)
def test_however_a_stream_is_cut_its_counts_are_the_same(texts: list[str], crlf: bool, borders: list[int]) -> None:
    whole = b"".join([ROLE, *(chunk(content=text) for text in texts), b": ping\n\n", STOP, USAGE, DONE])
    whole = whole.replace(b"\n", b"\r\n") if crlf else whole
    edges = [0, *sorted(border % (len(whole) + 1) for border in borders), len(whole)]
    events = told(*(whole[start:end] for start, end in pairwise(edges)))
    assert events.events == len(texts)
    assert (events.prompt_tokens, events.completion_tokens, events.finish_reason) == (7, 3, "stop")
    assert (events.is_done, events.complaint, events.malformed) == (True, None, None)
    assert sum(events.gap_events) <= len(texts)


def test_one_read_can_bring_events_as_one_piece_or_as_many() -> None:
    events = Events()
    tokens = [chunk(content=f" {number}") for number in range(6)]
    assert events.take([tokens[0]], 1.0) == 1
    assert events.take(tokens[1:3], 1.5) == 2
    assert events.take([b"".join(tokens[3:])], 2.5) == 3
    assert (events.first_s, events.last_s) == (1.0, 2.5)
    assert (events.gaps_s, events.gap_events, events.events) == ([0.5, 1.0], [2, 3], 6)


def test_the_opening_of_a_chat_is_no_token_and_a_token_without_text_is_one() -> None:
    events = told(ROLE, chunk(content=""), chunk(content="é"))
    assert (events.events, events.first_s) == (2, 1.0)


def test_a_server_that_repeats_the_role_is_understood() -> None:
    events = told(spaced("a"), spaced("b"), spaced("c"))
    assert events.events == 3
    assert events.gaps_s == [1.0, 1.0]


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning", "refusal"])
def test_whatever_a_model_says_counts(name: str) -> None:
    thought = b'data: {"choices":[{"delta":{"%b":"hm"},"finish_reason":null}]}\n\n' % name.encode()
    events = told(ROLE, thought, thought, chunk(content="so"), chunk(content="be it"))
    assert events.events == 4


def test_the_calling_of_a_tool_counts() -> None:
    call = b'data: {"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{"}}]}}]}\n\n'
    assert told(ROLE, call, call).events == 2


def test_the_last_token_can_bring_the_finish_reason_with_it() -> None:
    events = told(*(chunk(content=f" {number}") for number in range(3)), chunk(content=" end", finish="length"))
    assert (events.events, events.finish_reason) == (4, "length")


def test_usage_in_every_event_is_read_to_the_last() -> None:
    counted = [chunk(content="a", usage={"prompt_tokens": 9, "completion_tokens": each}) for each in (1, 2, 3)]
    events = told(chunk(content="a"), *counted)
    assert (events.events, events.prompt_tokens, events.completion_tokens) == (4, 9, 3)


@pytest.mark.parametrize(
    "error",
    [
        b'data: {"error":{"message":"out of memory","code":500}}\n\n',
        b'event: error\ndata: {"error":"out of memory"}\n\n',
        b'data: {"object":"error","message":"out of memory","code":500}\n\n',
    ],
)
def test_an_error_after_plain_events_is_seen(error: bytes) -> None:
    events = told(ROLE, chunk(content="a"), chunk(content="b"), error, DONE)
    assert events.complaint == "out of memory"
    assert events.events == 2


@pytest.mark.parametrize(
    ("piece", "what"),
    [
        (b'data: {"choices":[{"delta":{"content":\n\n', "not what it should be"),
        (b'data: {"choices":7}\n\n', "not what it should be"),
        (DONE + chunk(content="late"), "something after [DONE]"),
        (chunk(content="a")[:-1], "inside an event"),
        (b"data: " + b"x" * (LONGEST_EVENT_BYTES + 1), "without an end"),
    ],
    ids=["cut JSON", "other JSON", "more after the end", "no blank line", "too long"],
)
def test_what_is_no_event_is_named_and_shown(piece: bytes, what: str) -> None:
    events = told(ROLE, chunk(content="a"), piece)
    assert events.malformed is not None
    assert what in events.malformed
    assert len(events.malformed) < 300


def test_data_over_several_lines_is_one_event() -> None:
    assert told(b'data: {"choices":\ndata: [{"delta":{"content":"a"}}]}\n\n').events == 1
