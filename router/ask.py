"""Read an Ask from a request: what routing needs to know, and the body in the form that targets accept.

Pure: bytes and headers in, value out. The body's other fields are not looked at; they travel on as they came.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from router.config import Rules
from router.errors import ApiError

AUTO = frozenset({"auto", "smart-router"})
HINT_PREFIX = "x-spillway-"
# Until a target has shown its own ratio: English text has about four bytes a token with today's vocabularies.
BYTES_PER_TOKEN = 4.0
LONGEST_REQUEST_ID = 128
# Names and hints are kept in the ledger and in the list of decisions, so they have a bound.
LONGEST_NAME = 256


class Endpoint(StrEnum):
    CHAT = "/v1/chat/completions"
    COMPLETION = "/v1/completions"


@dataclass(frozen=True, slots=True)
class Ask:
    """What a request wants. `how` is the reason it has if it runs where its tier prefers: tier, task or pinned.

    `prompt_bytes` is the size of the text, `max_tokens` the client's own bound on each of its
    `answers` (None: no bound).
    """

    request_id: str
    endpoint: Endpoint
    requested: str
    model: str | None
    tier: str
    how: str
    task: str | None
    tenant: str | None
    feature: str | None
    prompt_bytes: int
    max_tokens: int | None
    needs: frozenset[str]
    local_only: bool
    deadline_s: float | None
    max_usd: float | None
    answers: int
    stream: bool
    wants_usage: bool
    body: Mapping[str, Any]


class _Loose(BaseModel):
    model_config = ConfigDict(extra="allow")


class _Message(_Loose):
    role: str
    content: str | list[dict[str, Any]] | None = None


class _StreamOptions(_Loose):
    include_usage: bool = False


Count = Annotated[int, Field(ge=1)]
Name = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]


class _Body(_Loose):
    """The fields of a request that we rely on; the rest belongs to the target."""

    model: Name
    user: Name | None = None
    stream: bool = False
    stream_options: _StreamOptions | None = None
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None
    n: int | None = Field(None, ge=1, le=16)
    temperature: float | None = Field(None, ge=0, le=2)
    metadata: dict[str, Any] | None = None
    tools: list[dict[str, Any]] | None = None
    response_format: dict[str, Any] | None = None


class _Chat(_Body):
    messages: list[_Message] = Field(min_length=1)


class _Completion(_Body):
    prompt: str | list[str] | list[int] | list[list[int]]


SHAPES: dict[Endpoint, TypeAdapter[_Body]] = {
    Endpoint.CHAT: TypeAdapter(_Chat),
    Endpoint.COMPLETION: TypeAdapter(_Completion),
}


def read_ask(raw: bytes, headers: Mapping[str, str], endpoint: Endpoint, rules: Rules) -> Ask:
    """The Ask in a request. Raises ApiError 400 that names the field."""
    body = _parse(raw)
    shape = _shape(body, endpoint)
    hints = _Hints(headers, shape.metadata or {})
    tier, how, task, model = _place(shape.model, hints, rules)
    return Ask(
        request_id=_request_id(headers),
        endpoint=endpoint,
        requested=shape.model,
        model=model,
        tier=tier,
        how=how,
        task=task,
        tenant=shape.user,
        feature=hints.text("feature"),
        prompt_bytes=_prompt_bytes(body, endpoint),
        max_tokens=shape.max_completion_tokens or shape.max_tokens,
        needs=frozenset(capability for capability, asks in CAPABILITIES if asks(shape)),
        local_only=_local_only(hints),
        deadline_s=_scaled(hints.number("deadline-ms"), 0.001),
        max_usd=hints.number("max-usd"),
        answers=(shape.n or 1) * _prompts(shape),
        stream=shape.stream,
        wants_usage=shape.stream_options is not None and shape.stream_options.include_usage,
        body=body,
    )


@dataclass(frozen=True, slots=True)
class _Hints:
    """Request hints: a header, or the `metadata` field of the same name without the prefix. The header wins."""

    headers: Mapping[str, str]
    metadata: Mapping[str, Any]

    def text(self, name: str) -> str | None:
        value = self.headers.get(HINT_PREFIX + name, self.metadata.get(name))
        text = None if value is None else str(value)
        if text is not None and len(text) > LONGEST_NAME:
            raise ApiError(400, "invalid_hint", f"{HINT_PREFIX}{name} is longer than {LONGEST_NAME} characters", name)
        return text

    def number(self, name: str) -> float | None:
        text = self.text(name)
        if text is None:
            return None
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not value > 0 or value == float("inf"):
            raise ApiError(400, "invalid_hint", f"{HINT_PREFIX}{name} is {text!r}; it must be a number above 0", name)
        return value


def _parse(raw: bytes) -> dict[str, Any]:
    try:
        body = orjson.loads(raw)
        # What is nested too deeply to be written again (254 levels) could not be sent on to a target either.
        orjson.dumps(body)
    except orjson.JSONDecodeError as error:
        raise ApiError(400, "invalid_json", f"the body is not JSON: {error}") from error
    except orjson.JSONEncodeError as error:
        raise ApiError(400, "invalid_json", f"the body is nested too deeply: {error}") from error
    if not isinstance(body, dict):
        raise ApiError(400, "invalid_json", "the body must be a JSON object")
    return body


def _shape(body: dict[str, Any], endpoint: Endpoint) -> _Body:
    try:
        return SHAPES[endpoint].validate_python(body, strict=False)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"] if _is_key(part))
        message = "is missing" if first["type"] == "missing" else first["msg"][0].lower() + first["msg"][1:]
        raise ApiError(400, "invalid_value", f"{field}: {message}", field) from error


def _is_key(part: int | str) -> bool:
    """pydantic puts the types of a union into a location, which is no place in the body."""
    return isinstance(part, int) or (part.isidentifier() and part != "str")


def _place(name: str, hints: _Hints, rules: Rules) -> tuple[str, str, str | None, str | None]:
    """(tier, how, task, model). A model name `tier/<tier>` or `task/<task>` goes before the hint of that kind."""
    kind, _, rest = name.partition("/")
    task = _known("task", rest if kind == "task" else hints.text("task"), rules.tasks)
    work = rules.tasks[task] if task is not None else None
    wanted = rest if kind == "tier" else hints.text("tier") or (work.tier if work else rules.limits.default_tier)
    tier = _known("tier", wanted, rules.tiers) or rules.limits.default_tier
    if name not in AUTO and kind not in {"tier", "task"}:
        return tier, "pinned", task, name
    return tier, "task" if work and kind != "tier" else "tier", task, work.model if work else None


def _known(kind: str, name: str | None, known: Mapping[str, object]) -> str | None:
    if name is None or name in known:
        return name
    there = ", ".join(sorted(known)) or "none"
    raise ApiError(404, "model_not_found", f"the {kind} {name!r} does not exist; there are: {there}", "model")


def _request_id(headers: Mapping[str, str]) -> str:
    given = headers.get("x-request-id", "")
    usable = 0 < len(given) <= LONGEST_REQUEST_ID and given.isprintable() and given.isascii()
    return given if usable else f"req-{uuid.uuid4().hex}"


def _local_only(hints: _Hints) -> bool:
    privacy = hints.text("privacy")
    if privacy not in {None, "local-only", "any"}:
        message = f'{HINT_PREFIX}privacy is {privacy!r}; it must be "local-only" or "any"'
        raise ApiError(400, "invalid_hint", message, "privacy")
    return privacy == "local-only"


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _prompt_bytes(body: Mapping[str, Any], endpoint: Endpoint) -> int:
    """Bytes of text in the prompt. Token ids count four bytes each, an image nothing: its size says little."""
    prompt = body["messages"] if endpoint is Endpoint.CHAT else body["prompt"]
    return _text_bytes(prompt) + _text_bytes(body.get("tools"))


def _text_bytes(value: Any) -> int:
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, int):
        return int(BYTES_PER_TOKEN)
    if isinstance(value, list):
        return sum(_text_bytes(each) for each in value)
    if isinstance(value, dict):
        return sum(_text_bytes(each) for key, each in value.items() if key not in {"image_url", "input_audio"})
    return 0


def _prompts(shape: _Body) -> int:
    """How many prompts a completion has; a list of numbers is one prompt of token ids."""
    prompt = shape.prompt if isinstance(shape, _Completion) else ""
    return 1 if isinstance(prompt, str) else sum(not isinstance(each, int) for each in prompt) or 1


def _asks_vision(shape: _Body) -> bool:
    contents = [message.content for message in shape.messages] if isinstance(shape, _Chat) else []
    return any(part.get("type") == "image_url" for content in contents if isinstance(content, list) for part in content)


def _asks_schema(shape: _Body) -> bool:
    # A list, because the type may be anything, also what a set cannot look up.
    return (shape.response_format or {}).get("type") in ["json_schema", "json_object"]


def _asks_tools(shape: _Body) -> bool:
    return bool(shape.tools)


CAPABILITIES = (("tools", _asks_tools), ("vision", _asks_vision), ("json_schema", _asks_schema))
