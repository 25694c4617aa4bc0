"""The Gemini API (Google AI Studio, v1beta) as a stand-in speaks it. Pure: a request in, an answer out.

Sources: Gemini API reference, pages "Generating content" (GenerateContentResponse, FinishReason, BlockReason), "Text
generation", "Function calling", "Structured output", "Thinking", "Embeddings", "Troubleshooting" (error codes) and
"Rate limits"; google.rpc.Status with RetryInfo and QuotaFailure (google/rpc/error_details.proto).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from typing import Any

from tests.provider_words import RETRY_AFTER_S, Answer, Bad, Json, Mode, Question, Refusal

STOPS = {"stop": "STOP", "length": "MAX_TOKENS", "tool": "STOP", "filtered": "SAFETY"}
ROLES = ("user", "model", "function", None)


def key_of(headers: Mapping[str, str]) -> str | None:
    return headers.get("x-goog-api-key")


def read(body: Json, headers: Mapping[str, str], path: str) -> Question:
    """Raises Bad for what the API refuses with 400. The model and the method stand in the path."""
    model, _, method = path.rpartition("/")[2].partition(":")
    if method == "batchEmbedContents":
        return Question(model, False, "", more=body)
    contents = body.get("contents")
    if not contents or any(content.get("role") not in ROLES for content in contents):
        raise Bad("* GenerateContentRequest.contents: contents is not specified or has a wrong role")
    settings: Json = _of(body, "generationConfig") or {}
    parts = [part for content in contents for part in content["parts"]]
    last = contents[-1]["parts"]
    return Question(
        model=model,
        stream=method == "streamGenerateContent",
        said=" ".join(part["text"] for part in last if "text" in part),
        images=[_image(part) for part in parts if _of(part, "inlineData")],
        tools=list(_tools(body)),
        tool_said=next((_said(part) for part in last if _of(part, "functionResponse")), None),
        schema=_schema(settings),
        thinks=bool(_of(_of(settings, "thinkingConfig") or {}, "includeThoughts")),
        max_tokens=_of(settings, "maxOutputTokens"),
        more={"system": _of(body, "systemInstruction"), "settings": settings},
    )


def _of(value: Json, name: str) -> Any:
    """A field by either of the two spellings that Google's JSON takes (protobuf's JSON mapping)."""
    snake = "".join(f"_{each.lower()}" if each.isupper() else each for each in name)
    return value.get(name, value.get(snake))


def _image(part: Json) -> tuple[str, int]:
    image = _of(part, "inlineData")
    return _of(image, "mimeType"), len(base64.b64decode(image["data"]))


def _tools(body: Json) -> Iterator[tuple[str, Json]]:
    for tool in body.get("tools", ()):
        for declared in _of(tool, "functionDeclarations") or ():
            yield declared["name"], declared.get("parameters") or _of(declared, "parametersJsonSchema") or {}


def _said(part: Json) -> str:
    said = _of(part, "functionResponse")["response"]
    return said if isinstance(said, str) else " ".join(str(each) for each in said.values())


def _schema(settings: Json) -> Json | None:
    schema: Json | None = _of(settings, "responseJsonSchema") or _of(settings, "responseSchema")
    if schema is not None and _of(settings, "responseMimeType") != "application/json":
        raise Bad("response_schema needs response_mime_type application/json")
    return schema


def headers(_mode: Mode) -> dict[str, str]:
    """None of them tells a rate limit: Gemini says it only in the details of a 429."""
    return {"server": "scaffolding on HTTPServer2"}


def refusal(mode: Mode, question: Question | None) -> Refusal | None:
    """The provider's error for this mode, None for a mode that answers."""
    name = question.model if question else ""
    full = "You exceeded your current quota, please check your plan and billing details."
    told: dict[Mode, tuple[int, str, str, list[Json]]] = {
        Mode.FULL: (429, "RESOURCE_EXHAUSTED", full, _quota_details(name, "PerMinute")),
        Mode.SPENT: (429, "RESOURCE_EXHAUSTED", full, _quota_details(name, "PerDay")),
        Mode.BROKEN: (500, "INTERNAL", "An internal error has occurred. Please retry or report.", []),
        Mode.OVERLOADED: (503, "UNAVAILABLE", "The model is overloaded. Please try again later.", []),
        Mode.GONE: (404, "NOT_FOUND", f"models/{name} is not found for API version v1beta, or is not supported", []),
        Mode.TOO_LONG: (400, "INVALID_ARGUMENT", TOO_LONG, []),
        Mode.BAD_KEY: (400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", [BAD_KEY]),
        Mode.REFUSED: (400, "INVALID_ARGUMENT", "Unable to process input image: 403 bytes; rate limit 429", []),
    }
    if mode not in told:
        return None
    status, kind, message, details = told[mode]
    return Refusal(status, error(status, kind, message, details))


TOO_LONG = "The input token count (1200001) exceeds the maximum number of tokens allowed (1048576)."
BAD_KEY: Json = {
    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
    "reason": "API_KEY_INVALID",
    "domain": "googleapis.com",
}


def _quota_details(name: str, window: str) -> list[Json]:
    violation = {
        "quotaMetric": "generativelanguage.googleapis.com/generate_content_free_tier_requests",
        "quotaId": f"GenerateRequests{window}PerProjectPerModel-FreeTier",
        "quotaDimensions": {"location": "global", "model": name},
        "quotaValue": "30",
    }
    return [
        {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [violation]},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{RETRY_AFTER_S}s"},
    ]


def bad(message: str) -> Refusal:
    return Refusal(400, error(400, "INVALID_ARGUMENT", message, []))


def error(status: int, kind: str, message: str, details: list[Json]) -> Json:
    return {"error": {"code": status, "message": message, "status": kind} | ({"details": details} if details else {})}


def blocked(question: Question) -> Json:
    """A prompt that is filtered: 200, no candidate, and the reason."""
    return {
        "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"},
        "usageMetadata": {"promptTokenCount": 11, "totalTokenCount": 11},
        "modelVersion": question.model,
    }


