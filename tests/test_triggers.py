"""What an engine may answer instead of a token, and that another target answers then: each trigger, on real sockets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson
import pytest

from router.health.breaker import MOST_FAILURES
from tests.callers import Heard, heard, request
from tests.routers import asked, cloud_table, until
from tests.scripted import (
    DONE,
    HI,
    LAST,
    STOP,
    STREAM_HEAD,
    Line,
    Script,
    ScriptedEngine,
    answered,
    framed,
    polite,
    says,
    scripted_engine,
)
from tests.test_sse import ROLE, chunk
from tests.wired import Wired, wired

SCHEMA = {
    "type": "json_schema",
    "json_schema": {"name": "age", "schema": {"type": "object", "required": ["age"]}},
}
# A schema goes only to who can: here these are clouds.
CAPABLE = 'capabilities = ["chat", "completion", "json_schema"]\n'
# So many answers that one failure among them is no reason to pass anybody over.
MANY = 12


@dataclass(frozen=True, slots=True)
class Pair:
    """A router with an engine, which comes first, and a cloud behind it; `strict` is another cloud, which comes first
    where the model is `form`. Nobody stands behind the cloud where it is `alone`."""

    wire: Wired
    cloud: ScriptedEngine
    strict: ScriptedEngine

    def ask(self, script: Script, **more: Any) -> Heard:
        self.wire.engine.script = script
        return heard(self.wire.url, request(asked(**more)))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with scripted_engine() as cloud, scripted_engine() as strict:
        tables = (
            cloud_table(cloud.url),
            cloud_table(strict.url, "form", "a-strict"),
            cloud_table(cloud.url, "form", "b-lax"),
            cloud_table(cloud.url, "alone", "alone"),
        )
        config = "".join(table + CAPABLE for table in tables)
        with wired(tmp_path_factory.mktemp("triggers"), config) as wire:
            yield Pair(wire, cloud, strict)


@pytest.fixture
def pair(shared: Pair) -> Pair:
    """All are well, and the engine has given many answers."""
    shared.wire.engine.script = shared.cloud.script = shared.strict.script = polite
    until(lambda: heard(shared.wire.url, request(asked())).one("x-spillway-target") == "local/tiny")
    for _ in range(MANY):
        assert heard(shared.wire.url, request(asked())).one("x-spillway-target") == "local/tiny"
    return shared


def error(status: str, message: str = "it is broken", code: str | None = None) -> Script:
    return says(answered(orjson.dumps({"error": {"message": message, "code": code}}), status))


def whole(text: str | None, finish_reason: str = "stop") -> Script:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish_reason}
    return says(answered(orjson.dumps({"choices": [choice], "usage": {"prompt_tokens": 7, "completion_tokens": 3}})))


TOO_LONG = "This model's maximum context length is 512 tokens"


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (error("429 Too Many Requests"), "fallback:429"),
        (error("503 Service Unavailable"), "fallback:503"),
        (error("500 Internal Server Error"), "fallback:500"),
        (error("502 Bad Gateway"), "fallback:502"),
        (error("404 Not Found", "the model `tiny` does not exist"), "fallback:404"),
        (error("400 Bad Request", TOO_LONG), "escalate:context"),
        (says(answered(b"<html>")), "fallback:malformed"),
        (says(answered(b'{"choices":[]}')), "fallback:empty"),
        (Line.close, "fallback:connect"),
    ],
    ids=["429", "503", "500", "502", "model gone", "too long", "no answer at all", "nothing in it", "cut"],
)
@pytest.mark.parametrize("stream", [True, False], ids=["streaming", "whole"])
def test_who_comes_next_answers(pair: Pair, script: Script, reason: str, stream: bool) -> None:
    if stream and reason in {"fallback:malformed", "fallback:empty"}:
        script = says(STREAM_HEAD + framed(b"data: <html>\n\n" if "malformed" in reason else DONE) + LAST)
    answer = pair.ask(script, stream=stream)
    assert (answer.status, answer.one("x-spillway-target")) == (200, "cloud/stand-in")
    assert (answer.one("x-spillway-reason"), answer.one("x-spillway-attempts")) == (reason, "2")


@pytest.mark.parametrize(
    ("script", "stream"),
    [
        (whole(None, "content_filter"), False),
        (says(STREAM_HEAD + framed(ROLE, chunk(finish="content_filter"), DONE) + LAST), True),
    ],
    ids=["whole", "streaming"],
)
def test_what_one_filter_withholds_the_next_target_may_answer(pair: Pair, script: Script, stream: bool) -> None:
    answer = pair.ask(script, stream=stream)
    assert (answer.status, answer.one("x-spillway-target")) == (200, "cloud/stand-in")
    assert answer.one("x-spillway-reason") == "fallback:content_filter"
    assert pair.wire.resting is None


def form(pair: Pair, first: str, second: str) -> Heard:
    """What the client hears when the two clouds answer with these texts."""
    pair.strict.script, pair.cloud.script = whole(first), whole(second)
    return heard(pair.wire.url, request(asked("form", response_format=SCHEMA)))


@pytest.mark.parametrize(
    ("first", "second", "who", "paid", "text"),
    [
        ('{"age": 7}', '{"age": 8}', "cloud/a-strict", 1, '{"age": 7}'),
        ("seven, I think", '{"age": 8}', "cloud/b-lax", 2, '{"age": 8}'),
        ("seven, I think", "eight, perhaps", "cloud/a-strict", 2, "seven, I think"),
    ],
    ids=["the first meets it", "the second does", "nobody does"],
)
def test_an_answer_that_misses_its_schema_is_the_client_s_only_if_nobody_does_better(
    pair: Pair, first: str, second: str, who: str, paid: int, text: str
) -> None:
    answer = form(pair, first, second)
    # Each answer has 7 tokens of the prompt and 3 of its own, at the prices of `cloud_table`.
    assert float(answer.one("x-spillway-usd")) == pytest.approx(paid * (7 * 0.15 + 3 * 0.60) / 1e6)
    assert (answer.status, answer.one("x-spillway-target")) == (200, who)
    assert answer.one("x-spillway-attempts") == ("2" if who == "cloud/b-lax" else "1")
    assert answer.json["choices"][0]["message"]["content"] == text
    assert (answer.one("x-spillway-reason") == "fallback:schema") is (who == "cloud/b-lax")


def test_a_schema_that_cannot_be_judged_is_no_reason_to_keep_an_answer_back(pair: Pair) -> None:
    senseless = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object", "$ref": "#/type/x"}}}
    pair.strict.script = whole("{}")
    answer = heard(pair.wire.url, request(asked("form", response_format=senseless)))
    assert (answer.status, answer.one("x-spillway-target")) == (200, "cloud/a-strict")
    assert pair.wire.router.target("cloud/a-strict")["in_flight"]["requests"] == 0


def test_an_engine_whose_streams_broke_is_well_once_one_ends_though_it_tells_no_usage(pair: Pair) -> None:
    for _ in range(MOST_FAILURES):
        assert b"stream_broken" in pair.ask(says(STREAM_HEAD + framed(ROLE, HI) + LAST), stream=True).body
    assert pair.wire.resting == "cut"
    without_usage = says(STREAM_HEAD + framed(ROLE, HI, STOP, DONE) + LAST)
    until(lambda: pair.ask(without_usage, stream=True).status == 200 and pair.wire.resting is None, 10.0)
    until(lambda: pair.wire.router.target("local/tiny")["share"] == 1.0)


def test_every_attempt_bears_the_name_of_the_request(pair: Pair) -> None:
    seen, before = pair.cloud.asked, len(pair.wire.engine.asked)
    pair.wire.engine.script = error("500 Internal Server Error")
    heard(pair.wire.url, request(asked(), "x-request-id: mine-7"))
    here, there = pair.wire.engine.asked[before], seen[-1]
    assert here.fields["x-request-id"] == there.fields["x-request-id"] == "mine-7"
    assert there.fields["idempotency-key"]


def test_a_failure_that_may_pass_is_tried_once_more_where_there_is_nobody_else(pair: Pair) -> None:
    scripts = [polite, error("500 Internal Server Error")]

    def in_turn(line: Line) -> None:
        scripts.pop()(line)

    pair.cloud.script = in_turn
    answer = heard(pair.wire.url, request(asked("alone")))
    assert (answer.status, answer.one("x-spillway-attempts")) == (200, "2")
    assert scripts == []


def test_it_is_tried_no_third_time(pair: Pair) -> None:
    pair.cloud.script, before = error("500 Internal Server Error"), len(pair.cloud.asked)
    answer = heard(pair.wire.url, request(asked("alone")))
    assert (answer.status, answer.code) == (503, "no_target")
    assert len(pair.cloud.asked) - before == 2


def test_a_pause_that_is_too_long_is_told_to_the_client(pair: Pair) -> None:
    body = orjson.dumps({"error": {"message": "come back later"}})
    pair.cloud.script, before = says(answered(body, "503 Service Unavailable", "retry-after: 7")), len(pair.cloud.asked)
    answer = heard(pair.wire.url, request(asked("alone")))
    assert (answer.status, answer.one("retry-after")) == (503, "7")
    assert len(pair.cloud.asked) - before == 1
