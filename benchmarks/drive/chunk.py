"""OpenAI's JSON, as far as a measurement reads it: an event of a stream, or a whole answer. Pure.

Everything that is not named here is skipped without being built.
"""

from __future__ import annotations

from typing import Any

import msgspec


class Said(msgspec.Struct):
    """A delta or a message. `role` is kept only to tell an opening from a token without text."""

    content: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    refusal: Any = None
    tool_calls: Any = None
    role: str | None = None

    @property
    def is_content(self) -> bool:
        """Whether a token made it. Engines send one whose text is not whole yet as an empty text, without a role."""
        if self.content or self.reasoning_content or self.reasoning or self.refusal or self.tool_calls:
            return True
        return self.content == "" and self.role is None


class Usage(msgspec.Struct):
    """The engine's own count."""

    prompt_tokens: int = 0
    completion_tokens: int | None = None


class Choice(msgspec.Struct):
    """One choice; more than one is never asked for."""

    delta: Said | None = None
    message: Said | None = None
    text: str | None = None
    finish_reason: str | None = None

    @property
    def is_content(self) -> bool:
        """Whether it brings a part of the answer."""
        said = self.delta or self.message
        return self.text is not None if said is None else said.is_content


class Chunk(msgspec.Struct):
    """An event, or a whole answer. `data` are the vectors of embeddings; `object` is "error" in an old form of them."""

    choices: list[Choice] = []
    usage: Usage | None = None
    error: Any = None
    message: Any = None
    object: Any = None
    data: list[msgspec.Raw] = []

    @property
    def complaint(self) -> str | None:
        """What the server says has failed; None where it says nothing of the kind."""
        if self.error is None:
            return str(self.message) if self.object == "error" else None
        return str(self.error.get("message", self.error) if isinstance(self.error, dict) else self.error)


read_chunk = msgspec.json.Decoder(Chunk).decode
