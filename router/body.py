"""The JSON body of a request, decoded once and only as far as routing needs it; and what is wrong with it, if anything.

Pure: bytes in, value out. Fields that are not named here are skipped without being built.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import msgspec
import orjson
from msgspec import UNSET, Meta, UnsetType

from router.errors import ApiError

# Names are kept in the ledger and in the list of decisions, so they have a bound.
LONGEST_NAME = 256
# What orjson can write, and engines read. A body with no more brackets than this cannot be nested deeper.
DEEPEST = 254
# A token id counts as much as four bytes of text: English has about four bytes a token with today's vocabularies.
TOKEN_BYTES = 4
# Their size says little about their tokens.
UNCOUNTED = frozenset({"image_url", "input_audio"})

NO_FIELDS = frozenset[str]()
SOME_OBEY = ("logprobs", "top_logprobs", "seed", "logit_bias", "stop")

Name = Annotated[str, Meta(min_length=1, max_length=LONGEST_NAME)]
Count = Annotated[int, Meta(ge=1)]
Answers = Annotated[int, Meta(ge=1, le=16)]
Temperature = Annotated[float, Meta(ge=0, le=2)]


class StreamOptions(msgspec.Struct, frozen=True):
    """`stream_options`, as far as we rely on it."""

    include_usage: bool = False


class Body(msgspec.Struct, kw_only=True, frozen=True):
    """The fields of either endpoint that we rely on; the rest belongs to the target.

    The last four steer an engine's scheduler; what is in them does not matter, only that they are there. So it is with
    those that not every target obeys, from `logprobs` on.
    """

    model: Name
    user: Name | None = None
    stream: bool = False
    stream_options: StreamOptions | UnsetType | None = UNSET
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None
    n: Answers | None = None
    temperature: Temperature | None = None
    metadata: dict[str, Any] | None = None
    tools: list[dict[str, Any]] | None = None
    response_format: dict[str, Any] | None = None
    logprobs: Any = None
    top_logprobs: Any = None
    seed: Any = None
    logit_bias: Any = None
    stop: Any = None
    priority: Any = UNSET
    kv_transfer_params: Any = UNSET
    vllm_xargs: Any = UNSET
    cache_salt: Any = UNSET

    @property
    def steers(self) -> bool:
        return not (self.priority is self.kv_transfer_params is self.vllm_xargs is self.cache_salt is UNSET)

    @property
    def relies(self) -> frozenset[str]:
        """Fields that it has of those that not every target obeys."""
        if self.logprobs is self.top_logprobs is self.seed is self.logit_bias is self.stop is None:
            return NO_FIELDS
        return frozenset([field for field in SOME_OBEY if _is_meant(getattr(self, field))])

    @property
    def wants_schema(self) -> bool:
        # A list, because the type may be anything, also what a set cannot look up.
        return self.response_format is not None and self.response_format.get("type") in ["json_schema", "json_object"]


def _is_meant(value: object) -> bool:
    """Of a completion `logprobs = 0` asks for those of the tokens that were chosen, and a seed may be 0."""
    return value is not None and value is not False and value not in ([], {}, "")


class Chat(Body, frozen=True):
    """The body of a chat. What is in its messages is checked by `read_chat`."""

    messages: Annotated[list[dict[str, Any]], Meta(min_length=1)]


class Completion(Body, frozen=True):
    """The body of a completion: one prompt or several, as text or as token ids."""

    prompt: str | list[str | int | list[int]]


class Embedding(Body, frozen=True):
    """The body that asks for vectors: of one text or several, as text or as token ids."""

    input: str | list[str | int | list[int]]


class Prompt(msgspec.Struct, frozen=True):
    """What an engine will have to read: bytes of text, tools included; how many prompts; is there an image?"""

    size_bytes: int
    prompts: int = 1
    has_image: bool = False


CHATS = msgspec.json.Decoder(Chat, strict=False)
COMPLETIONS = msgspec.json.Decoder(Completion, strict=False)
EMBEDDINGS = msgspec.json.Decoder(Embedding, strict=False)


def read_chat(raw: bytes) -> tuple[Chat, Prompt]:
    """The body of a chat. Raises ApiError 400 that names the field."""
    _require_writable(raw)
    try:
        chat = CHATS.decode(raw)
    except msgspec.MsgspecError:
        chat = _read_again(raw, Chat)
    size_bytes = text_bytes(chat.tools) if chat.tools else 0
    has_image = False
    for index, message in enumerate(chat.messages):
        role, content = message.get("role"), message.get("content")
        if (
            len(message) == PLAIN_FIELDS
            and isinstance(role, str)
            and isinstance(content, str)
            and role.isascii()
            and content.isascii()
        ):
            size_bytes += len(role) + len(content)
            continue
        _require_message(message, index)
        size_bytes += text_bytes(message)
        has_image |= type(content) is list and any(part.get("type") == "image_url" for part in content)
    return chat, Prompt(size_bytes, 1, has_image)


# A message of nothing but role and content in ASCII, as most are, is counted without a look at each of its fields.
PLAIN_FIELDS = 2


def read_completion(raw: bytes) -> tuple[Completion, Prompt]:
    """The body of a completion. Raises ApiError 400 that names the field."""
    _require_writable(raw)
    try:
        completion = COMPLETIONS.decode(raw)
    except msgspec.MsgspecError:
        completion = _read_again(raw, Completion)
    prompt = completion.prompt
    size_bytes = text_bytes(prompt) + (text_bytes(completion.tools) if completion.tools else 0)
    _require_one_kind(prompt, "prompt")
    # A list of numbers is one prompt of token ids.
    is_one = isinstance(prompt, str) or not prompt or isinstance(prompt[0], int)
    return completion, Prompt(size_bytes, 1 if is_one else len(prompt))


def read_embedding(raw: bytes) -> tuple[Embedding, Prompt]:
    """The body that asks for vectors. No text is made for them: `prompts` is 0. Raises ApiError 400 that names the
    field."""
    _require_writable(raw)
    try:
        embedding = EMBEDDINGS.decode(raw)
    except msgspec.MsgspecError:
        embedding = _read_again(raw, Embedding)
    if not embedding.input:
        raise _invalid("input", "expected a text or a list of them, got nothing")
    _require_one_kind(embedding.input, "input")
    return embedding, Prompt(text_bytes(embedding.input), 0)


def _require_one_kind(prompt: str | list[str | int | list[int]], field: str) -> None:
    if not isinstance(prompt, str) and len(set(map(type, prompt))) > 1:
        raise _invalid(field, "expected texts, or token ids, or lists of token ids, and not a mixture")


def parsed(raw: bytes) -> dict[str, Any]:
    """The whole body. Raises ApiError 400."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise ApiError(400, "invalid_json", f"the body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise ApiError(400, "invalid_json", "the body must be a JSON object")
    return body


