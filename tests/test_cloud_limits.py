"""A cloud that is slow, silent or gone: the same limits and errors as for an engine, and nothing is left behind."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from router.ids import new_id
from tests.callers import Heard, calling, heard, request
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
    scripted_engine,
)
from tests.test_sse import ROLE, USAGE, chunk
from tests.wired import Wired, wired

# Two of them fit into a deadline, and either is long enough for a machine with other work.
FIRST_TOKEN_S, SILENCE_S, WHOLE_S = 1.2, 2.4, 4.0
LIMITS = (
    f"[limits]\nfirst_token_s = {FIRST_TOKEN_S}\nsilence_s = {SILENCE_S}\nwhole_answer_s = {WHOLE_S}\nreceive_s = 1.0\n"
)
FIRST = b'"content":"Hi"'
LARGE = chunk(content="x" * 60000)


class Both:
    """A router with an engine and a cloud, each with a script."""

    def __init__(self, wire: Wired, cloud: ScriptedEngine) -> None:
        self.wire = wire
        self.cloud = cloud

    @property
    def in_flight(self) -> int:
        return int(self.wire.router.target("cloud/stand-in")["in_flight"]["requests"])

    @property
    def resting(self) -> str | None:
        cause: str | None = self.wire.router.target("cloud/stand-in")["resting"]
        return cause

    def row(self, name: str) -> dict[str, object]:
        until(lambda: self.wire.row(name) is not None)
        row = self.wire.row(name)
        assert row is not None
        return row

    def is_let_go(self) -> bool:
        return self.in_flight == 0 and self.cloud.last_line.is_closed()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    with scripted_engine() as cloud:
        config = cloud_table(cloud.url) + LIMITS
        with wired(tmp_path_factory.mktemp("cloud"), config) as wire:
            yield Both(wire, cloud)


@pytest.fixture
def both(shared: Both) -> Both:
    shared.cloud.script = shared.wire.engine.script = polite
    until(lambda: shared.resting is None and shared.in_flight == 0 and shared.wire.in_flight == 0)
    assert heard(shared.wire.url, question(stream=False)).one("x-spillway-target") == "cloud/stand-in"
    return shared


def question(*lines: str, stream: bool = True) -> bytes:
    return request(asked("tier/premium", stream=stream), *lines)


def silent_after(*said: bytes) -> Script:
    def script(line: Line) -> None:
        line.send(b"".join(said))
        line.until_closed()

    return script


def last_error(answer: Heard) -> dict[str, str]:
    error: dict[str, str] = json.loads(answer.body.split(b"\n\n")[-2].removeprefix(b"data: "))["error"]
    return error


@pytest.mark.parametrize("said", [b"", STREAM_HEAD, STREAM_HEAD + framed(ROLE)], ids=["nothing", "a head", "a role"])
def test_a_cloud_without_a_first_token_in_time_is_followed_by_the_engine(both: Both, said: bytes) -> None:
    both.cloud.script = silent_after(said)
    answer = heard(both.wire.url, question())
    assert (answer.status, answer.one("x-spillway-target")) == (200, "local/tiny")
    assert answer.one("x-spillway-reason") == "fallback:first_token"
    assert both.resting is None, "one late answer is no illness"
    until(both.is_let_go)


@pytest.mark.parametrize(("stream", "cause"), [(True, "first_token"), (False, "deadline")], ids=["streaming", "whole"])
def test_a_deadline_leaves_time_for_the_engine_behind_the_cloud_and_is_not_the_cloud_s_fault(
    both: Both, stream: bool, cause: str
) -> None:
    both.cloud.script = silent_after()
    answer = heard(both.wire.url, question("x-spillway-deadline-ms: 3500", stream=stream))
    assert (answer.status, answer.one("x-spillway-target")) == (200, "local/tiny")
    assert answer.one("x-spillway-reason") == f"fallback:{cause}"
    assert both.resting is None
    until(both.is_let_go)


def test_the_time_that_setting_money_aside_takes_is_not_the_engine_s(both: Both) -> None:
    """A deadline of 2.4 s leaves the cloud 1.2 s, all of which another program has the ledger's file locked."""
    both.cloud.script = silent_after()
    with closing(sqlite3.connect(both.wire.folder / "home" / "ledger.sqlite3", timeout=20)) as other:
        other.execute("BEGIN IMMEDIATE")
        answer = heard(both.wire.url, question("x-spillway-deadline-ms: 2400", stream=False))
        other.rollback()
    assert (answer.status, answer.one("x-spillway-target")) == (200, "local/tiny")
    assert answer.one("x-spillway-reason") == "fallback:deadline"
    assert both.resting is None
    until(lambda: both.in_flight == 0)


