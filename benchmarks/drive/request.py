"""An Arrival as the bytes of an HTTP request. Pure; it must not know connections or time."""

from __future__ import annotations

from typing import Any

import msgspec

from benchmarks.drive.endpoint import Endpoint
from benchmarks.workload.arrival import Arrival, Kind

PATHS = {Kind.CHAT: "/v1/chat/completions", Kind.COMPLETION: "/v1/completions", Kind.EMBEDDING: "/v1/embeddings"}
AGENT = "spillway-benchmarks"


class Requests:
    """Makes the requests to one endpoint; what all of a kind share is made once."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._heads = {kind: _head(endpoint, path) for kind, path in PATHS.items()}

    def encoded(self, arrival: Arrival) -> bytes:
        """The whole request. Raises ValueError where the endpoint cannot be asked so."""
        content = msgspec.json.encode(body_of(arrival, self._endpoint))
        return b"%b%bcontent-length: %d\r\n\r\n%b" % (self._heads[arrival.kind], _hints(arrival), len(content), content)


def body_of(arrival: Arrival, endpoint: Endpoint) -> dict[str, Any]:
    """The JSON of a request."""
    asked = arrival.prompt.content
    body: dict[str, Any] = {"model": endpoint.model}
    if arrival.kind is Kind.EMBEDDING:
        return body | {"input": asked} | dict(endpoint.extra)
    if arrival.kind is Kind.CHAT:
        if not isinstance(asked, str):
            raise ValueError("A chat takes text, no token ids: ask for completions, or give prompts as text.")
        body["messages"] = [{"role": "user", "content": asked}]
    else:
        body["prompt"] = asked
    if arrival.output_tokens is not None:
        body |= _length(arrival.output_tokens, endpoint)
    body["stream"] = arrival.stream
    if arrival.stream:
        body["stream_options"] = {"include_usage": True}
    return body | dict(endpoint.extra)


def _length(tokens: int, endpoint: Endpoint) -> dict[str, Any]:
    """The fields that make the answer so long."""
    if endpoint.hides_length:
        # An engine whose model wants to end at once, by a `logit_bias` in `extra`, ends after `min_tokens`. Clouds do
        # not know that field; a stand-in of ours reads the `seed`, of which routers make nothing.
        return {"min_tokens": tokens, "seed": tokens}
    return {"max_tokens": tokens} | ({"ignore_eos": True} if endpoint.pins_length else {})


def _head(endpoint: Endpoint, path: str) -> bytes:
    host = endpoint.root.partition("://")[2].partition("/")[0]
    lines = [
        f"POST {endpoint.prefix}{path} HTTP/1.1",
        f"host: {host}",
        f"user-agent: {AGENT}",
        "accept: */*",
        "content-type: application/json",
        *(f"{name}: {value}" for name, value in endpoint.headers.items()),
    ]
    if endpoint.key is not None:
        lines.append(f"authorization: Bearer {endpoint.key}")
    return "\r\n".join([*lines, ""]).encode("ascii")


def _hints(arrival: Arrival) -> bytes:
    if not (arrival.tier or arrival.task or arrival.tenant or arrival.local_only):
        return b""
    hints = {
        "tier": arrival.tier,
        "task": arrival.task,
        "feature": arrival.tenant,
        "privacy": "local-only" if arrival.local_only else "",
    }
    for name, value in hints.items():
        if not (value.isascii() and (value.isprintable() or not value)):
            raise ValueError(f"{name} {value!r} cannot be sent in a header: use printable ASCII.")
    return "".join(f"x-spillway-{name}: {value}\r\n" for name, value in hints.items() if value).encode("ascii")
