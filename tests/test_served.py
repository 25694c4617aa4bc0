"""The end of a request: every value of it arrives in the column of the ledger that is named after it."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from msgspec.structs import replace

from router.attempts import _give_up
from router.books import read_wanted
from router.course import Course
from router.errors import ApiError, TargetUnavailable
from router.failure import none_left
from router.metrics import Metrics
from router.outcome import COLUMNS
from router.reply import Reading, Reply
from router.routing.fleet import Target
from router.routing.gate import Decision
from router.served import Doors, Served, refused, settle
from router.watch import Watch
from tests.ledgers import opened, rows
from tests.specimens import CLOUD, ENVIRONMENT, LOCAL, RULES, ask

ASK = ask(
    request_id="req-7",
    tier="bulk",
    task="t",
    tenant="team-a",
    feature="search",
    prompt_bytes=400,
    route="night",
    arm="new/trial",
    shadow_of="req-6",
)
# What a test cannot know beforehand.
CLOCKS = ("at_unix_s", "e2e_s")


class Whole:
    """A reply that came whole, as far as its end needs it."""

    content_type = "application/json"
    body = b"{}"

    def __init__(self, target: str, usage: tuple[int, int] | None) -> None:
        self.reading = Reading(target, show_usage=True)
        self.reading.usage = usage


@contextmanager
def doors_at(folder: Path) -> Iterator[Doors]:
    """Only the doors that the end of a request goes through; nobody may touch the others."""
    watch = Watch(RULES, environment=ENVIRONMENT)
    with opened(folder / "ledger.sqlite3") as ledger:
        given = {"watch": watch, "ledger": ledger, "metrics": Metrics(watch.now, lambda: ledger.spent)}
        yield Doors(**cast(Any, dict.fromkeys(Doors.__struct_fields__) | given))


def row_in(folder: Path) -> dict[str, object]:
    """The one row, and nothing of what the clock says."""
    (values,) = rows(folder / "ledger.sqlite3", f"SELECT {', '.join(COLUMNS)} FROM outcome")
    return {name: value for name, value in zip(COLUMNS, values, strict=True) if name not in CLOCKS}


@pytest.mark.parametrize(
    ("target", "usage", "tokens", "usd"),
    [
        pytest.param(LOCAL, (30, 7), (30, 7), 0.0, id="an engine"),
        pytest.param(CLOUD, (30, 7), (30, 7), 0.0000043, id="a cloud"),
        pytest.param(replace(CLOUD, price=None), (30, 7), (30, 7), 0.0, id="a cloud without a price"),
        pytest.param(LOCAL, None, (100, 3), 0.0, id="an answer that never told its usage"),
    ],
)
def test_a_served_request_is_a_row(
    target: Target, usage: tuple[int, int] | None, tokens: tuple[int, int], usd: float, tmp_path: Path
) -> None:
    with doors_at(tmp_path) as doors:
        flight = doors.watch.start(ASK, target, 1.0)
        doors.watch.first_token(flight, 2.0)
        reply = Whole(target.name, usage)
        reply.reading.spoken = 3
        served = Served(ASK, target, "spill:kv", 2, cast(Reply, reply), flight, 0.25)
        settle(doors, served, 0.5, 502, "it broke")
        page = doors.metrics.text().decode()
    assert row_in(tmp_path) == {
        "request_id": "req-7",
        "target": target.name,
        "model": target.served_name,
        "tier": "bulk",
        "task": "t",
        "tenant": "team-a",
        "feature": "search",
        "reason": "spill:kv",
        "attempts": 2,
        "status": 502,
        "error": "it broke",
        "prompt_tokens": tokens[0],
        "completion_tokens": tokens[1],
        "usd": pytest.approx(usd),
        "ttft_s": 0.25,
        "route": "night",
        "arm": "new/trial",
        "shadow_of": "req-6",
        "wanted_usd": None,
        "sent_s": 0.5,
    }
    assert f'{{reason="spill:kv",status="502",target="{target.name}",tier="bulk"}} 1.0' in page


@pytest.mark.parametrize(
    ("target", "reason", "changes", "wanted_usd"),
    [
        pytest.param(LOCAL, "budget", {}, pytest.approx(0.0000043), id="money kept it here"),
        pytest.param(LOCAL, "budget", {"max_usd": 1e-9}, None, id="its client's own bound did"),
        pytest.param(LOCAL, "budget", {"max_usd": 1.0}, pytest.approx(0.0000043), id="its client would have paid"),
        pytest.param(LOCAL, "spill:kv", {}, None, id="something else did"),
        pytest.param(CLOUD, "budget", {}, None, id="it found a cheaper cloud"),
        pytest.param(LOCAL, "budget", {"model": "own"}, None, id="no cloud has its model"),
        pytest.param(LOCAL, "budget", {"tier": "former"}, None, id="its tier is gone"),
    ],
)
def test_what_stays_here_for_want_of_money_is_known_with_what_it_would_have_cost(
    target: Target, reason: str, changes: dict[str, Any], wanted_usd: object, tmp_path: Path
) -> None:
    with doors_at(tmp_path) as doors:
        asked = replace(ASK, **changes)
        flight = doors.watch.start(asked, target, 1.0)
        reply = cast(Reply, Whole(target.name, (30, 7)))
        settle(doors, Served(asked, target, reason, 1, reply, flight, None), 1.0, 200, None)
    assert row_in(tmp_path)["wanted_usd"] == wanted_usd
    wanted = [usd for _, usd in read_wanted(tmp_path / "ledger.sqlite3", 0.0)]
    assert wanted == ([] if wanted_usd is None else [wanted_usd])


def test_only_a_cloud_that_was_asked_can_have_been_silent(tmp_path: Path) -> None:
    with doors_at(tmp_path) as doors:
        twin = doors.watch.pools.twin_of(CLOUD)
        before = twin.late_share(1.0)
        for asked in (False, True):
            _give_up(doors, doors.watch.start(ASK, CLOUD, 1.0), CancelledError(), asked)
            assert (twin.late_share(1.0) > before) is asked


def test_a_ledger_that_cannot_be_written_is_no_limit_of_the_client() -> None:
    """429 would tell its SDK to slow down, and a disk does not empty itself."""
    full = TargetUnavailable("cloud/nano", "429", "the line is full", saturated=True)
    unwritten = TargetUnavailable("cloud/nano", "ledger", "no money can be set aside: disk full", saturated=True)
    heard = [none_left(ASK, (CLOUD,), failures) for failures in ([full], [unwritten], [full, unwritten])]
    assert [(error.status, error.code) for error in heard] == [
        (429, "saturated"),
        (503, "no_target"),
        (503, "no_target"),
    ]
    assert "disk full" in heard[1].message


def test_clouds_that_are_overloaded_are_no_limit_of_the_client() -> None:
    """But those of their limits are, and those of the day's budget; and an engine is full whatever status says so."""

    def status(*failures: tuple[str, str]) -> int:
        tried = [TargetUnavailable(target, cause, "no", saturated=True) for target, cause in failures]
        return none_left(ASK, (CLOUD,), tried).status

    assert status(("cloud/a", "503"), ("cloud/b", "529")) == 503
    assert status(("cloud/a", "429"), ("cloud/b", "503")) == 503
    assert status(("cloud/a", "429"), ("cloud/b", "quota"), ("cloud/c", "budget")) == 429
    assert status(("local/a", "503"), ("cloud/b", "429")) == 429


