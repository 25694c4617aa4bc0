"""What a refusal means, read from the provider's own answer."""

from __future__ import annotations

import json

import pytest

from router.clouds.errors import Rejection, judged, read_words
from router.errors import ContextExceeded, RequestRefused, TargetUnavailable

TARGET = "cloud/somebody"


def cause(status: int, body: object, **headers: str) -> str:
    """`context`, `refused`, or why the target is not available."""
    text = body if isinstance(body, str) else json.dumps(body)
    verdict = judged(
        TARGET, Rejection(status, {name.replace("_", "-"): value for name, value in headers.items()}, text)
    )
    if isinstance(verdict, TargetUnavailable):
        return verdict.cause
    return {ContextExceeded: "context", RequestRefused: "refused"}[type(verdict)]


def said(message: str, **more: object) -> dict[str, object]:
    return {"error": {"message": message} | more}


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        pytest.param(400, said("x", code="context_length_exceeded"), "context", id="OpenAI's code"),
        pytest.param(400, said("prompt is too long: 9 tokens > 8 maximum"), "context", id="Anthropic"),
        pytest.param(400, said("input length and `max_tokens` exceed context limit: 9 + 9 > 8"), "context", id="both"),
        pytest.param(413, said("too large", type="request_too_large"), "context", id="Anthropic's 413"),
        pytest.param(400, {"message": "too large for model with 8 maximum context length"}, "context", id="Mistral"),
        pytest.param(500, said("maximum context length"), "500", id="a 500 is no verdict on the prompt"),
        pytest.param(400, said("Output blocked by content filtering policy"), "content_filter", id="withheld"),
        pytest.param(400, said("x", code="content_filter"), "content_filter", id="Azure's code"),
        pytest.param(403, said("flagged", metadata={"flagged_input": "y"}), "content_filter", id="OpenRouter flags"),
        pytest.param(400, said("Your credit balance is too low"), "402", id="no money, as a 400"),
        pytest.param(400, said("The model has gone", code="model_decommissioned"), "404", id="Groq's 400"),
        pytest.param(400, said("User location is not supported for the API use."), "403", id="Gemini elsewhere"),
        pytest.param(404, said("model: x"), "404", id="gone"),
        pytest.param(402, said("Insufficient Balance"), "402", id="no money"),
        pytest.param(429, said("slow down"), "429", id="full"),
        pytest.param(529, said("Overloaded"), "529", id="overloaded"),
        pytest.param(502, "<html><head><title>502 Bad Gateway</title></head></html>", "502", id="a page"),
        pytest.param(400, said("rate limit 429 in a message"), "refused", id="words of other errors"),
        pytest.param(422, {"detail": [{"loc": ["body", "n"], "msg": "too big"}]}, "refused", id="FastAPI"),
        pytest.param(400, "", "refused", id="nothing"),
        pytest.param(400, "null", "refused", id="null"),
        pytest.param(400, [], "refused", id="an empty list"),
    ],
)
def test_a_refusal_means(status: int, body: object, expected: str) -> None:
    assert cause(status, body) == expected


def test_what_the_client_hears_names_the_field() -> None:
    verdict = judged(TARGET, Rejection(400, {}, json.dumps(said("is too high", param="top_p", code="x"))))
    assert isinstance(verdict, RequestRefused)
    assert (verdict.error.status, verdict.error.param, verdict.error.message) == (400, "top_p", "is too high")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (json.dumps(said("x")), "x"),
        (json.dumps([said("in a list")]), "in a list"),
        (json.dumps({"error": "only a text"}), "only a text"),
        (json.dumps({"object": "error", "message": "Invalid model: x", "type": "invalid_model"}), "Invalid model: x"),
        (json.dumps({"detail": [{"loc": ["body", "n"], "msg": "too big"}]}), "body.n: too big"),
        (json.dumps({"detail": "Not Found"}), "Not Found"),
        (json.dumps(said("Provider returned error", metadata={"raw": json.dumps(said("behind"))})), "behind"),
        (json.dumps(said("Provider returned error", metadata={"raw": ""})), "Provider returned error"),
        ("<h1>502 Bad  Gateway</h1>\n", "502 Bad Gateway"),
        ("", ""),
    ],
)
def test_the_words_are_found_in_every_form(body: str, words: str) -> None:
    assert read_words(body).message == words


@pytest.mark.parametrize(
    ("headers", "body", "seconds"),
    [
        ({"retry_after": "7"}, said("x"), 7.0),
        ({"retry_after_ms": "250"}, said("x"), 0.25),
        ({}, said("x", details=[{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "36s"}]), 36.0),
        ({}, said("Please try again in 1m26.4s."), 86.4),
        ({}, said("x"), None),
    ],
)
def test_how_long_to_keep_away_is_read_where_it_is_told(
    headers: dict[str, str], body: object, seconds: float | None
) -> None:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    verdict = judged(TARGET, Rejection(429, named, json.dumps(body)))
    assert isinstance(verdict, TargetUnavailable)
    assert verdict.retry_after_s == seconds