def embeddings(question: Question) -> Json:
    """A vector for each text, whose first number is its length. Tokens are not told."""
    texts = ["".join(part["text"] for part in each["content"]["parts"]) for each in question.more["requests"]]
    return {"embeddings": [{"values": [float(len(text)), 0.5, 0.5, 0.5]} for text in texts]}


def whole(question: Question, answer: Answer) -> Json:
    return _response(question, answer, _parts(answer, joined=True), last=True)


def events(question: Question, answer: Answer) -> Iterator[bytes]:
    """A stream: each event is a whole response with a part of the text."""
    parts = _parts(answer, joined=False)
    for at, part in enumerate(parts):
        yield _event(_response(question, answer, [part], last=at == len(parts) - 1))


def error_event() -> bytes:
    """What comes in the middle of a stream when the service is overloaded."""
    return _event(error(503, "UNAVAILABLE", "The model is overloaded. Please try again later.", []))


def _parts(answer: Answer, *, joined: bool) -> list[Json]:
    thought = [] if answer.thought is None else [{"text": answer.thought, "thought": True}]
    said = [{"text": answer.text}] if joined and answer.words else [{"text": word} for word in answer.words]
    call = []
    if answer.call is not None:
        name, arguments = answer.call
        call = [{"functionCall": {"name": name, "args": arguments}}]
    return [*thought, *said, *call]


def _response(question: Question, answer: Answer, parts: list[Json], *, last: bool) -> Json:
    candidate: Json = {"content": {"parts": parts, "role": "model"}, "index": 0}
    if last:
        candidate["finishReason"] = STOPS[answer.finish]
    usage = {"promptTokenCount": answer.prompt_tokens, "totalTokenCount": answer.prompt_tokens}
    if last:
        usage |= {
            "candidatesTokenCount": answer.completion_tokens,
            "totalTokenCount": answer.prompt_tokens + answer.completion_tokens,
        }
    return {
        "candidates": [candidate],
        "usageMetadata": usage,
        "modelVersion": question.model,
        "responseId": "standin",
    }


def _event(response: Json) -> bytes:
    return f"data: {json.dumps(response)}\r\n\r\n".encode()
