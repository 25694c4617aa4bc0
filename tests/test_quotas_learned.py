"""What providers say of their limits, each in its own units, and what is made of nonsense."""

from __future__ import annotations

import pytest

from router.quotas.learned import Allowance, Told, told_by

NOW_S = 1_800_000_000.0

OPENAI = {
    "x-ratelimit-limit-requests": "60",
    "x-ratelimit-remaining-requests": "50",
    "x-ratelimit-reset-requests": "10s",
    "x-ratelimit-limit-tokens": "150000",
    "x-ratelimit-remaining-tokens": "149984",
    "x-ratelimit-reset-tokens": "6ms",
}
GROQ = {
    "x-ratelimit-limit-requests": "14400",
    "x-ratelimit-remaining-requests": "14370",
    "x-ratelimit-reset-requests": "2m59.56s",
    "x-ratelimit-limit-tokens": "18000",
    "x-ratelimit-remaining-tokens": "17997",
    "x-ratelimit-reset-tokens": "7.66s",
}
ANTHROPIC = {
    "anthropic-ratelimit-requests-limit": "50",
    "anthropic-ratelimit-requests-remaining": "20",
    "anthropic-ratelimit-requests-reset": "2027-01-15T08:00:36Z",
    "anthropic-ratelimit-input-tokens-limit": "40000",
    "anthropic-ratelimit-input-tokens-remaining": "10000",
    "anthropic-ratelimit-input-tokens-reset": "2027-01-15T08:00:45Z",
    "anthropic-ratelimit-output-tokens-limit": "8000",
    "anthropic-ratelimit-output-tokens-remaining": "8000",
    "anthropic-ratelimit-output-tokens-reset": "2027-01-15T08:00:00Z",
}
SAMBANOVA = {
    "x-ratelimit-limit-requests": "30",
    "x-ratelimit-remaining-requests": "0",
    "x-ratelimit-reset-requests": "1800000030",
    "x-ratelimit-limit-requests-day": "600",
    "x-ratelimit-remaining-requests-day": "300",
    "x-ratelimit-reset-requests-day": "1800043200",
}
MISTRAL = {
    "x-ratelimit-limit-req-minute": "60",
    "x-ratelimit-remaining-req-minute": "59",
    "x-ratelimit-limit-tokens-minute": "500000",
    "x-ratelimit-remaining-tokens-minute": "499000",
    "x-ratelimit-tokens-query-cost": "32100",
}
OPENROUTER = {
    "X-RateLimit-Limit": "20",
    "X-RateLimit-Remaining": "0",
    "X-RateLimit-Reset": "1800000060000",
}
TOGETHER = {
    "x-ratelimit-limit": "10",
    "x-ratelimit-remaining": "9",
    "x-ratelimit-reset": "1",
    "x-tokenlimit-limit": "3000",
    "x-tokenlimit-remaining": "2500",
}


@pytest.mark.parametrize(
    ("headers", "name", "limit", "remaining", "per_s"),
    [
        (OPENAI, "requests", 60, 50, 1.0),
        # Too short a time until it is full again to tell its rate: a minute is assumed.
        (OPENAI, "tokens", 150000, 149984, None),
        # Groq's requests are those of a day, which only the rate tells.
        (GROQ, "requests", 14400, 14370, 14400 / 86400),
        (GROQ, "tokens", 18000, 17997, None),
        (ANTHROPIC, "requests", 50, 20, 30 / 36),
        (ANTHROPIC, "input-tokens", 40000, 10000, 30000 / 45),
        (ANTHROPIC, "output-tokens", 8000, 8000, None),
        (SAMBANOVA, "requests", 30, 0, 1.0),
        (SAMBANOVA, "requests-day", 600, 300, 300 / 43200),
        (MISTRAL, "requests-minute", 60, 59, None),
        (MISTRAL, "tokens-minute", 500000, 499000, None),
        (OPENROUTER, "requests", 20, 0, 20 / 60),
        (TOGETHER, "requests", 10, 9, None),
        (TOGETHER, "tokens", 3000, 2500, None),
    ],
)
def test_headers_tell_a_window(
    headers: dict[str, str], name: str, limit: float, remaining: float, per_s: float | None
) -> None:
    told = told_by(200, headers, "", NOW_S)
    assert told is not None
    window = told.windows[name]
    assert (window.limit, window.remaining) == (limit, remaining)
    assert window.per_s == (None if per_s is None else pytest.approx(per_s, rel=0.01))


