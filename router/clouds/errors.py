"""What a cloud's failure means, in our words. Pure: an exception of the SDK in, one of ours out.

litellm's own verdicts are guesses by words in a message: it calls a 400 whose text has "rate limit" in it a 429, a 529
of Anthropic's a 500, and a 403 whatever of Gemini's has "403" in it. So the provider's own answer is read, which is
kept at the end of the chain of exceptions: status, headers and body.

Sources, by page: Anthropic, "Errors"; Google, "Gemini API troubleshooting" and google.rpc.Status; OpenAI, "Error
codes"; Groq, "Error codes" and "Model deprecations"; Mistral, "Errors"; DeepSeek, "Error Codes"; Together AI, "Error
codes"; OpenRouter, "Errors and debugging" (`metadata.raw` holds the words of the provider behind it).
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import orjson

from router.errors import ApiError, ContextExceeded, RequestRefused, StreamBroken, TargetUnavailable, error_answer
from router.quotas.learned import retry_after_s, told_by

LONGEST_MESSAGE = 500
# What a provider says when it withholds an answer for what is in it; the reason is `fallback:content_filter`.
FILTER = "content_filter"
REFUSALS = range(400, 500)


class Rejection(msgspec.Struct, frozen=True):
    """The answer of a provider that is none: names of headers in lower case, the body as text."""

    status: int
    headers: Mapping[str, str]
    body: str


class Words(msgspec.Struct, frozen=True):
    """What is said in it: for people, and in code words (`codes`, joined by spaces)."""

    message: str
    codes: str = ""
    param: str | None = None


def in_our_words(target: str, error: BaseException) -> Exception:
    """TargetUnavailable, ContextExceeded or RequestRefused, for `raise`."""
    rejection = rejection_of(error)
    if rejection is not None:
        return judged(target, rejection)
    names = [type(each).__name__ for each in _causes(error)]
    if "ImageFetchError" in names:
        return RequestRefused(target, ApiError(400, "invalid_image_url", NO_IMAGE, "messages"))
    cause = cause_of(error)
    if cause == "error" and names[0] in UNSENT:
        # litellm itself has found it wrong, and has sent nothing.
        return RequestRefused(target, ApiError(400, "invalid_value", message_of(error)))
    return TargetUnavailable(target, cause, message_of(error), was_reached=cause != "connect")


# For providers that take no address of an image litellm fetches it, unless it is one of a private network.
NO_IMAGE = "an image could not be fetched from its address; send it in the request, as a data URL"
UNSENT = frozenset({"BadRequestError", "UnsupportedParamsError"})


def broken_off(target: str, error: BaseException) -> StreamBroken:
    """Of a stream that was past its first token."""
    cause = cause_of(error)
    return StreamBroken(target, "stream_error" if cause == "error" else cause, message_of(error))


def rejection_of(error: BaseException) -> Rejection | None:
    """What the provider answered, if that is the cause of the error. What stands nearer is litellm's retelling."""
    found = [each for each in _causes(error) if type(each).__name__ == "HTTPStatusError"]
    if not found:
        return None
    response: Any = getattr(found[-1], "response", None)
    try:
        body = str(response.text)
    except RuntimeError:
        # A stream's body that nobody has read.
        body = ""
    return Rejection(int(response.status_code), {name.lower(): value for name, value in response.headers.items()}, body)


def judged(target: str, rejection: Rejection) -> Exception:
    """What a provider's refusal means for the request: too long, withheld, not the client's fault, or the client's."""
    words, status = read_words(rejection.body), rejection.status
    message = words.message[:LONGEST_MESSAGE] or f"answered {status}"
    said = f"{words.codes} {words.message}".lower()
    if status in REFUSALS and any(text in said for text in TOO_LONG):
        return ContextExceeded(target, message)
    if status in REFUSALS and any(text in said for text in WITHHELD):
        return TargetUnavailable(target, FILTER, message)
    meant = next((each for text, each in MEANS if text in said), status) if status == BAD_REQUEST else status
    pause_s = retry_after_s(rejection.headers, rejection.body, time.time())
    failure = error_answer(target, meant, message, words.param, pause_s)
    if isinstance(failure, TargetUnavailable):
        failure.told = told_by(status, rejection.headers, rejection.body, time.time())
    return failure