def text_bytes(value: Any) -> int:
    """Bytes of text in a value, at any depth; a number counts as one token."""
    kind = type(value)
    if kind is str:
        return len(value) if value.isascii() else len(value.encode())
    if kind is list:
        return sum(map(text_bytes, value))
    if kind is dict:
        return sum([text_bytes(each) for key, each in value.items() if key not in UNCOUNTED])
    return TOKEN_BYTES if isinstance(value, int) else 0


def _require_writable(raw: bytes) -> None:
    """Refuse what an engine could not read: bytes that are no text, and what is nested too deeply."""
    if not raw.isascii():
        _require_text(raw)
    # Counted by what taking them out leaves, which is ten times as fast as `bytes.count`.
    brackets = 2 * len(raw) - len(raw.replace(b"[", b"", DEEPEST)) - len(raw.replace(b"{", b"", DEEPEST))
    if brackets >= DEEPEST:
        try:
            orjson.dumps(parsed(raw))
        except orjson.JSONEncodeError as error:
            raise ApiError(400, "invalid_json", f"the body is nested too deeply: {error}") from error


def _require_text(raw: bytes) -> None:
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        raise ApiError(400, "invalid_json", f"the body is not UTF-8: {error.reason} at byte {error.start}") from error


Shape = TypeVar("Shape", bound=Body)


def _read_again(raw: bytes, shape: type[Shape]) -> Shape:
    """What the decoder refused: of a key that comes twice only the last one counts, and then the field is named."""
    body = parsed(raw)
    try:
        return msgspec.convert(body, shape, strict=False)
    except msgspec.ValidationError as error:
        raise _named(str(error)) from error


def _named(complaint: str) -> ApiError:
    """msgspec says "Expected `str`, got `int` - at `$.messages[0].name`"; a missing field is named in the sentence."""
    what, _, path = complaint.partition(" - at `$")
    missing = MISSING.fullmatch(what)
    if missing:
        return _invalid(missing[1], "is missing")
    field = ".".join(re.findall(r"\w+", path))
    return _invalid(field, what[0].lower() + what[1:])


MISSING = re.compile("Object missing required field `(.+)`")


def _invalid(field: str, what: str) -> ApiError:
    return ApiError(400, "invalid_value", f"{field}: {what}", field)


def _require_message(message: Mapping[str, Any], index: int) -> None:
    if "role" not in message:
        raise _invalid(f"messages.{index}.role", "is missing")
    if not isinstance(message["role"], str):
        raise _invalid(f"messages.{index}.role", f"expected a text, got `{type(message['role']).__name__}`")
    _require_content(message.get("content"), f"messages.{index}.content")


def _require_content(content: object, field: str) -> None:
    if content is None or isinstance(content, str):
        return
    if not isinstance(content, list):
        raise _invalid(field, f"expected a text, a list of parts or null, got `{type(content).__name__}`")
    for index, part in enumerate(content):
        if not isinstance(part, dict):
            raise _invalid(f"{field}.{index}", f"expected an object, got `{type(part).__name__}`")
