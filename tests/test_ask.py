"""Reading an Ask: names, hints, needs, sizes; and that whatever comes in, only an ApiError comes out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.ask import Ask, Endpoint, read_ask
from router.errors import ApiError
from tests.specimens import RULES

CHAT: dict[str, Any] = {"model": "auto", "messages": [{"role": "user", "content": "Hello"}]}
COMPLETION: dict[str, Any] = {"model": "auto", "prompt": "Hello"}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 10_000}}


def chat(headers: Mapping[str, str] | None = None, **changes: Any) -> Ask:
    return read_ask(orjson.dumps(CHAT | changes), headers or {}, Endpoint.CHAT, RULES)


def refusal(body: Any, headers: Mapping[str, str] | None = None, endpoint: Endpoint = Endpoint.CHAT) -> ApiError:
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    with pytest.raises(ApiError) as caught:
        read_ask(raw, headers or {}, endpoint, RULES)
    return caught.value


@pytest.mark.parametrize(
    ("name", "tier", "how", "task", "model"),
    [
        pytest.param("auto", "standard", "tier", None, None, id="auto takes the default tier"),
        pytest.param("smart-router", "standard", "tier", None, None, id="smart-router is auto"),
        pytest.param("tier/bulk", "bulk", "tier", None, None, id="a tier by name"),
        pytest.param("task/classification", "bulk", "task", "classification", None, id="a task names its tier"),
        pytest.param("task/coding", "premium", "task", "coding", "smoke", id="a task may name its model"),
        pytest.param("llama-3.1-8b", "standard", "pinned", None, "llama-3.1-8b", id="a canonical name is pinned"),
        pytest.param("meta/llama", "standard", "pinned", None, "meta/llama", id="a name with a slash is pinned"),
    ],
)
def test_a_model_name_says_where_to_go(name: str, tier: str, how: str, task: str | None, model: str | None) -> None:
    read = chat(model=name)
    assert (read.requested, read.tier, read.how, read.task, read.model) == (name, tier, how, task, model)


@pytest.mark.parametrize(
    ("name", "headers", "metadata", "tier"),
    [
        pytest.param("auto", {"x-spillway-tier": "bulk"}, None, "bulk", id="by header"),
        pytest.param("auto", {}, {"tier": "bulk"}, "bulk", id="by metadata"),
        pytest.param("auto", {"x-spillway-tier": "bulk"}, {"tier": "premium"}, "bulk", id="the header wins"),
        pytest.param(
            "tier/bulk", {"x-spillway-tier": "premium"}, None, "bulk", id="the model name goes before the hint"
        ),
        pytest.param("auto", {"x-spillway-task": "coding"}, None, "premium", id="a task brings its tier"),
        pytest.param("task/coding", {"x-spillway-tier": "bulk"}, None, "bulk", id="a tier goes before a task's tier"),
        pytest.param("smoke", {"x-spillway-tier": "bulk"}, None, "bulk", id="a pinned model has a tier too"),
    ],
)
def test_the_tier_comes_from_name_and_hints(
    name: str, headers: dict[str, str], metadata: dict[str, str] | None, tier: str
) -> None:
    assert chat(headers, model=name, metadata=metadata).tier == tier


def test_other_hints_are_read_from_header_or_metadata() -> None:
    by_header = chat(
        {"x-spillway-privacy": "local-only", "x-spillway-deadline-ms": "1500", "x-spillway-max-usd": "0.5"}
    )
    by_metadata = chat(metadata={"privacy": "local-only", "deadline-ms": 1500, "max-usd": "0.5"})
    for read in (by_header, by_metadata):
        assert (read.local_only, read.deadline_s, read.max_usd) == (True, 1.5, 0.5)
    assert chat({"x-spillway-feature": "search"}).feature == "search"
    assert chat(user="team-a").tenant == "team-a"
    assert not chat({"x-spillway-privacy": "any"}).local_only


@pytest.mark.parametrize(
    ("hint", "value"),
    [
        pytest.param("deadline-ms", "soon", id="a word as a deadline"),
        pytest.param("deadline-ms", "0", id="no time at all"),
        pytest.param("deadline-ms", "nan", id="not a number"),
        pytest.param("deadline-ms", "inf", id="for ever"),
        pytest.param("max-usd", "-1", id="a negative price"),
        pytest.param("max-usd", "1e999", id="a price without bound"),
        pytest.param("privacy", "local", id="a privacy that does not exist"),
        pytest.param("privacy", "", id="an empty privacy"),
    ],
)
def test_a_bad_hint_is_400_and_named(hint: str, value: str) -> None:
    for error in refusal(CHAT, {f"x-spillway-{hint}": value}), refusal(CHAT | {"metadata": {hint: value}}):
        assert (error.status, error.param) == (400, hint)
        assert repr(value) in error.message


@pytest.mark.parametrize(
    ("model", "headers", "names"),
    [
        pytest.param("tier/gold", {}, "bulk", id="a tier as the model"),
        pytest.param("tier/", {}, "bulk", id="no tier after the slash"),
        pytest.param("auto", {"x-spillway-tier": "gold"}, "bulk", id="a tier as a hint"),
        pytest.param("task/singing", {}, "coding", id="a task as the model"),
        pytest.param("auto", {"x-spillway-task": "singing"}, "coding", id="a task as a hint"),
    ],
)
def test_an_unknown_tier_or_task_is_404_with_the_names_there_are(
    model: str, headers: dict[str, str], names: str
) -> None:
    error = refusal(CHAT | {"model": model}, headers)
    assert (error.status, error.code) == (404, "model_not_found")
    assert error.param == next(iter(headers), "model")
    assert names in error.message


@pytest.mark.parametrize(
    ("changes", "needs"),
    [
        pytest.param({}, set(), id="text needs nothing"),
        pytest.param({"tools": [{"type": "function"}]}, {"tools"}, id="tools"),
        pytest.param({"tools": []}, set(), id="no tools"),
        pytest.param({"messages": [{"role": "user", "content": [IMAGE]}]}, {"vision"}, id="an image"),
        pytest.param({"response_format": {"type": "json_schema"}}, {"json_schema"}, id="a schema"),
        pytest.param({"response_format": {"type": "text"}}, set(), id="plain text as a format"),
    ],
)
def test_needs_are_read_from_the_body(changes: dict[str, Any], needs: set[str]) -> None:
    assert chat(**changes).needs == needs


@pytest.mark.parametrize(
    ("prompt", "size"),
    [
        pytest.param("Hello", 5, id="a text"),
        pytest.param("Grüße", 7, id="bytes, not characters"),
        pytest.param(["Hello", "you"], 8, id="several texts"),
        pytest.param([1, 2, 3], 12, id="token ids"),
        pytest.param([[1, 2], [3]], 12, id="several lists of token ids"),
    ],
)
def test_the_prompt_of_a_completion_is_measured(prompt: Any, size: int) -> None:
    assert read_ask(orjson.dumps(COMPLETION | {"prompt": prompt}), {}, Endpoint.COMPLETION, RULES).prompt_bytes == size


def test_the_prompt_of_a_chat_counts_text_and_tools_but_no_image() -> None:
    text = {"type": "text", "text": "x" * 1000}
    plain = chat(messages=[{"role": "user", "content": [text]}]).prompt_bytes
    assert 1000 <= plain < 1050
    assert chat(messages=[{"role": "user", "content": [text, IMAGE]}]).prompt_bytes < plain + 50
    assert chat(tools=[{"description": "y" * 1000}]).prompt_bytes >= 1000


def test_the_bound_on_the_answer_has_two_names() -> None:
    assert chat(max_tokens=5).max_tokens == 5
    assert chat(max_tokens=5, max_completion_tokens=7).max_tokens == 7
    assert chat().max_tokens is None


def test_usage_in_a_stream_is_for_those_who_ask() -> None:
    assert chat(stream=True, stream_options={"include_usage": True}).wants_usage
    assert not chat(stream=True).wants_usage


@pytest.mark.parametrize(
    ("given", "kept"),
    [("abc-1", True), ("x" * 128, True), ("x" * 129, False), ("", False), ("a\nb", False), ("é", False)],
    ids=["plain", "the longest", "too long", "empty", "with a line break", "not ASCII"],
)
def test_a_request_id_is_kept_if_it_can_stand_in_a_header(given: str, kept: bool) -> None:
    read = chat({"x-request-id": given})
    assert (read.request_id == given) is kept
    assert read.request_id


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(COMPLETION | {"messages": 5}, id="a number as messages"),
        pytest.param(COMPLETION | {"messages": ["Hi"]}, id="texts as messages"),
        pytest.param(COMPLETION | {"messages": None}, id="nothing as messages"),
    ],
)
def test_fields_of_the_other_endpoint_are_not_ours_to_read(body: Any) -> None:
    assert read_ask(orjson.dumps(body), {}, Endpoint.COMPLETION, RULES).needs == frozenset()


def test_a_deeply_nested_body_is_refused_and_not_a_crash() -> None:
    # Deeper than Python's own stack, and than what can be written out again for the target.
    nested = b"[" * 1000 + b"]" * 1000
    raw = b'{"model":"auto","messages":[{"role":"user","content":"Hi"}],"tools":[{"x":' + nested + b"}]}"
    assert refusal(raw).status == 400


@pytest.mark.parametrize("field", ["model", "user"])
def test_names_have_a_bound_because_they_are_kept(field: str) -> None:
    # The model stands in the list of decisions and in error messages, the user in every ledger row.
    error = refusal(CHAT | {field: "x" * 9999})
    assert (error.status, error.param) == (400, field)
    assert len(error.message) < 1000


PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    ("headers", "trace"),
    [
        pytest.param({}, (), id="none"),
        pytest.param({"traceparent": PARENT}, (("traceparent", PARENT),), id="a parent"),
        pytest.param(
            {"traceparent": PARENT, "tracestate": "a=1"},
            (("traceparent", PARENT), ("tracestate", "a=1")),
            id="a parent and a state",
        ),
        pytest.param({"tracestate": "a=1"}, (), id="a state of nobody"),
        pytest.param(
            {"traceparent": PARENT, "tracestate": "x" * 600}, (("traceparent", PARENT),), id="a state too long"
        ),
        pytest.param({"traceparent": "a\nb"}, (), id="what cannot stand in a header"),
    ],
)
def test_a_trace_is_handed_on(headers: dict[str, str], trace: tuple[tuple[str, str], ...]) -> None:
    assert chat(headers).trace == trace


def test_a_request_without_an_id_gets_one_of_its_own() -> None:
    ids = {chat().request_id for _ in range(100)}
    assert len(ids) == 100
    assert all(each.startswith("req-") for each in ids)


FIELDS = st.sampled_from(
    ["role", "content", "type", "text", "image_url", "url", "include_usage", "tier", "task", "privacy", "deadline-ms"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | FIELDS, inner, max_size=4),
    max_leaves=12,
)
READ = ("model", "messages", "prompt", "stream", "stream_options", "max_tokens", "n", "metadata", "tools", "user")
BODIES = st.dictionaries(st.sampled_from((*READ, "response_format", "temperature")), JSON, max_size=3)


def status_of(raw: bytes, headers: Mapping[str, str], endpoint: Endpoint) -> int:
    try:
        read_ask(raw, headers, endpoint, RULES)
    except ApiError as error:
        return error.status
    return 200


@given(body=st.binary(max_size=200) | JSON.map(orjson.dumps), endpoint=st.sampled_from(Endpoint))
def test_anything_at_all_is_an_ask_or_an_api_error(body: bytes, endpoint: Endpoint) -> None:
    assert status_of(body, {}, endpoint) in {200, 400, 404}


@settings(max_examples=500)
@given(
    extra=BODIES, base=st.sampled_from([{}, CHAT, COMPLETION, CHAT | COMPLETION]), endpoint=st.sampled_from(Endpoint)
)
def test_a_request_with_any_fields_is_an_ask_or_an_api_error(
    extra: dict[str, Any], base: dict[str, Any], endpoint: Endpoint
) -> None:
    assert status_of(orjson.dumps(base | extra), {}, endpoint) in {200, 400, 404}


@given(value=st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=20), hint=FIELDS)
def test_any_header_is_a_hint_or_an_api_error(value: str, hint: str) -> None:
    assert status_of(orjson.dumps(CHAT), {f"x-spillway-{hint}": value}, Endpoint.CHAT) in {200, 400, 404}
