"""A request that nobody sends: what `spillway route` and the costs ask about.

Pure. It becomes the very bytes and headers that a client would send, so that it is read as a request is.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import orjson
from msgspec.structs import replace

from router.ask import BYTES_PER_TOKEN, PROMPT_FIELDS, Ask, Endpoint, read_ask
from router.body import parsed
from router.errors import ApiError
from router.length import Length
from router.routing.directed import directed
from router.tables.rules import Rules

FIELDS = {field: endpoint for endpoint, field in PROMPT_FIELDS.items()}
# What no prompt has.
MOST_TOKENS = 1_000_000_000
LONGEST_SHOWN = 40
PLACEHOLDER = [{"role": "user", "content": "Where would this go?"}]


class Question(msgspec.Struct, frozen=True):
    """`tokens` is how long to take the prompt for, None: as long as it is. `body` is a request of a client's own, whose
    model name counts where neither `model`, `task` nor `tier` is given."""

    task: str | None = None
    tier: str | None = None
    model: str | None = None
    privacy: str | None = None
    tokens: int | None = None
    body: bytes | None = None

    def headers(self) -> dict[str, str]:
        hints = {"task": self.task, "tier": self.tier, "privacy": self.privacy}
        return {f"x-spillway-{name}": value for name, value in hints.items() if value is not None}

    def raw(self) -> bytes:
        """Raises ApiError 400 for a body that is no JSON object."""
        body = {"model": "auto", "messages": PLACEHOLDER} if self.body is None else parsed(self.body)
        if self.model is not None:
            body["model"] = self.model
        elif self.task is not None or self.tier is not None:
            # Its own name would go before the hints.
            body["model"] = "auto"
        return orjson.dumps(body)


def ask_of(question: Question, rules: Rules, at_unix_s: float) -> Ask:
    """Raises ApiError as a request does."""
    return read_question(question.raw(), question.headers(), question.tokens, rules, at_unix_s)


def read_question(raw: bytes, headers: Mapping[str, str], tokens: int | None, rules: Rules, at_unix_s: float) -> Ask:
    """The Ask in a body for any of the endpoints, after routes and splits. `tokens`: how long to take its prompt for.
    Raises ApiError."""
    ask = read_ask(raw, headers, endpoint_for(raw), rules)
    if tokens is not None:
        size_bytes = round(tokens * BYTES_PER_TOKEN)
        ask = replace(ask, prompt_bytes=size_bytes, lengths=(Length(tokens, tokens),))
    return directed(ask, rules, at_unix_s)


def count_of(text: str) -> int:
    """A number of tokens as somebody writes it. Raises ValueError."""
    # Python refuses to read a number of some thousand digits.
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(MOST_TOKENS)) and int(text) <= MOST_TOKENS):
        raise ValueError(f"{text[:LONGEST_SHOWN]!r} must be a whole number from 0 to {MOST_TOKENS:,}")
    return int(text)


def endpoint_for(raw: bytes) -> Endpoint:
    """Where a client would send this body. Raises ApiError 400."""
    body = parsed(raw)
    found = next((endpoint for field, endpoint in FIELDS.items() if field in body), None)
    if found is None:
        raise ApiError(400, "invalid_value", f"the body has none of {', '.join(FIELDS)}: it is no request", "messages")
    return found
