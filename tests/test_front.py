"""The client's side of HTTP/1.1, byte by byte: what clients rely on, and what must not get through."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.callers import calling, chunks, head, heard, request
from tests.routers import CHAT, KEY, asked
from tests.scripted import WHOLE, polite
from tests.wired import Wired, wired

LIMITS = "[limits]\nbody_bytes = 20000\n"
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streaming"])


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wired]:
    with wired(tmp_path_factory.mktemp("front"), LIMITS) as running:
        yield running


@pytest.fixture
def wire(shared: Wired) -> Wired:
    shared.engine.script = polite
    return shared


def is_an_answer(body: bytes) -> bool:
    return body == WHOLE or body.endswith(b"data: [DONE]\n\n")


@BOTH
def test_a_connection_serves_one_request_after_the_other(wire: Wired, stream: bool) -> None:
    with calling(wire.url) as caller:
        for _ in range(3):
            caller.send(request(asked(stream=stream)))
            assert is_an_answer(caller.heard().body)
        caller.send(request(None, method="GET", path="/healthz"))
        assert caller.heard().json == {"status": "alive"}
        caller.send(request(asked(stream=stream)))
        assert is_an_answer(caller.heard().body)


def test_requests_sent_at_once_are_answered_in_order(wire: Wired) -> None:
    with calling(wire.url) as caller:
        caller.send(
            request(asked(stream=True), "x-request-id: first")
            + request(b"{", "x-request-id: second")
            + request(b"", path="/healthz", method="GET")
            + head("transfer-encoding: chunked", "x-request-id: fourth")
            + chunks(asked())
            + request(asked(), "x-request-id: fifth", "connection: close")
        )
        first, second, third, fourth, fifth = (caller.heard() for _ in range(5))
        assert caller.is_closed()
    assert (first.one("x-request-id"), first.body.count(b"data: ")) == ("first", 4)
    assert (second.status, second.code) == (400, "invalid_json")
    assert third.json == {"status": "alive"}
    assert (fourth.one("x-request-id"), fourth.body) == ("fourth", WHOLE)
    assert (fifth.one("x-request-id"), fifth.body) == ("fifth", WHOLE)


def test_thousands_of_small_requests_at_once_are_answered_one_by_one(wire: Wired) -> None:
    with calling(wire.url) as caller:
        caller.send(request(b"{", path="/v1/completions") * 2000)
        assert {caller.heard().code for _ in range(2000)} == {"invalid_json"}
        caller.send(request())
        assert caller.heard().body == WHOLE


def test_a_request_may_come_in_any_pieces(wire: Wired) -> None:
    with calling(wire.url) as caller:
        for data in (request(asked(stream=True)), head("transfer-encoding: chunked") + chunks(asked(stream=True), 1)):
            for byte in data:
                caller.send(bytes([byte]))
            assert is_an_answer(caller.heard().body)


def test_who_expects_100_is_told_to_go_on(wire: Wired) -> None:
    with calling(wire.url) as caller:
        for _ in range(2):
            caller.send(head(f"content-length: {len(asked())}", "expect: 100-continue"))
            assert caller.informed() == 100
            caller.send(asked())
            assert caller.heard().body == WHOLE


def test_who_expects_100_and_sends_the_body_all_the_same_is_not_told_to_go_on(wire: Wired) -> None:
    assert heard(wire.url, request(asked(), "Expect: 100-continue")).body == WHOLE


@pytest.mark.parametrize(
    ("lines", "status"),
    [(("content-length: 20001",), 413), (("content-length: 5", "content-encoding: gzip"), 415)],
    ids=["too long", "encoded"],
)
def test_who_expects_100_hears_the_refusal_instead_and_need_not_send_the_body(
    wire: Wired, lines: tuple[str, ...], status: int
) -> None:
    with calling(wire.url) as caller:
        caller.send(head(*lines, "expect: 100-continue"))
        refused = caller.heard()
        # Whether the body still comes is up to the client, so nothing that follows could be understood.
        assert (refused.status, refused.one("connection")) == (status, "close")
        assert caller.is_closed()


def test_who_expects_100_without_a_key_is_not_told_to_go_on(
    wire: Wired, tmp_path_factory: pytest.TempPathFactory
) -> None:
    config = '[endpoint]\nkeys_env = "APP_KEYS"\n'
    with wired(tmp_path_factory.mktemp("keys"), config, {"APP_KEYS": KEY}) as guarded:
        refused = heard(guarded.url, head("content-length: 100", "expect: 100-continue"))
        assert (refused.status, refused.code) == (401, "invalid_api_key")
        allowed = heard(guarded.url, request(None, f"authorization: Bearer {KEY}"))
        assert allowed.status == 200


@pytest.mark.parametrize("path", [CHAT, "/v1/completions", "/spillway/route"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_what_takes_a_post_says_so(wire: Wired, path: str, method: str) -> None:
    with calling(wire.url) as caller:
        caller.send(head(method=method, path=path))
        refused = caller.heard(without_body=method == "HEAD")
        assert (refused.status, refused.one("allow")) == (405, "POST")
        assert method == "HEAD" or refused.code == "method_not_allowed"
        caller.send(request())
        assert caller.heard().body == WHOLE


@pytest.mark.parametrize("path", ["/healthz", "/v1/models", "/metrics"])
def test_head_is_as_get_without_the_body(wire: Wired, path: str) -> None:
    with calling(wire.url) as caller:
        caller.send(head(method="GET", path=path))
        got = caller.heard()
        caller.send(head(method="HEAD", path=path))
        headed = caller.heard(without_body=True)
        assert (headed.status, headed.one("content-type")) == (200, got.one("content-type"))
        caller.send(request())
        assert caller.heard().body == WHOLE


@pytest.mark.parametrize(
    "path", [f"{CHAT}?api-version=2", f"{CHAT}?", f"http://router{CHAT}", f"http://router{CHAT}?a=%20"]
)
def test_a_url_may_have_a_query_and_a_host(wire: Wired, path: str) -> None:
    assert heard(wire.url, request(path=path)).body == WHOLE


def test_an_encoded_body_is_refused_and_the_connection_goes_on(wire: Wired) -> None:
    with calling(wire.url) as caller:
        caller.send(request(b"\x1f\x8b" + bytes(500), "content-encoding: gzip"))
        refused = caller.heard()
        assert (refused.status, refused.code) == (415, "unsupported_encoding")
        caller.send(request())
        assert caller.heard().body == WHOLE


def test_a_body_in_chunks_is_read(wire: Wired) -> None:
    more = "transfer-encoding: chunked", "trailer: x-sum"
    body = chunks(asked())[:-2] + b"x-sum: 7\r\n\r\n"
    assert heard(wire.url, head(*more) + body).body == WHOLE
    assert heard(wire.url, head(*more) + chunks(asked()).replace(b"7\r\n", b"7;a=b\r\n", 1)).body == WHOLE


def test_a_body_that_is_too_long_is_refused_before_it_is_read(wire: Wired) -> None:
    with calling(wire.url) as caller:
        caller.send(head("content-length: 20001"))
        refused = caller.heard()
    assert (refused.status, refused.code) == (413, "body_too_large")


@pytest.mark.parametrize("size", [20_001, 150_000, 1_000_000])
@pytest.mark.parametrize("chunk", [1000, 2_000_000])
def test_a_body_in_chunks_has_the_same_limit(wire: Wired, size: int, chunk: int) -> None:
    body = asked(user="x" * 200, metadata={"more": "x" * size})
    refused = heard(wire.url, head("transfer-encoding: chunked") + chunks(body, chunk))
    assert (refused.status, refused.code) == (413, "body_too_large")


def test_an_old_client_gets_a_stream_without_chunks_that_ends_with_the_connection(wire: Wired) -> None:
    with calling(wire.url) as caller:
        caller.send(request(asked(stream=True), version="1.0"))
        answer = caller.heard()
        assert caller.is_closed()
    assert "transfer-encoding" not in answer.names
    assert answer.one("connection") == "close"
    assert answer.body.startswith(b"data: {")
    assert answer.body.endswith(b"data: [DONE]\n\n")


def test_an_old_client_is_never_told_to_go_on(wire: Wired) -> None:
    with calling(wire.url) as caller:
        caller.send(head(f"content-length: {len(asked())}", "expect: 100-continue", version="1.0"))
        assert caller.is_quiet()
        caller.send(asked())
        assert caller.heard().body == WHOLE
        assert caller.is_closed()


@BOTH
def test_who_asks_for_the_end_of_the_connection_gets_it(wire: Wired, stream: bool) -> None:
    with calling(wire.url) as caller:
        caller.send(request(asked(stream=stream), "connection: close"))
        answer = caller.heard()
        assert answer.one("connection") == "close"
        assert is_an_answer(answer.body)
        assert caller.is_closed()


@pytest.mark.parametrize(
    "lines",
    [
        ("connection: upgrade, http2-settings", "upgrade: h2c", "http2-settings: AAMAAABkAAQAoAAAAAIAAAAA"),
        ("connection: upgrade", "upgrade: websocket", "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ=="),
        ("upgrade: h2c",),
    ],
    ids=["h2c", "websocket", "without a connection field"],
)
@BOTH
def test_who_offers_another_protocol_is_answered_in_this_one(wire: Wired, lines: tuple[str, ...], stream: bool) -> None:
    with calling(wire.url) as caller:
        caller.send(request(asked(stream=stream), *lines))
        assert is_an_answer(caller.heard().body)
        caller.send(head(*lines, method="GET", path="/healthz"))
        assert caller.heard().json == {"status": "alive"}
        caller.send(head(*lines, f"content-length: {len(asked())}"))
        caller.send(asked())
        assert caller.heard().body == WHOLE
        caller.send(request())
        assert caller.heard().body == WHOLE
