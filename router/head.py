"""The head of a request: which endpoint it asks for, and the few of its fields that are read. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import httptools

from router.ask import HINT_PREFIX, Endpoint

HOT = {endpoint.value.encode(): endpoint for endpoint in Endpoint}
# The other fields are not even decoded.
READ = frozenset(
    {
        b"authorization",
        b"content-encoding",
        b"content-length",
        b"expect",
        b"x-request-id",
        b"traceparent",
        b"tracestate",
    }
)
HINTS = HINT_PREFIX.encode()


def endpoint_of(url: bytes) -> Endpoint | None:
    """The hot endpoint at this URL, whatever its query; None for every other URL."""
    endpoint = HOT.get(url.partition(b"?")[0])
    if endpoint is None and not url.startswith(b"/"):
        # A client may name the host too, as it would to a proxy.
        endpoint = HOT.get(httptools.parse_url(url).path)
    return endpoint


def fields_read(fields: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """The fields that are read, by name; names come in lower case."""
    kept = {}
    for name, value in fields:
        if name in READ or name.startswith(HINTS):
            kept[name.decode()] = value.decode("latin-1")
    return kept
