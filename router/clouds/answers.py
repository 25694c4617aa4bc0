"""litellm's answers in the OpenAI form, as they would have come from OpenAI. Pure: its objects in, plain values out."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from struct import pack
from typing import Any

# litellm's own fields in choices, messages and deltas, which mostly hold nothing.
EXTRAS = ("provider_specific_fields", "images", "thinking_blocks")


def whole_form(answer: Any) -> dict[str, Any]:
    """A whole answer."""
    data = _counted(answer.model_dump(exclude_none=True))
    data.pop("_response_headers", None)
    for choice in data.get("choices", ()):
        _tidy(choice)
        if "message" in choice:
            _tidy(choice["message"])
            # OpenAI's clients expect the field, also of a message that only calls a tool.
            choice["message"].setdefault("content", None)
    return {name: value for name, value in data.items() if value or not name.startswith("vertex_ai_")}


def vectors_form(answer: Any, in_base64: bool) -> dict[str, Any]:
    """Vectors. They are packed if they were asked for so and the provider knows no such format: as 32-bit floats, the
    lowest byte first, in base64 (OpenAI's API reference, "Embeddings", encoding_format)."""
    data = _counted(answer.model_dump(exclude_none=True))
    for each in (data.get("data") or ()) if in_base64 else ():
        if isinstance(vector := each.get("embedding"), list):
            each["embedding"] = b64encode(pack(f"<{len(vector)}f", *vector)).decode()
    return data


# One of them is in each choice of a whole answer, or in each of its vectors.
CONTENTS = ("message", "text", "embedding")


def lack_in(data: Mapping[str, Any]) -> tuple[str, str] | None:
    """Cause and words where a whole answer is none: litellm makes one of whatever came with status 200."""
    said = data.get("choices") or data.get("data")
    if not said:
        return "empty", "the answer has nothing in it"
    if all(isinstance(each, dict) and any(each.get(name) is not None for name in CONTENTS) for each in said):
        return None
    return "malformed", "the answer has a choice or a vector without content"


def chunk_form(chunk: Any) -> dict[str, Any] | None:
    """A chunk of a stream: `finish_reason` always there, no choices beside the final usage. None: it says nothing."""
    data: dict[str, Any] = chunk.model_dump(exclude_none=True)
    choices = data.get("choices", [])
    if "usage" in data and not any(choice.get("finish_reason") or choice.get("delta") for choice in choices):
        data["choices"] = []
        return data if "usage" in _counted(data) else None
    for choice in choices:
        choice.setdefault("finish_reason", None)
        if "delta" in choice:
            _tidy(choice)
            _tidy(choice["delta"])
        else:
            choice.setdefault("text", "")
    return _counted(data)


def ends(data: Mapping[str, Any]) -> bool:
    """Whether a chunk tells the end of an answer."""
    return any(choice["finish_reason"] for choice in data["choices"])


def inner_stream(stream: Any) -> Any:
    """The stream that can be closed. litellm wraps that of a text completion once more."""
    return stream if hasattr(stream, "aclose") else stream.completion_stream


def headers_of(answer: Any) -> dict[str, str]:
    """The headers of the provider's response, names in lower case, of a whole answer or of a stream."""
    hidden = getattr(answer, "_hidden_params", None) or getattr(inner_stream(answer), "_hidden_params", None) or {}
    headers = hidden.get("headers") or hidden.get("additional_headers") or getattr(answer, "_response_headers", None)
    return {str(name).lower().removeprefix(OWN): str(value) for name, value in (headers or {}).items()}


# litellm's prefix for what is the provider's own.
OWN = "llm_provider-"


def _counted(data: dict[str, Any]) -> dict[str, Any]:
    """Without a usage that nobody has told: litellm writes zero tokens then."""
    usage = data.get("usage")
    if usage and not any(usage.get(name) for name in TOKENS):
        del data["usage"]
    return data


# Any of them says that somebody counted: not every server adds them up.
TOKENS = ("total_tokens", "prompt_tokens", "completion_tokens")


def _tidy(holder: dict[str, Any]) -> None:
    for name in EXTRAS:
        if name in holder and not _says(holder[name]):
            del holder[name]


def _says(value: object) -> bool:
    return any(each is not None for each in value.values()) if isinstance(value, dict) else bool(value)
