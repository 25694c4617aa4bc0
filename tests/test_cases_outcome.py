"""What a pass or a phase came to, judged by what was promised, and how it looks."""

from __future__ import annotations

import io
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from benchmarks.cases.fault import faults_in
from benchmarks.cases.ledger import priced, usd_by_request
from benchmarks.cases.outcome import Outcome, outcome_of
from benchmarks.cases.phase import phases_of
from benchmarks.cases.promises import promises_in
from benchmarks.cases.states import changes, states_in
from benchmarks.cases.table import causes_table, events_text, phases_table, ways_table
from benchmarks.drive.sample import Sample
from benchmarks.figures.promise import promise_in

TIERS = [{"name": "bulk", "ttft_target_s": 20.0}, {"name": "standard", "ttft_target_s": 0.5}]
PROMISES = promises_in(TIERS, "standard", None)
LOCAL = Sample(
    0, 0.0, 0.0, 1.2, 200, first_s=0.2, last_s=1.2, prompt_tokens=60, completion_tokens=40, target="local/smoke"
)
SPILLED = replace(LOCAL, target="cloud/stand-in", reason="spill:kv", usd=0.003, request_id="req-1")
FAILED = replace(LOCAL, first_s=None, last_s=None, error="rate_limited", target="")


def numbered(*samples: Sample) -> list[Sample]:
    return [replace(sample, number=number) for number, sample in enumerate(samples)]


def outcome(*samples: Sample, tiers: tuple[str, ...] = ()) -> Outcome:
    return outcome_of("hybrid", numbered(*samples), 10.0, PROMISES, tiers or ("",) * len(samples))


def text_of(table: Table) -> str:
    console = Console(width=140, file=io.StringIO(), record=True)
    console.print(table)
    return console.export_text()


def test_each_request_is_judged_by_its_own_tier() -> None:
    slow = replace(LOCAL, first_s=5.0, last_s=6.0)
    found = outcome(slow, slow, LOCAL, tiers=("bulk", "standard", ""))
    assert found.kept == 2
    assert found.broken == ["standard: p95 ttft_s is 4.76, promised 0.5"]
    assert found.goodput_per_s == pytest.approx(0.2)


def test_the_owner_s_promise_outranks_the_tiers() -> None:
    strict = promises_in(TIERS, "standard", promise_in("ttft_s=0.1"))
    found = outcome_of("hybrid", numbered(LOCAL), 10.0, strict, ("bulk",))
    assert found.kept_share == 0.0
    assert found.broken == ["p95 ttft_s is 0.2, promised 0.1"]


def test_a_tier_that_nobody_knows_is_named() -> None:
    with pytest.raises(ValueError, match="'gold' does not exist; there are: bulk, standard"):
        promises_in(TIERS, "gold", None)
    with pytest.raises(ValueError, match="'gold' does not exist"):
        outcome(LOCAL, tiers=("gold",))


def test_shares_dollars_and_tokens_are_those_of_the_samples() -> None:
    found = outcome(LOCAL, SPILLED, SPILLED, FAILED)
    assert (found.requests, found.answered, found.kept_share) == (4, 3, 0.75)
    assert found.cloud_share == pytest.approx(2 / 3)
    assert found.errors == {"rate_limited": 1}
    assert found.reasons == {"spill:kv": 2}
    assert found.usd == pytest.approx(0.006)
    assert found.usd_per_mtok == pytest.approx(0.006 / 300 * 1e6)
    assert found.broken == ["standard: 1 of 4 requests failed"]


def test_a_whole_answer_has_its_first_token_at_its_end() -> None:
    found = outcome(replace(LOCAL, first_s=None, last_s=None, ended_s=0.4))
    assert found.ttft_p50_s == pytest.approx(0.4)
    assert found.kept == 1


def test_an_unknown_price_is_never_zero() -> None:
    found = outcome(LOCAL, replace(SPILLED, usd=None))
    assert found.usd is None
    assert found.usd_per_mtok is None
    assert outcome(LOCAL).usd == 0.0


def test_a_phase_without_requests_keeps_nothing_and_claims_nothing() -> None:
    found = outcome()
    assert (found.kept_share, found.cloud_share, found.usd_per_mtok) == (None, None, None)
    assert found.broken == ["no request ended"]


def test_three_ways_stand_side_by_side() -> None:
    ways = [
        replace(outcome(LOCAL, FAILED), name="local only"),
        replace(outcome(SPILLED), name="all cloud"),
        replace(outcome(LOCAL, SPILLED), name="hybrid"),
    ]
    text = text_of(ways_table("One load, three ways", ways))
    for words in ("local only", "all cloud", "hybrid", "broken", "kept", "50 %", "1 rate_limited", "$30", "1 spill:kv"):
        assert words in text


def test_phases_stand_below_each_other_with_what_broke() -> None:
    phases = phases_of(faults_in(["4:cloud-429"]), 10.0)
    outcomes = [outcome(LOCAL), outcome(FAILED, SPILLED)]
    text = text_of(phases_table("Phase by phase", phases, outcomes)) + text_of(causes_table(phases, outcomes))
    assert "cloud-429=1" in text
    assert "1 rate_limited" in text
    assert "50 %" in text


def test_many_events_are_cut_short_and_it_is_said() -> None:
    lines = events_text([(float(number), f"event {number}") for number in range(45)]).plain.splitlines()
    assert lines[0].split() == ["0.00", "s", "event", "0"]
    assert lines[-1] == "  ... and 5 more, in the JSON"
    assert len(lines) == 41


def test_what_becomes_of_targets_is_told_change_by_change() -> None:
    ready = states_in({"targets": [{"name": "local/smoke", "state": "ready", "resting": None}]})
    resting = states_in({"targets": [{"name": "local/smoke", "state": "ready", "resting": "connect"}]})
    assert [*changes(ready, ready)] == []
    assert [*changes(ready, resting)] == ["local/smoke: resting (connect)"]
    assert [*changes(resting, {})] == ["local/smoke: gone"]
    assert [*changes({}, ready)] == ["local/smoke: ready"]


def test_a_state_is_told_without_its_reason() -> None:
    for state, brief in (
        ("launching again after: it was killed. Look at the kernel log.", "launching"),
        ("failed: connect: nothing listens at its address", "failed"),
        ("warming", "warming"),
    ):
        assert states_in({"targets": [{"name": "local/smoke", "state": state}]}) == {"local/smoke": brief}


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    path = tmp_path / "ledger.sqlite3"
    with closing(sqlite3.connect(path)) as made, made:
        made.execute("CREATE TABLE outcome (request_id, at_unix_s, target, usd)")
        rows = [("req-0", 50.0, "cloud/x", 9.0), ("req-1", 150.0, "cloud/x", 0.5), ("req-2", 160.0, "local/x", 0.0)]
        made.executemany("INSERT INTO outcome VALUES (?, ?, ?, ?)", rows)
    return path


def test_the_ledger_says_what_each_request_cost(ledger: Path) -> None:
    usd = usd_by_request(ledger, 100.0, ["req-1"])
    assert usd == {"req-1": 0.5, "req-2": 0.0}
    known, unknown = priced([SPILLED, replace(SPILLED, request_id="req-9")], usd)
    assert (known.usd, unknown.usd) == (0.5, 0.003)


@pytest.mark.parametrize("name", ["nowhere.sqlite3", "text.sqlite3"])
def test_what_is_no_ledger_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "text.sqlite3").write_text("no ledger at all, but more than a few bytes of text" * 20)
    with pytest.raises(ValueError, match=rf"--ledger .*{name}"):
        usd_by_request(tmp_path / name, 0.0)
