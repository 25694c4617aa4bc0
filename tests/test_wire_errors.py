"""What a provider's refusal becomes, in each provider's own words: a real router, a real socket."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.callers import calling, heard, request
from tests.provider_words import Mode
from tests.providers import MODELS, RunningProvider, deployment
from tests.routers import TIERS, Router, asked, running_router
from tests.scripted import scripted_engine

FORMATS = ("anthropic", "gemini", "openai")
SILENCE_S, FIRST_TOKEN_S = 1.5, 1.5
LIMITS = (
    f"[limits]\nmax_wait_s = 0.5\nfirst_token_s = {FIRST_TOKEN_S}\nsilence_s = {SILENCE_S}\nwhole_answer_s = 20.0\n"
)
# What the router calls it: (provider, how it answers, cause).
REFUSALS = [
    *((name, Mode.FULL, "429") for name in MODELS),
    *((name, Mode.GONE, "404") for name in MODELS),
    *((name, Mode.BROKEN, "500") for name in FORMATS),
    ("anthropic", Mode.OVERLOADED, "529"),
    ("gemini", Mode.OVERLOADED, "503"),
    ("groq", Mode.OVERLOADED, "503"),
    ("anthropic", Mode.BAD_KEY, "401"),
    ("gemini", Mode.BAD_KEY, "401"),
    ("mistral", Mode.BAD_KEY, "401"),
    ("anthropic", Mode.SPENT, "402"),
    ("openai", Mode.SPENT, "429"),
    ("deepseek", Mode.SPENT, "402"),
    ("openrouter", Mode.SPENT, "402"),
    ("anthropic", Mode.FILTERED, "content_filter"),
    ("openai", Mode.FILTERED, "content_filter"),
    ("deepseek", Mode.FILTERED, "content_filter"),
    ("openrouter", Mode.FILTERED, "content_filter"),
]
# A stream or a whole answer that breaks off: (how, cause of a stream, cause of a whole answer).
BREAKS = [
    (Mode.CUT, "stream_broken", "cut"),
    (Mode.ERROR_EVENT, "stream_broken", None),
    (Mode.MALFORMED, "stream_broken", "malformed"),
    (Mode.SILENT, "silence_timeout", None),
]
USED = sorted(
    {(name, mode) for name, mode, _ in REFUSALS}
    | {(name, mode) for name in MODELS for mode in (Mode.TOO_LONG, Mode.REFUSED)}
    | {(name, mode) for name in FORMATS for mode in (*(mode for mode, _, _ in BREAKS), Mode.HANG)}
    | {(name, Mode.EMPTY) for name in (*FORMATS, "somebody")}
)
streams = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


@pytest.fixture(scope="module")
def router(provider: RunningProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Router]:
    """With a deployment for each fault, so that none hears of another's."""
    named = [(name, mode, called(name, mode, stream)) for name, mode in USED for stream in (False, True)]
    clouds = "".join(deployment(provider.url, name, mode, each) for name, mode, each in named)
    folder = tmp_path_factory.mktemp("errors")
    with (
        scripted_engine() as engine,
        (folder / "router.log").open("w") as log,
        running_router(folder, TIERS + LIMITS + clouds, {"tiny": engine.url}, errors=log) as running,
    ):
        yield running
    assert "Traceback" not in (folder / "router.log").read_text()


def called(name: str, mode: Mode, stream: bool) -> str:
    """The deployment's name."""
    return f"{name}-{mode}-{'stream' if stream else 'whole'}"


def told(router: Router, name: str, mode: Mode, stream: bool) -> tuple[int, dict[str, Any], dict[str, str]]:
    """(status, error, headers) of a request that only this deployment can serve."""
    body = asked(f"via-{called(name, mode, stream)}", stream=stream, max_tokens=200)
    answer = heard(router.url, request(body))
    assert answer.one("content-type") == "application/json", answer.body
    return answer.status, answer.json["error"], dict(answer.fields)


