"""The body that an engine gets: as it came wherever that will do.

Pure: an Ask and a name in, bytes out. The engine must hear its own model name, be asked for usage in every stream,
and not hear the fields with which a client could steer its scheduler.
"""

from __future__ import annotations

import orjson

from router.ask import STEERING, Ask

SPACES = b" \t\r\n"
USAGE = b',"stream_options":{"include_usage":true}}'


def engine_body(ask: Ask, served_name: str) -> bytes:
    """The body for an engine that serves the model under this name. Raises ApiError 400 (see `Ask.body`)."""
    if ask.requested != served_name or ask.steered:
        return _rewritten(ask, served_name)
    if not ask.stream or ask.wants_usage:
        return ask.raw
    if ask.has_stream_options:
        return _rewritten(ask, served_name)
    # An Ask's body is an object with at least one field, so what ends it is a brace and a comma may stand before it.
    return ask.raw.rstrip(SPACES)[:-1] + USAGE


def _rewritten(ask: Ask, served_name: str) -> bytes:
    body = ask.body
    if ask.steered:
        body = {key: value for key, value in body.items() if key not in STEERING}
    body["model"] = served_name
    if ask.stream:
        body["stream_options"] = (body.get("stream_options") or {}) | {"include_usage": True}
    return orjson.dumps(body)
