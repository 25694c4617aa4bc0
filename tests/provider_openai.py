"""OpenAI's chat completions and embeddings as a stand-in speaks them, and the errors of the eight who speak them too.

Pure: a request in, an answer out. Sources: OpenAI's API reference, pages "Chat", "Embeddings", "Error codes" and "Rate
limits"; Groq's "Error codes", "Rate limits" and "Deprecations"; Mistral's, DeepSeek's, Together's and OpenRouter's
pages on errors.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator, Mapping
from typing import Any

from tests.provider_words import LIMIT, REMAINING, RETRY_AFTER_S, Answer, Bad, Json, Mode, Question, Refusal

STOPS = {"stop": "stop", "length": "length", "tool": "tool_calls", "filtered": "content_filter"}
DONE = b"data: [DONE]\n\n"
ROLES = ("system", "developer", "user", "assistant", "tool", "function")
DIMENSIONS = 4


def key_of(headers: Mapping[str, str]) -> str | None:
    scheme, _, key = headers.get("authorization", "").partition(" ")
    return key if scheme.lower() == "bearer" else None


def read(body: Json, headers: Mapping[str, str], path: str) -> Question:
    """Raises Bad for what the API refuses with 400."""
    if not isinstance(body.get("model"), str):
        raise Bad("you must provide a model parameter")
    if path.endswith("/embeddings"):
        return Question(body["model"], False, "", more=body)
    messages = body.get("messages") or [{"role": "user", "content": body.get("prompt")}]
    if any(message.get("role") not in ROLES for message in messages):
        raise Bad("Invalid value: 'role' of a message")
    parts = [part for message in messages for part in _parts(message.get("content"))]
    last = messages[-1]
    wanted = body.get("response_format") or {}
    return Question(
        model=body["model"],
        stream=bool(body.get("stream")),
        said=" ".join(part["text"] for part in _parts(last["content"]) if part["type"] == "text"),
        images=[_image(part["image_url"]["url"]) for part in parts if part["type"] == "image_url"],
        tools=[(each["function"]["name"], each["function"]["parameters"]) for each in body.get("tools", ())],
        tool_said=last["content"] if last["role"] == "tool" else None,
        schema=wanted["json_schema"]["schema"] if wanted.get("type") == "json_schema" else None,
        thinks=bool(body.get("reasoning_effort") or body.get("reasoning") or body.get("thinking")),
        max_tokens=body.get("max_completion_tokens", body.get("max_tokens")),
        more=body,
    )


def _parts(content: Any) -> list[Json]:
    return [{"type": "text", "text": content or ""}] if not isinstance(content, list) else content


def _image(url: str) -> tuple[str, int]:
    head, _, data = url.partition(";base64,")
    if not data:
        raise Bad("image_url: only data URLs here, for a stand-in fetches nothing")
    return head.removeprefix("data:"), len(base64.b64decode(data))


def headers(mode: Mode) -> dict[str, str]:
    return {
        "x-ratelimit-limit-requests": f"{LIMIT}",
        "x-ratelimit-remaining-requests": "0" if mode is Mode.FULL else f"{REMAINING}",
        "x-ratelimit-reset-requests": "2s",
        "x-ratelimit-limit-tokens": "80000",
        "x-ratelimit-remaining-tokens": "79000",
        "x-ratelimit-reset-tokens": "6m0s",
        "x-request-id": "req_standin",
    }


def refusal(mode: Mode, question: Question | None, provider: str = "openai") -> Refusal | None:
    """The provider's error for this mode, None for a mode that answers."""
    told = OWN_ERRORS.get((provider, mode)) or ERRORS.get(mode)
    if told is None:
        return None
    status, body = told
    more = {"retry-after": f"{RETRY_AFTER_S}"} if mode in (Mode.FULL, Mode.OVERLOADED) else {}
    named = json.loads(json.dumps(body).replace("MODEL", question.model if question else ""))
    return Refusal(status, named, headers(mode) | more)


def error(message: str, kind: str | None, code: str | int | None, param: str | None = None) -> Json:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def bad(message: str) -> Refusal:
    return Refusal(400, error(message, INVALID, None))


