"""What the suite of faults makes of an answer: whole, refused, broken, or wrong."""

from __future__ import annotations

import pytest

from benchmarks.night.visit import End, Question, Reply, Visit, judged, of_cloud, of_fake, said_in
from benchmarks.wire import DONE, Answer, Kind, Usage, encoded, error_json, event

TOKENS = 4
ANSWER = Answer(Kind.CHAT, "chatcmpl-1", 1, "smoke")
TEXT = of_fake(TOKENS)
KNOWN = {0: TEXT}
AT_HOME = {"x-spillway-target": "local/smoke", "x-spillway-reason": "local"}
AWAY = {"x-spillway-target": "cloud/stand-in", "x-spillway-reason": "spill:failed"}


def stream(text: str = TEXT, reason: str = "length", end: bytes = DONE) -> bytes:
    return event(ANSWER.piece(text)) + event(ANSWER.closing(reason)) + end


def seen(
    body: bytes, *, streams: bool = True, status: int = 200, headers: dict[str, str] | None = None, broke: str = ""
) -> Visit:
    question = Question(0, "standard", streams, TOKENS, "smoke")
    return judged(question, Reply(status, body, AT_HOME if headers is None else headers, 1.0, 1.5, 2.0, broke), KNOWN)


def test_a_whole_stream_with_the_right_words_is_an_answer() -> None:
    visit = seen(stream())
    assert (visit.end, visit.target, visit.is_away, visit.may_spill) == (End.ANSWERED, "local/smoke", False, True)


def test_the_cloud_s_words_are_known_too() -> None:
    assert seen(stream(of_cloud(TOKENS)), headers=AWAY).end is End.ANSWERED
    assert seen(stream(of_cloud(TOKENS))).end is End.WRONG
    assert seen(stream(), headers=AWAY).end is End.WRONG


def test_a_whole_answer_is_checked_with_its_usage() -> None:
    assert seen(encoded(ANSWER.whole(TEXT, "length", Usage(3, TOKENS))), streams=False).end is End.ANSWERED
    without = ANSWER.whole(TEXT, "length", Usage(3, TOKENS))
    del without["usage"]
    assert seen(encoded(without), streams=False).end is End.WRONG


@pytest.mark.parametrize(
    "body",
    [
        stream(reason="abort"),
        stream("", "abort"),
        stream(TEXT[:-3]),
        stream("something else"),
        event(ANSWER.piece(TEXT)) + DONE,
        event(ANSWER.piece(TEXT)),
    ],
)
def test_what_looks_like_an_answer_and_is_none_is_wrong(body: bytes) -> None:
    visit = seen(body)
    assert visit.end is End.WRONG
    assert visit.why


def test_an_error_after_the_first_token_is_seen_as_such() -> None:
    broken = event(ANSWER.piece(TEXT[:5])) + event(error_json("the engine died", "server_error", 500)) + DONE
    assert seen(broken).end is End.AFTER
    assert seen(event(ANSWER.piece(TEXT[:5])), broke="ClientPayloadError: cut").end is End.AFTER


def test_an_error_before_the_first_token_is_seen_as_such() -> None:
    assert seen(b"", status=0, headers={}, broke="ClientConnectorError: refused").end is End.BEFORE
    assert seen(b'{"error":{}}', status=503).end is End.BEFORE
    assert seen(event(error_json("the engine died", "server_error", 500)) + DONE).end is End.BEFORE


def test_who_is_told_when_to_come_again_is_refused() -> None:
    for status in (429, 503):
        assert seen(b"{}", status=status, headers={"retry-after": "2"}).end is End.REFUSED
        assert seen(b"{}", status=status, headers={}).end is End.BEFORE


def test_an_unforeseeable_answer_is_checked_for_its_form_only() -> None:
    question = Question(-1, "bulk", True, 200, "smoke")
    reply = Reply(200, stream("whatever it says"), AT_HOME, 1.0, 1.5, 2.0)
    assert judged(question, reply, KNOWN).end is End.ANSWERED
    assert judged(question, Reply(200, stream("so", "abort"), AT_HOME, 1.0, 1.5, 2.0), KNOWN).end is End.WRONG


def test_text_and_reason_are_read_from_both_forms() -> None:
    assert said_in(stream(), stream=True) == (TEXT, "length")
    assert said_in(encoded(ANSWER.whole(TEXT, "stop", Usage(1, 1))), stream=False) == (TEXT, "stop")
    assert said_in(b"data: {broken", stream=True) == ("", None)
