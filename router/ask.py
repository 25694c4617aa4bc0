"""Read an Ask from a request: what routing needs to know, and the body as it came.

Pure: bytes and headers in, value out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from router.body import (
    LONGEST_NAME,
    NO_FIELDS,
    Body,
    Embedding,
    Prompt,
    parsed,
    read_chat,
    read_completion,
    read_embedding,
)
from router.errors import ApiError
from router.ids import new_id
from router.length import Length
from router.prefixes import prefixes_of
from router.routing.chain import models_of
from router.tables.rules import Rules
from router.tables.strategy import Weights
from router.tables.table import Size
from router.tables.task import Task

AUTO = frozenset({"auto", "smart-router"})
HINT_PREFIX = "x-spillway-"
# The reason of a request that names its model itself.
PINNED = "pinned"
# Until a target has shown its own ratio: English text has about four bytes a token with today's vocabularies.
BYTES_PER_TOKEN = 4.0
LONGEST_REQUEST_ID = 128
# W3C Trace Context, which asks for no more of a `tracestate`.
TRACE = ("traceparent", "tracestate")
LONGEST_TRACE = 512
# Scheduling is the router's business (engine-facts: priority, KV transfer and extra arguments are taken from bodies).
STEERING = frozenset({"priority", "kv_transfer_params", "vllm_xargs", "cache_salt"})
NO_NEEDS = frozenset[str]()
VECTORS = frozenset({"embeddings"})


class Endpoint(StrEnum):
    CHAT = "/v1/chat/completions"
    COMPLETION = "/v1/completions"
    EMBEDDING = "/v1/embeddings"


class Ask(msgspec.Struct, frozen=True, gc=False):
    """What a request wants. `how` is the reason it has if it runs where its tier prefers: tier, task or pinned.

    `prompt_bytes` is the size of the text, `max_tokens` the client's own bound on each of its `answers` (None: no
    bound). `raw` is the body as it came; `steered` says that it has one of the STEERING fields. `trace` are the W3C
    headers of the client, for whoever serves it. `stand_ins` are models that the preset names after `model`, `size` the
    class that its task prefers where no model is named, `fill` the fields that its task gives a body which leaves them
    out. `prefixes` are digests of how its prompt begins (`router.prefixes`), where affinity counts. `order` and
    `strategy` count instead of the tier's where its route or task says so. `route` is the rule of [[routes]] that it
    follows, `arm` its part of a comparison, `shadow_of` the request whose copy it is. `relies` are the fields that it
    has of those that not every target obeys.
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
    has_stream_options: bool
    steered: bool
    trace: tuple[tuple[str, str], ...]
    raw: bytes
    stand_ins: tuple[str, ...] = ()
    size: Size | None = None
    fill: tuple[tuple[str, float], ...] = ()
    prefixes: tuple[int, ...] = ()
    order: tuple[str, ...] = ()
    strategy: Weights | None = None
    route: str | None = None
    arm: str | None = None
    shadow_of: str | None = None
    lengths: tuple[Length, ...] = ()
    relies: frozenset[str] = NO_FIELDS

    @property
    def body(self) -> dict[str, Any]:
        """The whole body with what its task fills in, parsed anew each time. Raises ApiError 400 on what only a whole
        parse can find."""
        return parsed(self.raw) | dict(self.fill) if self.fill else parsed(self.raw)


def read_ask(raw: bytes, headers: Mapping[str, str], endpoint: Endpoint, rules: Rules) -> Ask:
    """The Ask in a request; names of headers are in lower case. Raises ApiError 400 that names the field."""
    # Members of an enumeration are slow to look up, and most requests are chats.
    body, prompt = read_chat(raw) if endpoint is CHAT else READERS[endpoint](raw)
    hints = _hints(headers, body.metadata)
    tier, how, task, models, size = _place(body.model, hints, rules)
    options = body.stream_options
    ask = Ask(
        _request_id(headers),
        endpoint,
        body.model,
        models[0] if models else None,
        tier,
        how,
        task,
        body.user,
        hints.feature,
        prompt.size_bytes,
        body.max_completion_tokens or body.max_tokens,
        _needs(body, prompt),
        hints.local_only,
        hints.deadline_s,
        hints.max_usd,
        (body.n or 1) * prompt.prompts,
        body.stream and endpoint is not EMBEDDING,
        options is not UNSET and options is not None and options.include_usage,
        options is not UNSET,
        body.steers,
        _trace(headers) if "traceparent" in headers else (),
        raw,
        models[1:],
        size,
        NO_FILL,
        prefixes_of(body) if rules.wants_affinity and endpoint is not EMBEDDING else (),
    )
    if relies := body.relies:
        ask = replace(ask, relies=relies)
    return ask if task is None or endpoint is EMBEDDING else _with_task(ask, rules.tasks[task], body)


CHAT, COMPLETION, EMBEDDING = Endpoint.CHAT, Endpoint.COMPLETION, Endpoint.EMBEDDING
READERS: Mapping[Endpoint, Callable[[bytes], tuple[Body, Prompt]]] = {
    COMPLETION: read_completion,
    EMBEDDING: read_embedding,
}
# Of the body of each endpoint: the field that holds what is to be read, which no other has.
PROMPT_FIELDS = {CHAT: "messages", COMPLETION: "prompt", EMBEDDING: "input"}