def test_a_cloud_without_a_whole_answer_in_its_time_is_followed_by_the_engine(both: Both) -> None:
    both.cloud.script = silent_after(answered()[:-4])
    asked_at_s = time.monotonic()
    answer = heard(both.wire.url, question(stream=False))
    assert (answer.status, answer.one("x-spillway-target")) == (200, "local/tiny")
    assert answer.one("x-spillway-reason") == "fallback:whole_answer"
    assert FIRST_TOKEN_S <= time.monotonic() - asked_at_s < WHOLE_S
    until(both.is_let_go)


def test_a_deadline_ends_with_the_first_token(both: Both) -> None:
    def slow_end(line: Line) -> None:
        line.send(STREAM_HEAD + framed(ROLE, HI))
        line.listen(1.9)
        line.send(framed(STOP, USAGE, DONE) + LAST)

    both.cloud.script = slow_end
    answer = heard(both.wire.url, question("x-spillway-deadline-ms: 1800"))
    assert (answer.one("x-spillway-target"), answer.body[-len(DONE) :]) == ("cloud/stand-in", DONE)


def closes(line: Line) -> None:
    line.send(STREAM_HEAD + framed(ROLE, HI))
    line.until_read()
    line.close()


def resets(line: Line) -> None:
    line.send(STREAM_HEAD + framed(ROLE, HI))
    line.until_read()
    line.reset()


def endless(line: Line) -> None:
    line.send(STREAM_HEAD + framed(ROLE))
    while not line.is_closed():
        line.send(framed(HI))
        line.listen(0.05)


@pytest.mark.parametrize(
    ("script", "status", "code"),
    [
        (silent_after(STREAM_HEAD + framed(ROLE, HI)), 504, "silence_timeout"),
        (endless, 504, "answer_timeout"),
        (closes, 502, "stream_broken"),
        (resets, 502, "stream_broken"),
    ],
    ids=["silent", "endless", "closed", "reset"],
)
def test_a_cloud_that_fails_after_its_first_token_ends_the_stream(
    both: Both, script: Script, status: int, code: str
) -> None:
    both.cloud.script = script
    name = new_id()
    answer = heard(both.wire.url, question(f"x-request-id: {name}"))
    assert (answer.status, answer.one("x-spillway-target")) == (200, "cloud/stand-in")
    assert FIRST in answer.body
    assert last_error(answer)["code"] == code
    assert (both.row(name)["status"], both.in_flight) == (status, 0)
    until(both.cloud.last_line.is_closed)


def slow_stream(line: Line) -> None:
    line.send(STREAM_HEAD + framed(ROLE, HI))
    line.until_closed()


@pytest.mark.parametrize(
    "how", [lambda caller: caller.leave(), lambda caller: caller.reset()], ids=["closes", "resets"]
)
@pytest.mark.parametrize("moment", ["before the first token", "in the middle", "before a whole answer"])
def test_a_client_that_leaves_frees_the_cloud_at_once(both: Both, how: Callable[..., None], moment: str) -> None:
    both.cloud.script = slow_stream if moment == "in the middle" else silent_after()
    asked_before = len(both.cloud.asked)
    name = new_id()
    with calling(both.wire.url) as caller:
        caller.send(question(f"x-request-id: {name}", stream="whole" not in moment))
        if moment == "in the middle":
            caller.begun()
        else:
            until(lambda: len(both.cloud.asked) > asked_before)
        left_at_s = time.monotonic()
        how(caller)
    until(both.is_let_go)
    assert both.cloud.last_line.closed_at_s is not None
    assert both.cloud.last_line.closed_at_s - left_at_s < FIRST_TOKEN_S / 2
    row = both.row(name)
    assert row["status"] == 499
    assert both.resting is None


def test_a_reader_that_stands_still_ends_with_the_whole_answer_s_limit(both: Both, tmp_path: Path) -> None:
    def pours(line: Line) -> None:
        line.send(STREAM_HEAD + framed(ROLE, HI))
        while not line.is_closed():
            line.send(framed(LARGE))

    both.cloud.script = pours
    name = new_id()
    asked_at_s = time.monotonic()
    with calling(both.wire.url, receive_bytes=4096) as caller:
        caller.send(question(f"x-request-id: {name}"))
        row = both.row(name)
        assert WHOLE_S - 0.1 < time.monotonic() - asked_at_s < WHOLE_S + 2.0
        assert (row["status"], row["target"]) == (504, "cloud/stand-in")
        assert "whole_answer" in str(row["error"])
        until(both.is_let_go)
