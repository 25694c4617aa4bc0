"""The commit gate and what follows it: before the first token another target may be tried, after it never."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.reply import MOST_HELD_BYTES, Reading
from router.sse import DONE
from tests.test_sse import ROLE, USAGE, chunk, in_pieces

HI, THERE, STOP = chunk(content="Hi"), chunk(content=" there"), chunk(finish="stop")
ERROR = b'data: {"error":{"message":"EngineCore died"}}\n\n'
ABORT = chunk(finish="abort")
GARBAGE = b"data: {half\n\n"
TELLING_GARBAGE = b'data: {"usage":{]\n\n'
PING = b": ping\n\n"


def read(*pieces: bytes, show_usage: bool = False, over: bool = True) -> tuple[Reading, bytes]:
    """(the reading, what it let through) of a stream that came in these pieces and then ended."""
    reading = Reading("local/smoke", show_usage)
    passed = b"".join([reading.feed(piece) for piece in pieces])
    if over:
        reading.over()
    return reading, passed


def test_a_whole_stream_is_relayed_as_it_came() -> None:
    events = [ROLE, PING, HI, THERE, STOP, USAGE, DONE]
    reading, passed = read(*events, show_usage=True)
    assert passed == b"".join(events)
    assert (reading.usage, reading.finish_reason, reading.spoken) == ((7, 3), "stop", 2)
    assert (reading.ended, reading.failure) == (True, None)


@given(borders=st.lists(st.integers(0, 10_000), max_size=20))
def test_the_pieces_it_comes_in_make_no_difference(borders: list[int]) -> None:
    whole = b"".join([ROLE, PING, HI, THERE, STOP, USAGE, DONE])
    reading, passed = read(*in_pieces(whole, borders))
    assert passed == whole.replace(USAGE, b"")
    assert (reading.usage, reading.spoken, reading.ended, reading.failure) == ((7, 3), 2, True, None)


def test_usage_is_hidden_from_clients_that_did_not_ask() -> None:
    reading, passed = read(ROLE, HI, STOP, USAGE, DONE)
    assert passed == ROLE + HI + STOP + DONE
    assert reading.usage == (7, 3)


def test_usage_beside_a_token_is_not_lost() -> None:
    both = chunk(content="Hi", usage={"prompt_tokens": 1, "completion_tokens": 1})
    reading, passed = read(both, STOP, DONE)
    assert passed == both + STOP + DONE
    assert reading.usage == (1, 1)


@pytest.mark.parametrize(
    ("events", "cause"),
    [
        pytest.param([], "empty", id="nothing came"),
        pytest.param([ROLE], "empty", id="the role alone, then the end"),
        pytest.param([ROLE, DONE], "empty", id="the role alone, then DONE"),
        pytest.param([ERROR], "stream_error", id="an error at once"),
        pytest.param([ROLE, ERROR], "stream_error", id="an error after the role"),
        pytest.param([ABORT, DONE], "abort", id="an engine that is shutting down"),
        pytest.param([ROLE, GARBAGE], "malformed", id="no JSON"),
        pytest.param([PING, USAGE, DONE], "empty", id="usage without an answer"),
    ],
)
def test_before_the_first_token_nothing_is_let_through(events: list[bytes], cause: str) -> None:
    reading, passed = read(*events)
    assert (passed, reading.started) == (b"", False)
    assert reading.failure is not None
    assert (reading.failure.target, reading.failure.cause) == ("local/smoke", cause)


@pytest.mark.parametrize(
    ("events", "sent", "cause"),
    [
        pytest.param([HI, THERE, ERROR], [HI, THERE], "stream_error", id="an error"),
        pytest.param([HI, THERE, ERROR, DONE], [HI, THERE], "stream_error", id="an error and still DONE"),
        pytest.param([HI, THERE], [HI, THERE], "cut", id="an end without DONE"),
        pytest.param([HI, STOP], [HI, STOP], "cut", id="a finish without DONE"),
        pytest.param([HI, DONE], [HI], "cut", id="DONE without a finish reason"),
        pytest.param([HI, ABORT, DONE], [HI], "abort", id="an abort"),
        pytest.param([HI, TELLING_GARBAGE], [HI], "malformed", id="telling garbage"),
    ],
)
def test_after_the_first_token_all_before_the_break_is_let_through(
    events: list[bytes], sent: list[bytes], cause: str
) -> None:
    for pieces in (events, [HI, b"".join(events[1:])]):
        reading, passed = read(*pieces)
        assert reading.failure is not None
        assert (passed, reading.failure.cause, reading.ended) == (b"".join(sent), cause, False)


def test_a_target_that_is_lost_after_its_last_word_has_answered() -> None:
    reading, _ = read(HI, STOP, DONE, over=False)
    reading.cut("cut", "the connection was reset")
    assert (reading.ended, reading.failure) == (True, None)


def test_a_target_that_is_lost_before_its_last_word_has_not() -> None:
    reading, _ = read(HI, STOP, over=False)
    reading.cut("silence", "nothing was sent for 2 s")
    assert reading.failure is not None
    assert reading.failure.cause == "silence"


def test_the_first_token_brings_what_was_held_back() -> None:
    reading = Reading("local/smoke", show_usage=False)
    assert [reading.feed(event) for event in (ROLE, PING, HI, THERE)] == [b"", b"", ROLE + PING + HI, THERE]


def test_an_answer_without_text_is_an_answer_when_it_has_a_finish_reason() -> None:
    assert read(ROLE, STOP, DONE)[1] == ROLE + STOP + DONE


def test_only_between_two_events_past_the_first_token_does_it_flow() -> None:
    reading = Reading("local/smoke", show_usage=False)
    half = len(THERE) // 2
    states = [(reading.feed(piece), reading.flows)[1] for piece in (ROLE, HI, THERE[:half], THERE[half:], STOP, DONE)]
    assert states == [False, True, False, True, True, False]


@pytest.mark.parametrize("before", [b"", HI], ids=["before the first token", "after it"])
def test_an_event_without_end_is_given_up(before: bytes) -> None:
    reading = Reading("local/smoke", show_usage=False)
    reading.feed(before + b"data: ")
    piece = b"x" * 65536
    for _ in range(MOST_HELD_BYTES // len(piece) + 1):
        reading.feed(piece)
    assert reading.failure is not None
    assert reading.failure.cause == "malformed"