class _Hints(msgspec.Struct, frozen=True, gc=False):
    """What a request asks of us besides its body's own fields."""

    tier: str | None = None
    task: str | None = None
    feature: str | None = None
    local_only: bool = False
    deadline_s: float | None = None
    max_usd: float | None = None


NO_HINTS = _Hints()
HINTS = {name: HINT_PREFIX + name for name in ("tier", "task", "feature", "privacy", "deadline-ms", "max-usd")}
HINT_HEADERS = frozenset(HINTS.values())


def _hints(headers: Mapping[str, str], metadata: Mapping[str, Any] | None) -> _Hints:
    """A hint is a header, or the `metadata` field of the same name without the prefix. The header wins."""
    if not metadata and HINT_HEADERS.isdisjoint(headers):
        return NO_HINTS
    given: dict[str, str] = {}
    for name, header in HINTS.items():
        value = headers.get(header)
        if value is None:
            if not metadata or (value := metadata.get(name)) is None:
                continue
            value = str(value)
        if len(value) > LONGEST_NAME:
            raise _bad_hint(name, f"is longer than {LONGEST_NAME} characters")
        given[name] = value
    privacy = given.get("privacy", "any")
    if privacy not in PRIVACIES:
        raise _bad_hint("privacy", f'is {privacy!r}; it must be "local-only" or "any"')
    return _Hints(
        given.get("tier"),
        given.get("task"),
        given.get("feature"),
        privacy == "local-only",
        _number(given, "deadline-ms") * 0.001 if "deadline-ms" in given else None,
        _number(given, "max-usd") if "max-usd" in given else None,
    )


PRIVACIES = ("any", "local-only")


def _number(given: Mapping[str, str], name: str) -> float:
    text = given[name]
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not value > 0 or value == float("inf"):
        raise _bad_hint(name, f"is {text!r}; it must be a number above 0")
    return value


def _bad_hint(name: str, what: str) -> ApiError:
    return ApiError(400, "invalid_hint", f"{HINT_PREFIX}{name} {what}", name)


def _place(name: str, hints: _Hints, rules: Rules) -> tuple[str, str, str | None, tuple[str, ...], Size | None]:
    """(tier, how, task, models, size). A model name `tier/<tier>` or `task/<task>` goes before the hint of that kind,
    and a model's own name before what the preset says of the task."""
    kind, rest = name.split("/", 1) if "/" in name else ("", "")
    task = rest if kind == "task" else hints.task
    work = None if task is None else _known("task", task, rules.tasks, is_name=kind == "task")
    wanted = rest if kind == "tier" else hints.tier or (work.tier if work else rules.limits.default_tier)
    _known("tier", wanted, rules.tiers, is_name=kind == "tier")
    if name not in AUTO and kind not in PREFIXES:
        return wanted, PINNED, task, (name,), None
    if work is None:
        return wanted, "tier", None, (), None
    models = models_of(task, rules)
    return wanted, "tier" if kind == "tier" else "task", task, models, None if models else work.size


def _with_task(ask: Ask, work: Task, body: Body) -> Ask:
    return replace(
        ask,
        max_tokens=ask.max_tokens or work.max_tokens,
        needs=ask.needs.union(work.needs) if work.needs else ask.needs,
        fill=_fill(work, body),
        strategy=work.strategy or None,
    )


def _fill(work: Task, body: Body) -> tuple[tuple[str, float], ...]:
    """What the task says of fields that the body leaves out."""
    if work.temperature is None and work.max_tokens is None:
        return NO_FILL
    is_open = body.max_tokens is None and body.max_completion_tokens is None
    given = (("temperature", work.temperature, body.temperature is None), ("max_tokens", work.max_tokens, is_open))
    return tuple([(field, value) for field, value, is_left_out in given if value is not None and is_left_out])


NO_FILL: tuple[tuple[str, float], ...] = ()
# Of a model name that names no model.
PREFIXES = frozenset({"tier", "task"})

Named = TypeVar("Named")


def _known(kind: str, name: str, known: Mapping[str, Named], is_name: bool) -> Named:
    """`is_name`: it stood in the model's name, and not in a hint."""
    if name in known:
        return known[name]
    there, param = ", ".join(sorted(known)) or "none", "model" if is_name else HINTS[kind]
    raise ApiError(404, "model_not_found", f"the {kind} {name!r} does not exist; there are: {there}", param)


def _needs(body: Body, prompt: Prompt) -> frozenset[str]:
    if type(body) is Embedding:
        return VECTORS
    if not (body.tools or prompt.has_image or body.response_format):
        return NO_NEEDS
    asked = (("tools", body.tools), ("vision", prompt.has_image), ("json_schema", body.wants_schema))
    return frozenset(capability for capability, wanted in asked if wanted)


def _request_id(headers: Mapping[str, str]) -> str:
    given = headers.get("x-request-id")
    return given if given and _is_plain(given, LONGEST_REQUEST_ID) else "req-" + new_id()


def _trace(headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Of a request with a `traceparent`, without which a `tracestate` says nothing."""
    given = [(name, headers.get(name, "")) for name in TRACE]
    return tuple((name, value) for name, value in given if value and _is_plain(value, LONGEST_TRACE))


def _is_plain(text: str, longest: int) -> bool:
    """Whether the text can stand in a header."""
    return len(text) <= longest and text.isprintable() and text.isascii()