@pytest.mark.parametrize(
    ("headers", "names"),
    [
        (OPENAI, {"requests", "tokens"}),
        (ANTHROPIC, {"requests", "input-tokens", "output-tokens"}),
        (SAMBANOVA, {"requests", "requests-day"}),
        (MISTRAL, {"requests-minute", "tokens-minute"}),
        (TOGETHER, {"requests", "tokens"}),
    ],
)
def test_headers_tell_no_window_that_is_not_there(headers: dict[str, str], names: set[str]) -> None:
    told = told_by(200, headers, "", NOW_S)
    assert told is not None
    assert set(told.windows) == names


def test_a_window_without_a_reset_lasts_as_long_as_its_name_says() -> None:
    told = told_by(200, {"x-ratelimit-limit-tokens-day": "1000", "x-ratelimit-remaining-tokens-day": "500"}, "", NOW_S)
    assert told == Told({"tokens-day": Allowance(1000, 500, 86400.0)})


def test_headers_that_the_sdk_hands_on_with_its_prefix_are_understood() -> None:
    prefixed = {f"llm_provider-{name}": value for name, value in OPENAI.items()}
    assert told_by(200, prefixed, "", NOW_S) == told_by(200, OPENAI, "", NOW_S)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "application/json"},
        {"x-ratelimit-limit-requests": "many", "x-ratelimit-remaining-requests": "1"},
        {"x-ratelimit-limit-requests": "0", "x-ratelimit-remaining-requests": "0"},
        {"x-ratelimit-limit-requests": "60"},
        {"x-ratelimit-limit-requests": "inf", "x-ratelimit-remaining-requests": "nan"},
        {"x-ratelimit-limit-requests": "-1", "x-ratelimit-remaining-requests": "-1"},
        {"x-ratelimit-limit-requests": "9" * 4000, "x-ratelimit-remaining-requests": "1"},
    ],
)
def test_an_answer_whose_headers_make_no_sense_tells_nothing(headers: dict[str, str]) -> None:
    assert told_by(200, headers, "", NOW_S) is None


def test_more_remaining_than_the_limit_is_a_full_window() -> None:
    told = told_by(200, {"ratelimit-limit": "20, 20;w=60", "ratelimit-remaining": "25"}, "", NOW_S)
    assert told is not None
    assert told.windows["requests"].remaining == 20


GEMINI = """{"error": {"code": 429, "message": "You exceeded your current quota. Please retry in 36.429760048s.",
"status": "RESOURCE_EXHAUSTED", "details": [{"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations":
[{"quotaId": "%s"}]}, {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "37s"}]}}"""


@pytest.mark.parametrize(
    ("headers", "message", "retry_after_s", "daily"),
    [
        ({"retry-after": "7"}, "Rate limit reached", 7.0, False),
        ({"retry-after-ms": "250", "retry-after": "1"}, "", 0.25, False),
        ({"retry-after": "Fri, 15 Jan 2027 08:00:30 GMT"}, "", 30.0, False),
        ({"retry-after": "Fri, 15 Jan 2027 07:00:30 GMT"}, "", 0.0, False),
        ({}, "Please try again in 20s. Visit the page of your account.", 20.0, False),
        ({}, "on tokens per minute (TPM): Limit 15000, Used 11972. Please try again in 5.289s.", 5.289, False),
        ({}, "on requests per day (RPD): Limit 1000, Used 1000. Please try again in 1m26.4s.", 86.4, True),
        ({}, "Please try again in 6ms.", 0.006, False),
        ({}, "Please try again in 20 seconds", 20.0, False),
        ({}, GEMINI % "GenerateRequestsPerMinutePerProjectPerModel-FreeTier", 36.42976, False),
        ({}, GEMINI % "GenerateRequestsPerDayPerProjectPerModel-FreeTier", 36.42976, True),
        ({}, '"retryDelay": "37s"', 37.0, False),
        ({}, "Rate limit exceeded: free-models-per-day", None, True),
        ({}, "Too many requests", None, False),
        ({"retry-after": "soon"}, "", None, False),
    ],
)
def test_a_refusal_says_when_to_come_again(
    headers: dict[str, str], message: str, retry_after_s: float | None, daily: bool
) -> None:
    told = told_by(429, headers, message, NOW_S)
    assert told is not None
    assert told.refused
    assert told.retry_after_s == (None if retry_after_s is None else pytest.approx(retry_after_s, abs=0.001))
    assert told.daily is daily


def test_a_refusal_keeps_the_providers_words_in_one_short_line() -> None:
    told = told_by(429, {}, "Rate  limit\nreached " + "for you " * 100, NOW_S)
    assert told is not None
    assert told.why.startswith("refused: Rate limit reached for you")
    assert len(told.why) < 150


def test_words_without_end_are_read_quickly() -> None:
    assert (
        told_by(429, {"retry-after": "1" * 100_000}, "try again in " + "1s" * 5000 + "!" * 100_000, NOW_S) is not None
    )
