"""When a fault has stayed within what is promised, and how the rows look."""

from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from benchmarks.night.case import Aims
from benchmarks.night.evidence import Evidence
from benchmarks.night.judgement import Row, end_row, row_of
from benchmarks.night.scenery import Engines
from benchmarks.night.suite import CASES, acts, chosen
from benchmarks.night.table import markdown, missed, shown, to_json
from benchmarks.night.visit import End, Question, Visit


def visit(end: End = End.ANSWERED, *, tier: str = "standard", target: str = "local/smoke") -> Visit:
    return Visit(Question(0, tier, True, 4, "smoke"), end, target, "local", 1.0, 1.1, 1.2, "because")


GOOD = Evidence(
    visits=(visit(), visit(), visit(target="cloud/stand-in")),
    struck_s=10.0,
    found_s=0.2,
    away_s=0.5,
    back_s=4.0,
    unanswered=0,
    strays=(),
    changed=("smoke",),
    seconds=9.0,
)
AIMS = Aims(found_s=2.0, away_s=1.0, back_s=60.0)


def row(evidence: Evidence, aims: Aims = AIMS) -> Row:
    return row_of(replace(CASES["kill-api-server"], aims=aims), evidence, "fake")


def with_visits(*more: Visit) -> Evidence:
    return replace(GOOD, visits=(*GOOD.visits, *more))


def test_a_fault_within_its_aims_is_kept() -> None:
    found = row(GOOD)
    assert (found.sent, found.home, found.away, found.lost) == (3, 2, 1, 0)
    assert found.is_kept
    assert found.misses == ()


@pytest.mark.parametrize("end", [End.BEFORE, End.REFUSED])
def test_a_request_that_could_have_been_answered_elsewhere_must_not_be_lost(end: End) -> None:
    assert "1 lost that may spill" in row(with_visits(visit(end, target=""))).misses[0]
    assert row(with_visits(visit(end, tier="bulk", target=""))).is_kept
    assert row(with_visits(visit(end, target="")), replace(AIMS, may_lose=True)).is_kept


def test_a_stream_may_break_with_its_engine_but_not_for_an_edit() -> None:
    broken = with_visits(visit(End.AFTER))
    assert row(broken).is_kept
    assert row(broken).errors_after == 1
    assert "1 streams broke" in row(broken, replace(AIMS, keeps_streams=True)).misses[0]


def test_a_wrong_answer_is_never_within_any_aim() -> None:
    assert "1 answered wrong" in row(with_visits(visit(End.WRONG)), Aims(may_lose=True)).misses[0]


@pytest.mark.parametrize(
    ("evidence", "miss"),
    [
        (replace(GOOD, found_s=2.5), "found after 2.5 s, not 2 s"),
        (replace(GOOD, found_s=None), "never found"),
        (replace(GOOD, away_s=1.2), "answered from elsewhere after 1.2 s, not 1 s"),
        (replace(GOOD, back_s=None), "never back"),
        (replace(GOOD, unanswered=2), "2 never ended"),
        (replace(GOOD, strays=("process 7: vllm",)), "left over: process 7: vllm"),
        (replace(GOOD, failure="no such process"), "not carried out: no such process"),
    ],
)
def test_each_aim_is_named_when_it_is_missed(evidence: Evidence, miss: str) -> None:
    found = row(evidence)
    assert found.misses == (miss,)
    assert missed([found]) == [f"kill-api-server (fake): {miss}"]


def test_an_engine_that_must_stay_must_be_the_same_process() -> None:
    assert row(GOOD, replace(AIMS, keeps=("smoke",))).misses == ("smoke is another process",)


def test_where_nothing_may_happen_any_restlessness_is_a_miss() -> None:
    quiet = Aims(is_quiet=True)
    calm = replace(GOOD, found_s=None, away_s=None, changed=())
    assert row(calm, quiet).is_kept
    restless = replace(calm, restless=("smoke was failed, restart 1",))
    assert row(restless, quiet).misses == ("smoke was failed, restart 1",)
    lost_at_home = replace(calm, visits=(*calm.visits, visit(End.BEFORE, tier="bulk")))
    assert "1 lost at home" in row(lost_at_home, quiet).misses[0]
    assert row(replace(calm, back_s=None), quiet).misses == ("home does not answer any more",)


def test_a_hang_may_take_what_those_who_wait_may_take_to_be_read() -> None:
    aims = replace(AIMS, found_s=10.0, reading_tokens_per_s=24.0)
    waiting = [replace(visit(), started_s=11.0, first_s=None, ended_s=26.0) for _ in range(6)]
    late = replace(with_visits(*waiting), found_s=15.0)
    assert row(late, aims).found_aim_s == pytest.approx(16.0)
    assert row(late, aims).is_kept
    assert row(replace(late, found_s=17.0), aims).misses == ("found after 17.0 s, not 16 s",)
    assert row(replace(late, visits=GOOD.visits), aims).misses == ("found after 15.0 s, not 10 s",)


def test_what_a_stack_leaves_behind_is_a_row_of_its_own() -> None:
    assert end_row("fake", (), "", 1.0).is_kept
    left = end_row("fake", ("port 4000", "a", "b", "c"), "", 1.0)
    assert left.misses == ("left over: port 4000; a; b and 1 more",)
    assert not end_row("fake", (), "spillway up ended with 1", 1.0).is_kept


def test_the_table_is_printed_in_three_forms() -> None:
    rows = [row(GOOD), row(replace(GOOD, back_s=None)), end_row("fake", (), "", 1.0)]
    said = StringIO()
    Console(width=128, file=said).print(shown(rows))
    text = said.getvalue()
    assert "kill-api-server" in text
    assert "MISSED" in text
    lines = markdown(rows).splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert lines[2].startswith("| kill-api-server | fake | 3 | 2 | 1 | 0 | 0 / 0 | 0 | 0.20 | 0.50 | 4.0 | 0 | kept |")
    read = json.loads(to_json(rows, {"cores": 2}))
    assert [each["is_kept"] for each in read["rows"]] == [True, False, True]
    assert not read["is_kept"]


def test_every_fault_of_the_list_is_there_and_says_what_is_done() -> None:
    assert len(CASES) >= 24
    assert all(case.what and case.name == name for name, case in CASES.items())


def test_faults_are_chosen_by_name_and_by_engines() -> None:
    assert [case.name for case in chosen(["drain", "xid-79"], None)] == ["drain", "xid-79"]
    assert [case.name for case in chosen(["drain", "xid-79"], Engines.REAL)] == ["drain"]
    fakes = chosen([], Engines.FAKE)
    assert {case.scenery.engines for case in fakes} == {Engines.FAKE, Engines.GPUS}
    assert "kill-worker" not in {case.name for case in fakes}
    with pytest.raises(ValueError, match="there is no fault 'thunder'; there are: kill-supervisor"):
        chosen(["thunder"], None)


def test_faults_share_a_stack_until_one_spoils_it() -> None:
    for act in acts(chosen([], None)):
        assert not any(case.spoils for case in act.cases[:-1])
        assert {(case.scenery, case.conduct) for case in act.cases} == {(act.scenery, act.conduct)}
    names = [case.name for act in acts(chosen([], None)) for case in act.cases]
    assert sorted(names) == sorted(CASES)
