"""What is not a request is refused with one clear answer, in its turn, and nothing of it stays behind."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.callers import calling, chunks, head, request
from tests.routers import asked, until
from tests.scripted import DONE, HI, LAST, STOP, STREAM_HEAD, WHOLE, Line, framed, polite
from tests.test_sse import ROLE, USAGE
from tests.wired import Wired, wired

RECEIVE_S = 1.0
BODY = asked()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wired]:
    limits = f"[limits]\nbody_bytes = 20000\nreceive_s = {RECEIVE_S}\n"
    with wired(tmp_path_factory.mktemp("refusals"), limits) as running:
        yield running


@pytest.fixture
def wire(shared: Wired) -> Wired:
    shared.engine.script = polite
    shared.engine.asked.clear()
    return shared


def connections(wire: Wired) -> int:
    """How many files the router has open."""
    return len(os.listdir(f"/proc/{wire.router.process.pid}/fd"))


LENGTH = f"content-length: {len(BODY)}"
CHUNKED = "transfer-encoding: chunked"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(head(LENGTH, "content-length: 4") + BODY, id="two lengths"),
        pytest.param(head(LENGTH, LENGTH) + BODY, id="one length twice"),
        pytest.param(head(f"content-length: {len(BODY)}, {len(BODY)}") + BODY, id="a list of lengths"),
        pytest.param(head("content-length: -1") + BODY, id="a negative length"),
        pytest.param(head(f"content-length: +{len(BODY)}") + BODY, id="a length with a sign"),
        pytest.param(head("content-length: 99999999999999999999") + BODY, id="a length beyond all numbers"),
        pytest.param(head("content-length: 0x10") + BODY, id="a length that is not decimal"),
        pytest.param(head(LENGTH, CHUNKED) + chunks(BODY), id="a length and chunks"),
        pytest.param(head(CHUNKED, LENGTH) + chunks(BODY), id="chunks and a length"),
        pytest.param(head("transfer-encoding: chunked, identity") + chunks(BODY), id="chunks that are not the last"),
        pytest.param(head("transfer-encoding: xchunked") + chunks(BODY), id="an unknown encoding"),
        pytest.param(head("transfer-encoding : chunked") + chunks(BODY), id="a space before the colon"),
        pytest.param(head(CHUNKED) + b"zz\r\n{}\r\n0\r\n\r\n", id="a chunk size that is no number"),
        pytest.param(head(CHUNKED) + b"-1\r\n{}\r\n0\r\n\r\n", id="a negative chunk size"),
        pytest.param(head(CHUNKED) + b"0x2\r\n{}\r\n0\r\n\r\n", id="a chunk size with a prefix"),
        pytest.param(head(CHUNKED) + b"fffffffffffffffff\r\n{}\r\n0\r\n\r\n", id="a chunk size beyond all numbers"),
        pytest.param(head(CHUNKED) + b"2\r\n{}xx\r\n0\r\n\r\n", id="a chunk longer than its size"),
        pytest.param(head(CHUNKED) + b"2\n{}\n0\n\n", id="chunks with bare line feeds"),
        pytest.param(request(BODY).replace(b"\r\n", b"\n"), id="bare line feeds"),
        pytest.param(head(LENGTH, "x-folded: one\r\n two") + BODY, id="a folded field"),
        pytest.param(head(LENGTH, "x-null: a\0b") + BODY, id="a NUL in a field"),
        pytest.param(head(LENGTH, "x-return: a\rb") + BODY, id="a bare carriage return in a field"),
        pytest.param(head(LENGTH, "x name: a") + BODY, id="a space in a name"),
        pytest.param(head(LENGTH, ": nameless") + BODY, id="a field without a name"),
        pytest.param(head(LENGTH, "nothing") + BODY, id="a field without a colon"),
        pytest.param(head(LENGTH, version="3.7") + BODY, id="an unknown version"),
        pytest.param(head(LENGTH, method="PSOT") + BODY, id="an unknown method"),
        pytest.param(b"CONNECT router:443 HTTP/1.1\r\nhost: router\r\n\r\n", id="a proxy's method"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", id="HTTP/2 without asking"),
        pytest.param(b"\0\1\2\3 garbage \xff\xfe\r\n\r\n", id="garbage"),
    ],
)
def test_what_is_not_http_or_can_be_read_in_two_ways_is_refused(wire: Wired, data: bytes) -> None:
    with calling(wire.url) as caller:
        caller.send(data)
        refused = caller.heard()
        assert (refused.status, refused.code, refused.one("connection")) == (400, "invalid_http", "close")
        assert caller.is_closed()
    assert wire.engine.asked == []


def test_a_body_that_turns_out_wrong_is_refused_though_its_head_was_right(wire: Wired) -> None:
    with calling(wire.url) as caller:
        caller.send(head(CHUNKED) + b"2\r\n{}\r\n")
        assert caller.is_quiet(0.05)
        caller.send(b"nonsense\r\n")
        refused = caller.heard()
        assert (refused.status, refused.code) == (400, "invalid_http")
        assert caller.is_closed()


def test_tls_at_this_port_is_refused_at_once(wire: Wired) -> None:
    context = ssl.create_default_context()
    with calling(wire.url) as caller, pytest.raises(ssl.SSLError):
        context.wrap_socket(caller.socket, server_hostname="router")


@pytest.mark.parametrize("nonsense", [b"\0\0\0", b"POST / HTTP/1.1\r\ncontent-length: x\r\n\r\n"])
@pytest.mark.parametrize("apart", [False, True], ids=["in one piece", "later"])
def test_who_asks_and_then_talks_nonsense_gets_the_answers_first(wire: Wired, nonsense: bytes, apart: bool) -> None:
    good = request(asked(stream=True)) + request()
    with calling(wire.url) as caller:
        if apart:
            caller.send(good)
            caller.send(nonsense)
        else:
            caller.send(good + nonsense)
        assert caller.heard().body.endswith(b"data: [DONE]\n\n")
        assert caller.heard().body == WHOLE
        assert caller.heard().code == "invalid_http"
        assert caller.is_closed()


def test_a_head_that_is_too_long_is_refused_whether_it_ends_or_not(wire: Wired) -> None:
    with calling(wire.url) as caller:
        caller.send(head()[:-2])
        for number in range(100):
            caller.send(f"x-field-{number}: {'x' * 4000}\r\n".encode())
        refused = caller.heard()
        assert (refused.status, refused.code) == (431, "head_too_large")


def test_fields_that_follow_a_body_without_end_are_refused(wire: Wired) -> None:
    with calling(wire.url) as caller:
        caller.send(head(CHUNKED) + chunks(BODY)[:-2])
        for _ in range(20):
            caller.send(b"x: y\r\n" * 100)
        refused = caller.heard()
        assert (refused.status, refused.code) == (431, "head_too_large")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"P", id="in its first line"),
        pytest.param(head()[:-2], id="in its head"),
        pytest.param(request()[:-1], id="in its body"),
        pytest.param(head(CHUNKED) + chunks(BODY)[:-2], id="in the last chunk"),
        pytest.param(head("content-length: 10", method="GET", path="/v1/nothing"), id="elsewhere"),
    ],
)
def test_a_request_that_does_not_come_to_an_end_is_refused_in_time(wire: Wired, data: bytes) -> None:
    with calling(wire.url) as caller:
        caller.send(data)
        refused = caller.heard()
        assert (refused.status, refused.code) in {(408, "request_timeout"), (404, "unknown_url")}
        assert caller.is_closed()
    assert wire.engine.asked == []


def test_a_head_that_trickles_has_no_more_time_than_another(wire: Wired) -> None:
    with calling(wire.url) as caller:
        caller.send(head()[:-2])
        while caller.is_quiet(0.1):
            caller.send(b"x: y\r\n")
        assert caller.heard().code == "request_timeout"


def test_a_body_that_trickles_is_served(wire: Wired) -> None:
    with calling(wire.url) as caller:
        caller.send(head(LENGTH))
        for start in range(0, len(BODY), len(BODY) // 5):
            assert caller.is_quiet(RECEIVE_S / 3)
            caller.send(BODY[start : start + len(BODY) // 5])
        assert caller.heard().body == WHOLE


def test_half_a_request_behind_a_long_answer_waits_for_its_end(wire: Wired) -> None:
    def slow(line: Line) -> None:
        line.send(STREAM_HEAD + framed(ROLE, HI))
        assert not line.listen(2.5 * RECEIVE_S)
        line.send(framed(STOP, USAGE, DONE) + LAST)

    wire.engine.script = slow
    with calling(wire.url) as caller:
        caller.send(request(asked(stream=True)) + request()[:-1])
        assert caller.heard().body.endswith(DONE)
        wire.engine.script = polite
        assert caller.is_quiet(RECEIVE_S / 2)
        caller.send(request()[-1:])
        assert caller.heard().body == WHOLE


def test_a_refused_body_is_read_for_a_while_and_not_answered_twice(wire: Wired) -> None:
    with calling(wire.url) as caller:
        caller.send(head("content-length: 30000") + bytes(10))
        assert caller.heard().code == "body_too_large"
        assert caller.is_closed()
    with calling(wire.url) as caller:
        caller.send(head("content-length: 30000") + bytes(30000) + request())
        assert caller.heard().code == "body_too_large"
        assert caller.heard().body == WHOLE
    with calling(wire.url) as caller:
        caller.send(head(CHUNKED, "content-encoding: br") + b"2\r\n{}\r\n")
        assert caller.heard().code == "unsupported_encoding"
        caller.send(b"nonsense\r\n")
        assert caller.is_closed()


def test_requests_that_were_never_finished_do_not_stay(wire: Wired) -> None:
    before = connections(wire)
    with ExitStack() as stack:
        callers = [stack.enter_context(calling(wire.url)) for _ in range(200)]
        for number, caller in enumerate(callers):
            caller.send((b"POST", head()[:-2], request()[:-1], request()[:-1])[number % 4])
        until(lambda: connections(wire) >= before + 150)
        until(lambda: connections(wire) <= before)
        assert [caller.heard().status for caller in callers] == [408] * 200
    assert wire.router.get("/healthz") == {"status": "alive"}