def test_a_refused_request_is_a_row_too(tmp_path: Path) -> None:
    with doors_at(tmp_path) as doors:
        refused(
            doors,
            ASK,
            Course(Decision((), "task"), lost_usd=0.5),
            1.0,
            ApiError(429, "saturated", "every target is full"),
            4,
        )
    assert row_in(tmp_path) == {
        "request_id": "req-7",
        "target": "none",
        "model": "auto",
        "tier": "bulk",
        "task": "t",
        "tenant": "team-a",
        "feature": "search",
        "reason": "task",
        "attempts": 4,
        "status": 429,
        "error": "every target is full",
        "prompt_tokens": 0,
        "completion_tokens": 0,
        "usd": 0.5,
        "ttft_s": None,
        "route": "night",
        "arm": "new/trial",
        "shadow_of": "req-6",
        "wanted_usd": None,
        "sent_s": None,
    }


@pytest.mark.parametrize(
    ("target", "usage", "told"),
    [
        pytest.param(LOCAL, (30, 7), b"x-spillway-usd: 0\r\n", id="an engine is free"),
        pytest.param(CLOUD, (30, 7), b"x-spillway-usd: 0.0000043\r\n", id="a cloud has its price"),
    ],
)
def test_an_answer_tells_what_it_cost(target: Target, usage: tuple[int, int], told: bytes) -> None:
    flight = Watch(RULES, environment=ENVIRONMENT).start(ASK, target, 1.0)
    served = Served(ASK, target, "tier", 1, cast(Reply, Whole(target.name, usage)), flight, None)
    assert told in served.lines()


def test_what_an_answer_cost_includes_what_was_tried_before_it(tmp_path: Path) -> None:
    with doors_at(tmp_path) as doors:
        flight = doors.watch.start(ASK, LOCAL, 1.0)
        served = Served(ASK, LOCAL, "tier", 2, cast(Reply, Whole(LOCAL.name, (30, 7))), flight, None, lost_usd=0.25)
        assert b"x-spillway-usd: 0.25\r\n" in served.lines()
        settle(doors, served, 1.0, 200, None)
    assert row_in(tmp_path)["usd"] == 0.25
