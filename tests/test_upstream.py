"""The engine's side of HTTP/1.1: whatever an engine sends, and however it comes, clients get an answer or an error."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from router.ids import new_id
from tests.callers import Heard, calling, heard, request
from tests.routers import asked, until
from tests.scripted import (
    DONE,
    HI,
    LAST,
    STOP,
    STREAM,
    STREAM_HEAD,
    WHOLE,
    Line,
    Script,
    answered,
    closes,
    framed,
    polite,
    resets,
    says,
)
from tests.test_sse import ROLE, USAGE, chunk
from tests.wired import Wired, rested, wired

STREAMED = ROLE + HI + STOP + DONE
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streaming"])


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wired]:
    with wired(tmp_path_factory.mktemp("upstream")) as running:
        yield running


@pytest.fixture
def wire(shared: Wired) -> Wired:
    rested(shared)
    shared.engine.asked.clear()
    return shared


def ask(wire: Wired, script: Script, stream: bool = True, *lines: str, **more: Any) -> Heard:
    wire.engine.script = script
    return heard(wire.url, request(asked(stream=stream, **more), *lines))


def in_pieces(*pieces: bytes) -> Script:
    """Sends each piece when the one before it has been read."""

    def script(line: Line) -> None:
        for piece in pieces:
            line.until_read()
            line.send(piece)

    return script


def then(*scripts: Script) -> Script:
    def script(line: Line) -> None:
        for each in scripts:
            each(line)

    return script


def test_a_stream_arrives_the_same_wherever_it_is_cut(wire: Wired) -> None:
    for border in range(len(STREAM_HEAD) - 4, len(STREAM)):
        answer = ask(wire, in_pieces(STREAM[:border], STREAM[border:]))
        assert (answer.status, answer.body) == (200, STREAMED), f"cut at {border}"


def test_a_stream_in_single_bytes_arrives_the_same(wire: Wired) -> None:
    stream = STREAM_HEAD + framed(ROLE, HI, HI, HI, STOP, USAGE, DONE) + LAST
    answer = ask(wire, in_pieces(*[stream[at : at + 1] for at in range(len(stream))]))
    assert answer.body == ROLE + HI * 3 + STOP + DONE


def test_a_stream_with_many_tokens_arrives_the_same_in_pieces_of_any_size(wire: Wired) -> None:
    words = [chunk(content=f"word {number} ") for number in range(60)]
    stream = STREAM_HEAD + framed(ROLE, *words, STOP, USAGE, DONE) + LAST
    for size in (1000, 217, 110, 96, 53, 31):
        pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
        assert ask(wire, in_pieces(*pieces)).body == b"".join([ROLE, *words, STOP, DONE]), f"pieces of {size}"


def test_events_may_be_cut_into_chunks_or_gathered_in_them(wire: Wired) -> None:
    body = ROLE + HI + HI + STOP + USAGE + DONE
    for size in (1, 50, 100, 5000):
        pieces = [body[at : at + size] for at in range(0, len(body), size)]
        for script in (says(STREAM_HEAD + framed(*pieces) + LAST), in_pieces(STREAM_HEAD, *map(framed, pieces), LAST)):
            assert ask(wire, script).body == ROLE + HI + HI + STOP + DONE


def test_a_whole_answer_arrives_the_same_wherever_it_is_cut(wire: Wired) -> None:
    whole = answered()
    for border in range(1, len(whole), 3):
        assert ask(wire, in_pieces(whole[:border], whole[border:]), stream=False).body == WHOLE


@BOTH
def test_a_connection_that_is_closed_just_when_it_is_used_again_goes_unseen(wire: Wired, stream: bool) -> None:
    hung_up: list[Line] = []

    def hangs_up_on_the_second(line: Line) -> None:
        if len(line.asked) > 1:
            hung_up.append(line)
            line.close()
        else:
            polite(line)

    for _ in range(4):
        answer = ask(wire, hangs_up_on_the_second, stream)
        assert (answer.status, answer.one("x-spillway-attempts")) == (200, "1")
    assert hung_up
    assert wire.resting is None


@BOTH
def test_a_new_connection_that_is_closed_without_an_answer_is_a_failure(wire: Wired, stream: bool) -> None:
    wire.engine.hang_up()
    answer = ask(wire, Line.close, stream)
    assert (answer.status, answer.code) == (503, "no_target")
    assert wire.resting == "connect"


def test_an_engine_that_throws_new_connections_away_is_a_failure(wire: Wired) -> None:
    for stream in (True, False):
        wire.engine.until_polled()
        wire.engine.is_rude = True
        wire.engine.hang_up()
        answer = heard(wire.url, request(asked(stream=stream)))
        wire.engine.is_rude = False
        assert (answer.status, answer.code) == (503, "no_target")
        until(lambda: wire.resting is None and wire.in_flight == 0)
        assert heard(wire.url, request()).status == 200


def test_an_engine_that_closes_what_it_kept_just_when_it_is_asked_for_its_models_is_there(wire: Wired) -> None:
    def is_there_each_time() -> bool:
        assert wire.router.target("local/tiny")["state"] == "ready"
        return wire.engine.hidden >= 2

    wire.engine.hides_models = True
    until(is_there_each_time)
    wire.engine.hides_models = False


@BOTH
@pytest.mark.parametrize("status", ["100 Continue", "103 Early Hints", "102 Processing"])
def test_informational_answers_are_passed_over(wire: Wired, status: str, stream: bool) -> None:
    before = f"HTTP/1.1 {status}\r\nlink: </a>; rel=preload\r\n\r\n".encode()
    final = STREAM if stream else answered()
    for script in (says(before + before + final), in_pieces(before, before, final)):
        answer = ask(wire, script, stream)
        assert (answer.status, answer.body) == (200, STREAMED if stream else WHOLE)
        assert "link" not in answer.names


@BOTH
def test_a_body_may_end_with_the_connection(wire: Wired, stream: bool) -> None:
    kind = "text/event-stream" if stream else "application/json"
    start = f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\n\r\n".encode()
    body = ROLE + HI + STOP + USAGE + DONE if stream else WHOLE
    answer = ask(wire, then(in_pieces(start, body[:100], body[100:]), closes), stream)
    assert answer.body == (STREAMED if stream else WHOLE)


@BOTH
def test_what_follows_an_answer_unasked_reaches_nobody(wire: Wired, stream: bool) -> None:
    final = STREAM if stream else answered()
    for poison in (answered(b'{"choices":[],"poison":true}'), answered(b"", "503 Full"), b"garbage"):
        for script in (says(final + poison), in_pieces(final, poison)):
            answer = ask(wire, script, stream)
            assert (answer.status, answer.body) == (200, STREAMED if stream else WHOLE)
            # Whoever asked next on that connection would take it for his own.
            until(wire.engine.last_line.is_closed)
    assert wire.resting is None


@pytest.mark.parametrize("how", [closes, resets], ids=["closed", "reset"])
@BOTH
def test_an_engine_that_breaks_off_before_the_first_token_is_a_failure(wire: Wired, how: Script, stream: bool) -> None:
    begun = STREAM_HEAD + framed(ROLE) if stream else answered()[:-5]
    answer = ask(wire, then(says(begun), how), stream)
    assert (answer.status, answer.code) == (503, "no_target")
    assert wire.resting == "cut"


@pytest.mark.parametrize("how", [closes, resets, says(LAST)], ids=["closed", "reset", "ended"])
@pytest.mark.parametrize("finished", [False, True], ids=["in the middle", "without its last word"])
def test_an_engine_that_breaks_off_after_the_first_token_ends_the_stream_with_an_error(
    wire: Wired, how: Script, finished: bool
) -> None:
    before = [ROLE, HI, STOP] if finished else [ROLE, HI]
    name = new_id()
    with calling(wire.url) as caller:
        wire.engine.script = then(says(STREAM_HEAD + framed(*before)), how)
        caller.send(request(asked(stream=True), f"x-request-id: {name}"))
        answer = caller.heard()
        wire.engine.script = polite
        caller.send(request())
        assert caller.heard().body == WHOLE
    *events, last = answer.body.split(b"\n\n")[:-1]
    assert b"\n\n".join([*events, b""]) == b"".join(before)
    assert json.loads(last.removeprefix(b"data: "))["error"]["code"] == "stream_broken"
    until(lambda: wire.row(name) is not None)
    row = wire.row(name)
    assert row is not None
    assert (row["status"], row["target"]) == (502, "local/tiny")
    assert "cut" in row["error"]


ERROR = b'data: {"error":{"message":"EngineCore died","type":"InternalServerError","code":500}}\n\n'


@pytest.mark.parametrize(
    "events",
    [[ERROR, DONE], [chunk(finish="abort"), DONE], [b'data: {"usage":{nonsense\n\n', STOP, DONE]],
    ids=["an error and then [DONE]", "an abort", "no JSON"],
)
def test_a_stream_that_fails_inside_a_200_ends_with_one_error_and_nothing_after_it(
    wire: Wired, events: list[bytes]
) -> None:
    for script in (
        in_pieces(STREAM_HEAD + framed(ROLE, HI), framed(*events) + LAST),
        in_pieces(STREAM_HEAD + framed(ROLE, HI), *map(framed, events), LAST),
    ):
        text = ask(wire, script).body
        assert text.startswith(ROLE + HI + b'data: {"error":')
        assert text.count(b"data: ") == 3
        assert b"[DONE]" not in text


@pytest.mark.parametrize("events", [[ERROR, DONE], [ROLE, ERROR], [ROLE, chunk(finish="abort"), DONE], [DONE], []])
def test_a_stream_that_fails_before_its_first_token_is_no_stream(wire: Wired, events: list[bytes]) -> None:
    answer = ask(wire, says(STREAM_HEAD + framed(*events) + LAST))
    assert (answer.status, answer.code) == (503, "no_target")


@pytest.mark.parametrize("whole", [WHOLE.replace(b'"stop"', b'"abort"'), b'{"choices":[]}'], ids=["aborted", "empty"])
def test_a_whole_answer_without_a_word_of_the_model_is_none(wire: Wired, whole: bytes) -> None:
    answer = ask(wire, says(answered(whole)), stream=False)
    assert (answer.status, answer.code) == (503, "no_target")


@BOTH
@pytest.mark.parametrize(
    "data",
    [
        b"\0\1\2garbage\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ],
    ids=["garbage", "another protocol", "no status", "two lengths", "no chunks"],
)
def test_what_is_not_http_is_a_failure(wire: Wired, data: bytes, stream: bool) -> None:
    answer = ask(wire, says(data), stream)
    assert (answer.status, answer.code) == (503, "no_target")
    assert wire.resting == "cut"


@BOTH
@pytest.mark.parametrize(
    "status", ["204 No Content", "206 Partial Content", "301 Moved Permanently", "304 Not Modified"]
)
def test_a_status_that_is_no_answer_is_a_failure(wire: Wired, status: str, stream: bool) -> None:
    said = f"HTTP/1.1 {status}\r\nlocation: http://elsewhere/\r\n"
    answer = ask(
        wire,
        says((said + ("\r\n" if status[:3] in {"204", "304"} else "content-length: 2\r\n\r\n{}")).encode()),
        stream,
    )
    assert (answer.status, answer.code) == (503, "no_target")
    assert "location" not in answer.names


@pytest.mark.parametrize("status", ["418 I'm a Teapot", "430 Nobody Knows", "499 Neither", "451 Unavailable"])
def test_a_refusal_with_any_status_reaches_the_client(wire: Wired, status: str) -> None:
    answer = ask(wire, says(answered(b'{"error":{"message":"no","param":"body.n"}}', status)))
    assert (answer.status, answer.code) == (int(status[:3]), "invalid_value")
    assert answer.json["error"]["param"] == "n"
