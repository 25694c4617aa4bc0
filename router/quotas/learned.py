"""What a provider says of its limits: in the headers of every answer, and in the words of a refusal. Pure.

Sources, by page: OpenAI, "Rate limits" (x-ratelimit-limit-requests, reset as "6m0s"); Groq, "Rate Limits" (the same
names, but its requests are those of a day: "2m59.56s"; retry-after with 429 only; "Please try again in 5.289s" in the
body); Anthropic, "Rate limits" (anthropic-ratelimit-input-tokens-remaining, reset in RFC 3339, when it is full again);
SambaNova, "Rate limits" and Mistral (windows in the name: x-ratelimit-remaining-requests-day, -tokens-minute);
OpenRouter, "Limits" (x-ratelimit-reset in milliseconds since 1970); Together AI, "Rate limits" (x-ratelimit-limit,
x-tokenlimit-limit); Google, google.rpc.RetryInfo and QuotaFailure (retryDelay "36s", quotaId "...PerDay...").
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime

import msgspec

REFUSED = 429
# litellm hands a provider's own headers on under this prefix.
PREFIX = "llm_provider-"
SPANS_S = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0, "month": 30 * 86400.0}
# A shorter time until a window is full is rounded too much to tell its rate.
TELLING_RESET_S = 10.0
LONGEST_WHY = 120


class Allowance(msgspec.Struct, frozen=True):
    """One window as the provider shows it. `per_s` is the rate at which it fills up, None where that is not told;
    `span_s` the time it is for, by its name."""

    limit: float
    remaining: float
    span_s: float = 60.0
    per_s: float | None = None


class Told(msgspec.Struct, frozen=True):
    """Windows by the provider's own name: "requests", "input-tokens", "tokens-minute". `refused`: by 429, with `why`.
    `daily`: it is a day's quota that is used up."""

    windows: Mapping[str, Allowance] = {}
    refused: bool = False
    retry_after_s: float | None = None
    daily: bool = False
    why: str = ""


def told_by(status: int, headers: Mapping[str, str], message: str, now_s: float) -> Told | None:
    """What an answer or a refusal says, at the Unix time `now_s`. None: nothing. Headers that make no sense are left
    out, for they must not hurt an answer that is good."""
    plain = {name.lower().removeprefix(PREFIX): value for name, value in headers.items()}
    windows = _windows(plain, now_s)
    if status != REFUSED:
        return Told(windows) if windows else None
    return Told(windows, True, retry_after_s(plain, message, now_s), bool(DAILY.search(message)), _why(message))


def retry_after_s(headers: Mapping[str, str], message: str, now_s: float) -> float | None:
    """How long to keep away, as the headers or else the words ask for; None where neither says."""
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name, "").strip()
        seconds = _number(value)
        if seconds is not None:
            return seconds * unit_s
        if value and (moment := _moment_s(value)) is not None:
            return max(0.0, moment - now_s)
    found = ASKED.search(message)
    return None if found is None else _span_s(found["span"])


# Of a name, in parts: what it says of the window, and what the window is called.
SAYS = frozenset({"limit", "remaining", "reset"})
NOISE = frozenset({"x", "anthropic", "rate"})
FAMILIES = {"ratelimit": "requests", "tokenlimit": "tokens", "ratelimitbysize": "tokens"}
OTHER_NAMES = {"req": "requests"}


def _windows(headers: Mapping[str, str], now_s: float) -> dict[str, Allowance]:
    found: dict[str, dict[str, str]] = {}
    for name, value in headers.items():
        parts = [part for part in name.split("-") if part not in NOISE]
        if not parts or parts[0] not in FAMILIES:
            continue
        said = [part for part in parts[1:] if part in SAYS]
        if len(said) == 1:
            words = [OTHER_NAMES.get(part, part) for part in parts[1:] if part not in SAYS]
            if not words or words[0] in SPANS_S:
                words.insert(0, FAMILIES[parts[0]])
            found.setdefault("-".join(words), {})[said[0]] = value
    allowances = {name: _allowance(name, each, now_s) for name, each in found.items()}
    return {name: each for name, each in allowances.items() if each is not None}


def _allowance(name: str, said: Mapping[str, str], now_s: float) -> Allowance | None:
    limit, remaining = _number(said.get("limit", "")), _number(said.get("remaining", ""))
    if limit is None or remaining is None or limit <= 0:
        return None
    remaining = min(max(0.0, remaining), limit)
    span_s = SPANS_S.get(name.rpartition("-")[2], SPANS_S["minute"])
    reset_s = _reset_s(said.get("reset", ""), now_s)
    per_s = None
    if reset_s is not None and reset_s >= TELLING_RESET_S and remaining < limit:
        per_s = (limit - remaining) / reset_s
    return Allowance(limit, remaining, span_s, per_s)


# Numbers of this size are no spans but moments: seconds, or milliseconds, since 1970.
EPOCH_S = 1e9
EPOCH_MS = 1e12


def _reset_s(text: str, now_s: float) -> float | None:
    number = _number(text)
    if number is None:
        span_s = _span_s(text)
        if span_s is not None or (moment := _moment_s(text)) is None:
            return span_s
        return max(0.0, moment - now_s)
    if number >= EPOCH_MS:
        number /= 1000
    return max(0.0, number - now_s) if number >= EPOCH_S else number


def _number(text: str) -> float | None:
    """At the beginning of a text, as in `20, 20;w=60` (an IETF draft's form). None: there is none above or at 0."""
    found = NUMBER.fullmatch(text)
    return None if found is None else float(found[1])


NUMBER = re.compile(r"\s*(\d{1,18}(?:\.\d{1,18})?)\s*(?:[,;].*)?", re.ASCII)
UNITS_S = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001, "second": 1.0, "minute": 60.0, "hour": 3600.0}
PIECE = r"\d{1,12}(?:\.\d{1,12})?\s?(?:ms|seconds?|minutes?|hours?|[dhms])"
SPAN = re.compile(rf"(?:{PIECE})+", re.ASCII)
PIECES = re.compile(r"(\d+(?:\.\d+)?)\s?(ms|seconds?|minutes?|hours?|[dhms])", re.ASCII)
# "Please try again in 1m26.4s" (Groq, OpenAI), "Please retry in 36.4s" and "retryDelay": "36s" (Google).
ASKED = re.compile(
    rf"(?:try again in|retry in|retry after|retryDelay\W{{1,8}})\s*(?P<span>(?:{PIECE})+)", re.IGNORECASE
)
DAILY = re.compile(r"per[ _-]?day\b|PerDay|\b[RT]PD\b|\bdaily\b", re.IGNORECASE)


def _span_s(text: str) -> float | None:
    """Of "6m0s", "2m59.56s", "6ms" or "20 seconds"."""
    text = text.strip()
    if SPAN.fullmatch(text) is None:
        return None
    return sum(float(number) * UNITS_S[_singular(unit)] for number, unit in PIECES.findall(text))


def _singular(unit: str) -> str:
    return unit.rstrip("s") if len(unit) > len("ms") else unit


def _moment_s(text: str) -> float | None:
    """Unix time of an RFC 3339 or an HTTP date."""
    try:
        return datetime.fromisoformat(text.strip()).timestamp()
    except (ValueError, OverflowError, OSError):
        pass
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError, OSError):
        return None


def _why(message: str) -> str:
    words = " ".join(message.split())
    return f"refused: {words[:LONGEST_WHY]}" if words else "refused"
