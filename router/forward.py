"""The body that an engine gets: as it came wherever that will do.

Pure: an Ask and a name in, bytes out. The engine must hear its own model name, be asked for usage in every stream,
and not hear the fields with which a client could steer its scheduler. Ollama hears fields of the OpenAI API alone:
its own (`options`, `keep_alive`) could make it load its model anew or let it go.
"""

from __future__ import annotations

from typing import Any

import orjson

from router.ask import STEERING, Ask
from router.routing.fleet import OLLAMA

SPACES = b" \t\r\n"
SAMPLING = {
    "temperature",
    "top_p",
    "n",
    "stop",
    "seed",
    "logit_bias",
    "presence_penalty",
    "frequency_penalty",
    "best_of",
}
LENGTHS = {"max_tokens", "max_completion_tokens", "reasoning_effort"}
TOOLS = {"tools", "tool_choice", "parallel_tool_calls", "response_format"}
# The fields of the OpenAI API that say what is asked for. What goes to clouds and to Ollama has no others.
OPENAI_FIELDS = frozenset({"messages", "prompt", "suffix", "echo", "logprobs", "top_logprobs", "user"}) | (
    SAMPLING | LENGTHS | TOOLS
)
EMBEDDING_FIELDS = frozenset({"input", "encoding_format", "dimensions", "user"})
OLLAMA_FIELDS = OPENAI_FIELDS | EMBEDDING_FIELDS | {"stream", "stream_options"}
USAGE = b',"stream_options":{"include_usage":true}}'


def engine_body(ask: Ask, served_name: str, kind: str = "") -> bytes:
    """The body for an engine of this kind that serves the model under this name. Raises ApiError 400 (`Ask.body`)."""
    if kind == OLLAMA:
        return _for_ollama(ask, served_name)
    if ask.requested != served_name or ask.steered:
        return _rewritten(ask, served_name)
    if not ask.stream or ask.wants_usage:
        return _rewritten(ask, served_name) if ask.fill else ask.raw
    if ask.has_stream_options or ask.fill:
        return _rewritten(ask, served_name)
    # An Ask's body is an object with at least one field, so what ends it is a brace and a comma may stand before it.
    return ask.raw.rstrip(SPACES)[:-1] + USAGE


def _rewritten(ask: Ask, served_name: str) -> bytes:
    body = ask.body
    if ask.steered:
        body = {key: value for key, value in body.items() if key not in STEERING}
    return _named(ask, body, served_name)


def _for_ollama(ask: Ask, served_name: str) -> bytes:
    """Ollama 0.33 reads `max_tokens` alone (openai/openai.go, ChatCompletionRequest)."""
    body = {key: value for key, value in ask.body.items() if key in OLLAMA_FIELDS}
    most = body.pop("max_completion_tokens", None)
    if most is not None:
        body["max_tokens"] = most
    return _named(ask, body, served_name)


def _named(ask: Ask, body: dict[str, Any], served_name: str) -> bytes:
    body["model"] = served_name
    if ask.stream:
        body["stream_options"] = (body.get("stream_options") or {}) | {"include_usage": True}
    return orjson.dumps(body)
