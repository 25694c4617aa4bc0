"""What an engine says after [DONE], or instead of it: the client hears nothing of it, and nothing is left over."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.callers import calling, heard, request
from tests.routers import HELLO, asked, until
from tests.scripted import DONE, HI, LAST, STOP, STREAM, STREAM_HEAD, WHOLE, Line, answered, framed, polite, says
from tests.test_sse import ROLE, USAGE
from tests.wired import Wired, quiet, wired

SERVED = STREAM_HEAD + framed(ROLE, HI, STOP, USAGE, DONE)
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wired]:
    with wired(tmp_path_factory.mktemp("words")) as running:
        yield running


@pytest.fixture
def wire(shared: Wired) -> Wired:
    return quiet(shared)


def stays_open(line: Line) -> None:
    line.send(SERVED)
    line.until_closed()


def open_files(wire: Wired) -> int:
    return len(os.listdir(f"/proc/{wire.router.process.pid}/fd"))


@pytest.mark.parametrize(
    "more",
    [DONE, b": ping\n\n", b'data: {"error":{"message":"late"}}\n\n', HI, b"\n"],
    ids=["twice done", "a comment", "an error", "a token", "a blank line"],
)
def test_what_an_engine_says_after_its_last_word_reaches_nobody(wire: Wired, more: bytes) -> None:
    def goes_on(line: Line) -> None:
        line.send(SERVED)
        for _ in range(3):
            line.until_read()
            line.send(framed(more))
        line.until_read()
        line.send(LAST)

    with calling(wire.url) as caller:
        wire.engine.script = goes_on
        caller.send(request(asked(stream=True)) * 3)
        for _ in range(3):
            assert caller.heard().body == ROLE + HI + STOP + DONE
        wire.engine.script = polite
        caller.send(request())
        assert caller.heard().body == WHOLE


def test_a_message_that_never_ends_keeps_neither_the_client_nor_the_connection(wire: Wired) -> None:
    with calling(wire.url) as caller:
        wire.engine.script = stays_open
        caller.send(request(asked(stream=True)))
        assert caller.heard().body == ROLE + HI + STOP + DONE
        left = wire.engine.last_line
        wire.engine.script = polite
        caller.send(request())
        assert caller.heard().body == WHOLE
        until(lambda: wire.in_flight == 0)
    until(left.is_closed)


def test_an_event_without_an_end_is_bounded(wire: Wired) -> None:
    endless = framed(b"data: {" + b"x" * 65536)

    def never_ends(line: Line) -> None:
        line.send(STREAM_HEAD + framed(ROLE, HI))
        while True:
            line.send(endless)

    wire.engine.script = never_ends
    answer = heard(wire.url, request(asked(stream=True)))
    assert answer.body.startswith(ROLE + HI + b'data: {"error":')
    assert "malformed" in answer.body.decode()
    until(wire.engine.last_line.is_closed)


def test_a_stream_that_never_comes_to_a_token_is_bounded(wire: Wired) -> None:
    def never_begins(line: Line) -> None:
        line.send(STREAM_HEAD)
        while True:
            line.send(framed(ROLE * 100))

    wire.engine.script = never_begins
    answer = heard(wire.url, request(asked(stream=True)))
    assert (answer.status, answer.code) == (503, "no_target")
    until(wire.engine.last_line.is_closed)


@pytest.mark.parametrize("status", ["200 OK", "500 Broken"])
def test_a_whole_answer_that_never_ends_is_bounded(wire: Wired, status: str) -> None:
    def never_ends(line: Line) -> None:
        line.send(f"HTTP/1.1 {status}\r\ncontent-length: 99999999999\r\n\r\n".encode())
        while True:
            line.send(bytes(2**20))

    wire.engine.script = never_ends
    answer = heard(wire.url, request())
    assert (answer.status, answer.code) == (503, "no_target")
    until(wire.engine.last_line.is_closed)
    with open(f"/proc/{wire.router.process.pid}/status") as status_file:
        peak_kib = next(int(line.split()[1]) for line in status_file if line.startswith("VmHWM"))
    assert peak_kib < 500 * 1024


@pytest.mark.parametrize("options", [None, {}, {"include_usage": False}, {"continuous_usage_stats": False}])
def test_usage_is_asked_for_and_hidden_from_who_did_not_ask(wire: Wired, options: dict[str, bool] | None) -> None:
    more: dict[str, Any] = {} if options is None else {"stream_options": options}
    assert heard(wire.url, request(asked(stream=True, **more))).body == ROLE + HI + STOP + DONE
    told = json.loads(wire.engine.asked[-1].body)
    assert told["stream_options"] == (options or {}) | {"include_usage": True}


def test_usage_is_shown_to_who_asked(wire: Wired) -> None:
    body = asked(stream=True, stream_options={"include_usage": True})
    assert heard(wire.url, request(body)).body == ROLE + HI + STOP + USAGE + DONE
    assert wire.engine.asked[-1].body == body


def test_the_engine_hears_the_request_and_the_trace_but_no_steering_and_no_key(wire: Wired) -> None:
    body = asked(priority=-5, kv_transfer_params={"a": 1}, vllm_xargs={"b": 2}, cache_salt="c", temperature=0.5, x=[1])
    lines = (
        f"traceparent: {TRACE}",
        "tracestate: a=b",
        "x-request-id: mine",
        "authorization: Bearer secret",
        "cookie: a",
    )
    heard(wire.url, request(body, *lines, "x-spillway-feature: search", "accept-encoding: br"))
    told = wire.engine.asked[-1]
    assert json.loads(told.body) == json.loads(asked(temperature=0.5, x=[1]))
    assert told.fields["traceparent"] == TRACE
    assert told.fields["tracestate"] == "a=b"
    assert told.fields["x-request-id"] == "mine"
    assert told.fields.keys() == {
        "host",
        "accept",
        "content-type",
        "content-length",
        "x-request-id",
        "traceparent",
        "tracestate",
    }


def test_a_body_that_needs_no_change_goes_on_byte_by_byte(wire: Wired) -> None:
    odd = b'  {"model" : "tiny",\n "messages":' + json.dumps(HELLO).encode() + b', "seed":1e2, "x":"\\u00e9"}  '
    heard(wire.url, request(odd))
    assert wire.engine.asked[-1].body == odd


FOREIGN = ("server: vllm", "set-cookie: a=b", "keep-alive: timeout=5", "x-secret: inner", "www-authenticate: Basic")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streaming"])
def test_the_engine_s_own_header_stays_behind(wire: Wired, stream: bool) -> None:
    lines = "".join(f"{line}\r\n" for line in FOREIGN).encode()
    final = STREAM if stream else answered()
    wire.engine.script = says(final.replace(b"\r\n", b"\r\n" + lines, 1))
    answer = heard(wire.url, request(asked(stream=stream), "x-request-id: mine"))
    framing = {"transfer-encoding", "cache-control"} if stream else {"content-length"}
    own = {"target", "model", "tier", "reason", "attempts", "usd"}
    assert answer.names == {"date", "content-type", "x-request-id"} | framing | {f"x-spillway-{name}" for name in own}
    assert len(answer.fields) == len(answer.names)
    assert answer.one("content-type").split(";")[0] == ("text/event-stream" if stream else "application/json")


def test_chunks_of_a_whole_answer_are_put_together(wire: Wired) -> None:
    pieces = framed(WHOLE[:10], WHOLE[10:])
    start = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    wire.engine.script = says(start + pieces + LAST)
    answer = heard(wire.url, request())
    assert (answer.body, "transfer-encoding" in answer.names) == (WHOLE, False)


@pytest.mark.parametrize("name", ["a\\r\\nx-evil: 1", "ä\u2028b", "x" * 129, "a\tb"])
def test_a_name_of_the_client_s_that_cannot_stand_in_a_header_is_not_used(wire: Wired, name: str) -> None:
    answer = heard(wire.url, request(None).replace(b"host: router", f"x-request-id: {name}".encode()))
    if "\\" not in name:
        assert answer.one("x-request-id").startswith("req-")
    assert "x-evil" not in answer.names


def test_a_content_type_of_the_engine_s_makes_no_header_of_its_own(wire: Wired) -> None:
    odd = "content-type: text/event-stream; \u00e9\u0085x"
    wire.engine.script = says(STREAM.replace(b"content-type: text/event-stream", odd.encode("latin-1"), 1))
    answer = heard(wire.url, request(asked(stream=True)))
    assert answer.one("content-type") == "text/event-stream; ??x"


def test_connections_that_nobody_uses_are_closed(wire: Wired) -> None:
    for _ in range(5):
        heard(wire.url, request())
    # Only what asks for the list of models now and then may be open.
    until(lambda: sum(not line.is_closed() for line in wire.engine.lines if line.asked) <= 1)


def test_after_hundreds_of_requests_of_all_kinds_no_file_is_left_open(wire: Wired) -> None:
    until(lambda: wire.engine.open_lines <= 1)
    before = open_files(wire)
    half = says(STREAM_HEAD + framed(ROLE, HI))
    for number in range(300):
        wire.engine.script = [polite, half, Line.close, Line.reset, says(b"junk"), polite][number % 6]
        with calling(wire.url) as caller:
            caller.send(request(asked(stream=wire.engine.script is half or number % 4 < 2)))
            if number % 3 == 0:
                caller.reset()
            elif number % 3 == 1:
                assert caller.begun().status in {200, 503, 429}
    until(lambda: wire.in_flight == 0)
    until(lambda: open_files(wire) <= before)
