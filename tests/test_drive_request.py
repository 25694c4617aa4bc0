"""An arrival as bytes on the wire, and the addresses, keys and headers that can be sent."""

from __future__ import annotations

import json
from typing import Any

import pytest

from benchmarks.drive.endpoint import Endpoint, endpoint_of
from benchmarks.drive.request import Requests
from benchmarks.workload.arrival import Arrival, Kind, Prompt

HERE = endpoint_of("http://127.0.0.1:4000", "tiny")


def sent(arrival: Arrival, endpoint: Endpoint = HERE) -> tuple[str, dict[str, str], Any]:
    """(request line, header fields, body)."""
    head, _, body = Requests(endpoint).encoded(arrival).partition(b"\r\n\r\n")
    line, *fields = head.decode().split("\r\n")
    pairs = dict(field.split(": ", 1) for field in fields)
    assert int(pairs["content-length"]) == len(body)
    return line, pairs, json.loads(body)


def test_a_chat_of_a_wanted_length_streams_with_usage() -> None:
    line, fields, body = sent(Arrival(Prompt("Where does the water go?"), output_tokens=16))
    assert line == "POST /v1/chat/completions HTTP/1.1"
    assert fields["host"] == "127.0.0.1:4000"
    assert body == {
        "model": "tiny",
        "messages": [{"role": "user", "content": "Where does the water go?"}],
        "max_tokens": 16,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_a_model_that_decides_its_length_is_not_told_one() -> None:
    _, _, body = sent(Arrival(Prompt("Hi"), stream=False))
    assert body == {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}], "stream": False}


def test_a_completion_takes_token_ids_and_an_embedding_does_not_stream() -> None:
    line, _, body = sent(Arrival(Prompt((1, 2, 3)), kind=Kind.COMPLETION))
    assert line.startswith("POST /v1/completions ")
    assert body["prompt"] == [1, 2, 3]
    line, _, body = sent(Arrival(Prompt("Hi"), kind=Kind.EMBEDDING))
    assert line.startswith("POST /v1/embeddings ")
    assert body == {"model": "tiny", "input": "Hi"}


def test_hints_key_and_extras_go_with_it() -> None:
    endpoint = endpoint_of(
        "https://host.example/gate/v1/", "m", key="sk-1", headers={"x-more": "1"}, extra={"temperature": 0}
    )
    arrival = Arrival(Prompt("Hi"), tier="bulk", task="coding", tenant="team-a", local_only=True, output_tokens=1)
    line, fields, body = sent(arrival, endpoint)
    assert line == "POST /gate/v1/chat/completions HTTP/1.1"
    assert fields["host"] == "host.example:443"
    assert fields["authorization"] == "Bearer sk-1"
    assert fields["x-more"] == "1"
    hints = {name: value for name, value in fields.items() if name.startswith("x-spillway-")}
    assert hints == {
        "x-spillway-tier": "bulk",
        "x-spillway-task": "coding",
        "x-spillway-feature": "team-a",
        "x-spillway-privacy": "local-only",
    }
    assert body["temperature"] == 0


def test_an_endpoint_that_knows_no_ignore_eos_is_not_sent_it() -> None:
    _, _, body = sent(Arrival(Prompt("Hi"), output_tokens=3), endpoint_of("http://h:1", "m", pins_length=False))
    assert body["max_tokens"] == 3
    assert "ignore_eos" not in body


@pytest.mark.parametrize(
    ("url", "root"),
    [
        ("http://h:1", "http://h:1"),
        ("127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://h/v1", "http://h:80"),
        ("https://h/a/v1/", "https://h:443/a"),
        ("http://[::1]:9/v1", "http://[::1]:9"),
    ],
)
def test_an_address_is_understood_with_and_without_v1(url: str, root: str) -> None:
    assert endpoint_of(url, "m").root == root


@pytest.mark.parametrize(
    ("url", "more", "what"),
    [
        ("ftp://h", {}, "must be an address"),
        ("http://", {}, "must be an address"),
        ("http://h:99999", {}, "out of range"),
        ("http://h", {"key": "two\nlines"}, "no header can carry"),
        ("http://h", {"headers": {"x": "a\r\nb"}}, "one line of ASCII"),
        ("http://h", {"limit_s": 0}, "above 0"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_a_sentence(url: str, more: dict[str, Any], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        endpoint_of(url, "m", **more)


def test_a_chat_of_token_ids_and_a_tier_of_two_lines_are_refused() -> None:
    with pytest.raises(ValueError, match="takes text"):
        Requests(HERE).encoded(Arrival(Prompt((1, 2))))
    with pytest.raises(ValueError, match="printable ASCII"):
        Requests(HERE).encoded(Arrival(Prompt("Hi"), tier="a\r\nb: c"))