@streams
@pytest.mark.parametrize(("name", "mode", "cause"), REFUSALS)
def test_who_cannot_answer_is_named_with_the_cause(
    router: Router, name: str, mode: Mode, cause: str, stream: bool
) -> None:
    status, error, headers = told(router, name, mode, stream)
    assert status == 400 if cause == "content_filter" else status in (429, 503)
    assert f"cloud/{called(name, mode, stream)}: {cause}: " in error["message"]
    assert "Exception" not in error["message"]
    if mode is Mode.FULL:
        assert status == 429
        assert int(headers["retry-after"]) in range(1, 9)


@streams
@pytest.mark.parametrize("name", MODELS)
def test_a_prompt_that_is_too_long_is_known_as_such(router: Router, name: str, stream: bool) -> None:
    status, error, _ = told(router, name, Mode.TOO_LONG, stream)
    assert (status, error["code"]) == (400, "context_length_exceeded")


@streams
@pytest.mark.parametrize("name", MODELS)
def test_a_request_that_is_wrong_is_answered_in_the_provider_s_words(router: Router, name: str, stream: bool) -> None:
    status, error, _ = told(router, name, Mode.REFUSED, stream)
    assert (status, error["type"]) == (422 if name == "mistral" else 400, "invalid_request_error")
    assert any(words in error["message"] for words in ("top_p", "top_k", "input image"))
    assert "Exception" not in error["message"]


@pytest.mark.parametrize(("mode", "code", "_cause"), BREAKS)
@pytest.mark.parametrize("name", FORMATS)
def test_a_stream_that_breaks_never_looks_complete(
    router: Router, name: str, mode: Mode, code: str, _cause: str | None
) -> None:
    answer = heard(router.url, request(asked(f"via-{called(name, mode, True)}", stream=True, max_tokens=200)))
    assert (answer.status, answer.one("x-spillway-target")) == (200, f"cloud/{called(name, mode, True)}")
    events = answer.body.strip().split(b"\n\n")
    assert b'"content":"You' in answer.body
    assert json.loads(events[-1].removeprefix(b"data: "))["error"]["code"] == code
    assert b'"finish_reason":"stop"' not in answer.body
    assert b"[DONE]" not in answer.body


@pytest.mark.parametrize(("mode", "cause"), [(mode, cause) for mode, _, cause in BREAKS if cause is not None])
@pytest.mark.parametrize("name", FORMATS)
def test_a_whole_answer_that_is_cut_is_none(router: Router, name: str, mode: Mode, cause: str) -> None:
    status, error, _ = told(router, name, mode, stream=False)
    assert status == 503
    assert f": {cause}: " in error["message"]


@pytest.mark.parametrize(("name", "cause"), [("openai", "error"), ("anthropic", "error"), ("gemini", "malformed")])
def test_an_answer_with_nothing_in_it_is_none(router: Router, name: str, cause: str) -> None:
    """The cause is litellm's word for it; what counts is that the next target is asked."""
    status, error, _ = told(router, name, Mode.EMPTY, stream=False)
    assert status == 503
    assert f": {cause}: " in error["message"]
    assert "Traceback" not in error["message"]


@pytest.mark.parametrize(
    ("path", "field", "cause"), [("completions", "prompt", "malformed"), ("embeddings", "input", "empty")]
)
def test_nor_are_texts_and_vectors_with_nothing_in_them(router: Router, path: str, field: str, cause: str) -> None:
    body = {"model": f"via-{called('somebody', Mode.EMPTY, False)}", field: "x"} | (
        {"encoding_format": "base64"} if path == "embeddings" else {}
    )
    answer = heard(router.url, request(json.dumps(body).encode(), path=f"/v1/{path}"))
    assert answer.status == 503, answer.body
    assert f": {cause}: " in answer.json["error"]["message"]


@pytest.mark.parametrize("name", FORMATS)
def test_a_provider_that_hangs_is_given_up_in_time(router: Router, name: str) -> None:
    status, error, _ = told(router, name, Mode.HANG, stream=True)
    assert (status, error["code"]) == (504, "first_token_timeout")


@pytest.mark.parametrize("name", FORMATS)
def test_a_client_that_leaves_frees_the_provider(router: Router, name: str) -> None:
    with calling(router.url) as caller:
        caller.send(request(asked(f"via-{called(name, Mode.SILENT, True)}", stream=True, max_tokens=200)))
        caller.begun()
    # Only who has let go of it is asked again at once.
    assert heard(router.url, request(asked("tiny"))).status == 200