BAD_REQUEST = 400
# Of a prompt that is too long, in small letters.
TOO_LONG = (
    "context_length_exceeded",
    "maximum context length",
    "model's context length",
    "context window",
    "prompt is too long",
    "exceed context limit",
    "exceeds the maximum number of tokens allowed",
    "reduce the length of the messages",
    "`inputs` tokens + `max_new_tokens`",
    "request_too_large",
)
# Of content that a provider does not let through.
WITHHELD = (
    "content_filter",
    "content_policy_violation",
    "content filtering policy",
    "content management policy",
    "safety system",
    "usage polic",
    "content exists risk",
    "flagged_input",
    "prohibited_content",
)
# A 400 that another provider would not have given: what it means instead.
MEANS = (
    ("api_key_invalid", 401),
    ("api key not valid", 401),
    ("credit balance is too low", 402),
    ("billing_error", 402),
    ("user location is not supported", 403),
    ("model_decommissioned", 404),
    ("model_not_found", 404),
    ("invalid_model", 404),
    ("model not exist", 404),
    ("is not a valid model id", 404),
)


def read_words(body: str) -> Words:
    """What the body of a refusal says, in whichever of the providers' forms."""
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError:
        return Words(" ".join(TAGS.sub(" ", body).split()))
    if isinstance(data, list) and data:
        data = data[0]
    if not isinstance(data, dict):
        return Words(str(data))
    error = data.get("error", data)
    if not isinstance(error, dict):
        return Words(str(error))
    return _read(error)


# Of a page in front of the provider, which is HTML.
TAGS = re.compile(r"<[^>]*>")


def _read(error: Mapping[str, Any]) -> Words:
    metadata = error.get("metadata")
    if isinstance(metadata, dict) and isinstance(metadata.get("raw"), str):
        behind = read_words(metadata["raw"])
        if behind.message:
            return behind
    details = error.get("details")
    codes = [error.get("code"), error.get("type"), error.get("status")]
    codes += [each.get("reason") for each in details if isinstance(each, dict)] if isinstance(details, list) else []
    codes += metadata if isinstance(metadata, dict) else []
    param = error.get("param")
    message = error.get("message") or _complaints(error.get("detail"))
    return Words(
        str(message or ""), " ".join(str(each) for each in codes if each), param if isinstance(param, str) else None
    )


def _complaints(detail: object) -> str:
    """Of a validation by FastAPI, as Mistral's: where, and what."""
    if not isinstance(detail, list):
        return str(detail or "")
    said = [each for each in detail if isinstance(each, dict)]
    return "; ".join(f"{'.'.join(str(part) for part in each.get('loc', ()))}: {each.get('msg')}" for each in said)


def cause_of(error: BaseException) -> str:
    """Of an error that the provider did not send: it was too slow, not reached, cut off or senseless, or unknown."""
    chain = list(_causes(error))
    names = {type(each).__name__ for each in chain}
    for cause, signs in CAUSES:
        if names & signs:
            return cause
    if getattr(error, "status_code", None) == UNREADABLE:
        return "malformed"
    return "connect" if any(isinstance(each, OSError) for each in chain) else "error"


# What litellm says of a whole answer of Gemini's that it cannot read, though the provider said 200.
UNREADABLE = 422
# By the names of exceptions, of httpx, aiohttp and the standard library, first to last: a connection that is cut in
# the middle of an answer is an OSError too.
CAUSES = (
    ("connect", {"ConnectError", "ClientConnectorError", "ConnectTimeout", "ClientConnectorDNSError"}),
    ("timeout", {"Timeout", "APITimeoutError", "ReadTimeout", "TimeoutException", "TimeoutError", "PoolTimeout"}),
    ("cut", {"ReadError", "RemoteProtocolError", "ClientPayloadError", "ServerDisconnectedError"}),
    ("malformed", {"JSONDecodeError", "ValidationError", "UnicodeDecodeError", "APIResponseValidationError"}),
)


def message_of(error: BaseException) -> str:
    """The words of the error, without the class names that litellm puts before them, and the traceback after them."""
    words = str(getattr(error, "message", error)).rpartition("Exception - ")[2].partition(TRACEBACK)[0]
    return read_words(words.removeprefix("b'").removesuffix("'")).message[:LONGEST_MESSAGE]


TRACEBACK = "Traceback (most recent call last)"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it was raised from, nearest first."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