INVALID = "invalid_request_error"
LONG = "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens."
SAFETY = "Your request was rejected as a result of our safety system."
ERRORS: Mapping[Mode, tuple[int, Json]] = {
    Mode.FULL: (429, error("Rate limit reached for MODEL. Please try again in 7s.", "requests", "rate_limit_exceeded")),
    Mode.SPENT: (429, error("You exceeded your current quota.", "insufficient_quota", "insufficient_quota")),
    Mode.BROKEN: (500, error("The server had an error while processing your request.", "server_error", None)),
    Mode.OVERLOADED: (503, error("The engine is currently overloaded.", "service_unavailable_error", None)),
    Mode.GONE: (404, error("The model `MODEL` does not exist.", INVALID, "model_not_found")),
    Mode.TOO_LONG: (400, error(LONG, INVALID, "context_length_exceeded", "messages")),
    Mode.FILTERED: (400, error(SAFETY, INVALID, "content_policy_violation")),
    Mode.BAD_KEY: (401, error("Incorrect API key provided: sk-wr***.", INVALID, "invalid_api_key")),
    Mode.REFUSED: (400, error("Invalid 'top_p': rate limit 429 is above the maximum", INVALID, None, "top_p")),
}
UPSTREAM = json.dumps({"error": {"message": LONG, "type": "Bad Request", "code": 400}})
OWN_ERRORS: Mapping[tuple[str, Mode], tuple[int, Json]] = {
    ("groq", Mode.GONE): (
        400,
        error("The model `MODEL` has been decommissioned and is no longer supported.", INVALID, "model_decommissioned"),
    ),
    ("groq", Mode.TOO_LONG): (
        400,
        error("Please reduce the length of the messages or completion.", INVALID, "context_length_exceeded"),
    ),
    ("mistral", Mode.GONE): (
        400,
        {"object": "error", "message": "Invalid model: MODEL", "type": "invalid_model", "param": None, "code": "1500"},
    ),
    ("mistral", Mode.TOO_LONG): (
        400,
        {
            "object": "error",
            "message": "Prompt contains 40000 tokens, too large for model with 32768 maximum context length",
            "type": "invalid_request_prompt",
            "code": "3051",
        },
    ),
    ("mistral", Mode.REFUSED): (422, {"detail": [{"loc": ["body", "top_p"], "msg": "must be at most 1"}]}),
    ("together_ai", Mode.TOO_LONG): (
        422,
        error("Input validation error: `inputs` tokens + `max_new_tokens` must be <= 8193. Given: 9000", INVALID, None),
    ),
    ("openrouter", Mode.TOO_LONG): (
        400,
        {"error": {"message": "Provider returned error", "code": 400, "metadata": {"raw": UPSTREAM}}},
    ),
    ("openrouter", Mode.GONE): (404, {"error": {"message": "No endpoints found for MODEL.", "code": 404}}),
    ("openrouter", Mode.SPENT): (402, {"error": {"message": "Insufficient credits.", "code": 402}}),
    ("openrouter", Mode.FILTERED): (
        403,
        {"error": {"message": "Input was flagged", "code": 403, "metadata": {"reasons": ["x"], "flagged_input": "y"}}},
    ),
    ("deepseek", Mode.SPENT): (402, error("Insufficient Balance", "unknown_error", INVALID)),
    ("deepseek", Mode.GONE): (400, error("Model Not Exist", INVALID, INVALID)),
    ("deepseek", Mode.FILTERED): (400, error("Content Exists Risk", INVALID, INVALID)),
}


def whole(question: Question, answer: Answer) -> Json:
    message: Json = {"role": "assistant", "content": answer.text or None}
    if answer.thought is not None:
        message["reasoning_content"] = answer.thought
    if answer.call is not None:
        message["tool_calls"] = [_call(answer.call)]
    choice = {"index": 0, "message": message, "finish_reason": STOPS[answer.finish]}
    if "messages" not in question.more:
        choice = {"index": 0, "text": answer.text, "finish_reason": STOPS[answer.finish]}
    return _head(question, "") | {"choices": [choice], "usage": _usage(answer)}


def events(question: Question, answer: Answer) -> Iterator[bytes]:
    """A stream; the usage comes last, if it was asked for."""
    yield _delta(question, {"role": "assistant", "content": ""})
    if answer.thought is not None:
        yield _delta(question, {"reasoning_content": answer.thought})
    for word in answer.words:
        yield _delta(question, {"content": word})
    if answer.call is not None:
        call = _call(answer.call)
        said = call["function"].pop("arguments")
        yield _delta(question, {"tool_calls": [call | {"function": call["function"] | {"arguments": ""}, "index": 0}]})
        for half in (said[: len(said) // 2], said[len(said) // 2 :]):
            yield _delta(question, {"tool_calls": [{"index": 0, "function": {"arguments": half}}]})
    yield _delta(question, {}, STOPS[answer.finish])
    # Mistral tells it without being asked, and knows no such option ("Chat completion", usage of the last chunk).
    if question.more.get("stream_options", {}).get("include_usage") or question.model.startswith("mistral"):
        yield _event(_head(question, ".chunk") | {"choices": [], "usage": _usage(answer)})
    yield DONE


def error_event() -> bytes:
    return _event(error("The server had an error while processing your request.", "server_error", None))


def embeddings(question: Question) -> Json:
    """Vectors of the lengths of the inputs: as numbers, or packed in base64 where that was asked for."""
    given = question.more["input"]
    inputs = [given] if isinstance(given, str) or all(isinstance(each, int) for each in given) else given
    size = question.more.get("dimensions", DIMENSIONS)
    vectors = [[float(len(each))] + [0.5] * (size - 1) for each in inputs]
    packed = question.more.get("encoding_format") == "base64"
    data = [
        {"object": "embedding", "index": at, "embedding": _packed(each) if packed else each}
        for at, each in enumerate(vectors)
    ]
    tokens = sum(len(each) for each in inputs)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": question.model, "usage": usage}


def _packed(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _call(call: tuple[str, Json]) -> Json:
    name, arguments = call
    return {"id": "call_standin", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}


def _delta(question: Question, delta: Json, stop: str | None = None) -> bytes:
    choice: Json = {"index": 0, "delta": delta, "finish_reason": stop}
    if "messages" not in question.more:
        choice = {"index": 0, "text": delta.get("content", ""), "finish_reason": stop}
    return _event(_head(question, ".chunk") | {"choices": [choice]})


def _head(question: Question, kind: str) -> Json:
    is_chat = "messages" in question.more
    name = f"chat.completion{kind}" if is_chat else "text_completion"
    head = {"id": "chatcmpl-standin", "object": name, "created": 1_700_000_000, "model": question.model}
    # Groq always tells it ("Service tiers"); without it litellm 1.106.2 fails on a whole answer of Groq's.
    return head | {"service_tier": "on_demand"}


def _usage(answer: Answer) -> Json:
    total = answer.prompt_tokens + answer.completion_tokens
    return {
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "total_tokens": total,
    }


def _event(data: Json) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\n\n"
