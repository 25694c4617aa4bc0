"""Whether a provider itself has told the end of its stream."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from router.clouds.answers import inner_stream

# litellm's name, in streams, of who speaks Gemini's format.
GEMINI = "vertex_ai_beta"


class Ending:
    """Watches one stream of litellm's, which says `stop` after whatever comes last: also after a connection that was
    closed too early, or an event that it could not read. What looks whole then is a part."""

    def __init__(self, stream: Any) -> None:
        self._stream = inner_stream(stream)
        # Text completions of OpenAI's own format pass as they come, and nothing is made up.
        self._is_retold = hasattr(self._stream, "received_finish_reason")
        self._is_gemini = self._is_retold and self._stream.custom_llm_provider == GEMINI
        self._was_told = False
        if self._is_gemini:
            self._stream.make_call = self._watched(self._stream.make_call)

    @property
    def is_told(self) -> bool:
        """Whether there has been a reason to finish that is the provider's own."""
        if self._is_gemini:
            return self._was_told
        return not self._is_retold or not (
            self._stream.received_finish_reason is self._stream.intermittent_finish_reason is None
        )

    def _watched(self, make_call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        """Of Gemini's events litellm gives each a reason to finish, so that each is looked at before it has one."""

        async def call(**arguments: Any) -> Any:
            events = await make_call(**arguments)
            parse = events.chunk_parser

            def look(chunk: dict[str, Any]) -> Any:
                ends = any(candidate.get("finishReason") for candidate in chunk.get("candidates") or ())
                self._was_told = self._was_told or ends or "promptFeedback" in chunk
                return parse(chunk=chunk)

            events.chunk_parser = look
            return events

        return call
