"""Schedules of faults, the phases between them, and the three ways of one load: values only."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from benchmarks.cases.fault import Break, Fault, faults_in
from benchmarks.cases.passes import Way, cloud_tier_in, passes_with
from benchmarks.cases.phase import by_phase, phases_of, slices_of
from benchmarks.cloud_reply import Mode
from benchmarks.drive.sample import Sample
from benchmarks.switch import read_switch
from benchmarks.workload.arrival import Arrival, Prompt

KILL, LIMITED, SLOW, MENDED = faults_in(["10:kill-engine", "20:cloud-429", "30:cloud-slow=5", "45:cloud-ok"])
TIERS = [{"name": "bulk", "order": ["local"]}, {"name": "premium", "order": ["cloud", "local"]}]


def sample(scheduled_s: float, ended_s: float, error: str | None = None) -> Sample:
    return Sample(0, scheduled_s, scheduled_s, ended_s, 200, error=error)


def test_a_schedule_is_read_in_the_order_of_time() -> None:
    found = faults_in(["30.5:cloud-ok", "0:cloud-slow", "10:cloud-429=2.5"])
    assert found == (
        Fault(0.0, Break.CLOUD_SLOW, 3.0),
        Fault(10.0, Break.CLOUD_429, 2.5),
        Fault(30.5, Break.CLOUD_OK),
    )
    assert list(map(str, found)) == ["cloud-slow=3", "cloud-429=2.5", "cloud-ok"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("kill-engine", "name one of kill-engine"),
        ("10:explode", "name one of kill-engine"),
        ("soon:cloud-ok", "'soon' is no time"),
        ("-1:cloud-ok", "'-1' is no time"),
        ("nan:cloud-ok", "'nan' is no time"),
        ("10:cloud-slow=inf", "'inf' is no time"),
        ("10:kill-engine=3", "kill-engine has no length"),
    ],
)
def test_a_bad_fault_gets_a_sentence_with_an_example(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        faults_in([text])


def test_every_fault_of_the_cloud_is_a_switch_that_the_stand_in_takes() -> None:
    clouds = [fault for fault in faults_in(f"1:{what}" for what in Break) if not fault.is_of_engine]
    modes = [read_switch(json.dumps(dict(fault.switch)).encode(), list(Mode)).mode for fault in clouds]
    assert modes == ["429", "500", "503", "slow_first_byte", "timeout", "cut", "ok"]


def test_phases_lie_between_the_faults_and_know_whether_something_is_broken() -> None:
    phases = phases_of([KILL, LIMITED, SLOW, MENDED], 60.0)
    assert [(phase.name, phase.from_s, phase.to_s) for phase in phases] == [
        ("before", 0.0, 10.0),
        ("kill-engine", 10.0, 20.0),
        ("cloud-429=1", 20.0, 30.0),
        ("cloud-slow=5", 30.0, 45.0),
        ("cloud-ok", 45.0, 60.0),
    ]
    # The engine was never mended by the schedule, so the last phase is not sound either.
    assert [phase.broken for phase in phases] == [False, True, True, True, True]
    assert [phase.strikes for phase in phases] == [False, True, True, True, False]


def test_what_is_mended_is_sound_again() -> None:
    phases = phases_of(faults_in(["2:cloud-500", "4:cloud-ok", "4:engine-ok"]), 6.0)
    assert [(phase.name, phase.broken) for phase in phases] == [
        ("before", False),
        ("cloud-500", True),
        ("cloud-ok, engine-ok", False),
    ]


def test_a_fault_at_the_start_leaves_no_time_before_it() -> None:
    assert [phase.name for phase in phases_of(faults_in(["0:cloud-429"]), 5.0)] == ["cloud-429=1"]


def test_a_fault_after_the_end_is_refused() -> None:
    with pytest.raises(ValueError, match="comes after the load, which ends at 45 s"):
        phases_of([KILL, MENDED], 45.0)


def test_a_request_belongs_to_the_phase_in_which_it_was_due() -> None:
    phases = phases_of([KILL, LIMITED], 30.0)
    early, late, edge = sample(1.0, 12.0), sample(25.0, 31.0), sample(20.0, 20.1)
    assert by_phase([early, late, edge], phases) == ((early,), (), (late, edge))


def test_a_request_that_a_fault_cut_speaks_against_the_fault_not_against_the_time_before() -> None:
    phases = phases_of([KILL, LIMITED], 30.0)
    cut, failed_before, failed_late = sample(9.0, 10.2, "cut"), sample(5.0, 6.0, "cut"), sample(9.0, 25.0, "timeout")
    assert by_phase([cut, failed_before, failed_late], phases) == ((failed_before,), (cut, failed_late), ())


def test_a_request_due_while_something_was_broken_stays_there() -> None:
    phases = phases_of([replace(LIMITED, at_s=10.0), replace(MENDED, at_s=20.0)], 30.0)
    hung = sample(15.0, 22.0, "timeout")
    assert by_phase([hung], phases) == ((), (hung,), ())


def test_slices_cover_the_whole_load() -> None:
    slices = slices_of(3, 30.0)
    assert [(each.from_s, each.to_s) for each in slices] == [(0.0, 10.0), (10.0, 20.0), (20.0, 30.0)]


def test_the_three_ways_send_the_same_requests_at_the_same_times() -> None:
    given = [
        Arrival(Prompt("Where does the water go?", 9), 1.0, 16, tier="standard"),
        Arrival(Prompt("And then?"), 2.0, tier="bulk", local_only=True),
    ]
    local, cloud, hybrid = ([*each.of(given)] for each in passes_with("premium", marked=True))
    for sent in (local, cloud, hybrid):
        assert [(each.at_s, each.output_tokens, each.kind) for each in sent] == [
            (each.at_s, each.output_tokens, each.kind) for each in given
        ]
    assert [(each.tier, each.local_only) for each in local] == [("standard", True), ("bulk", True)]
    assert [(each.tier, each.local_only) for each in cloud] == [("premium", False), ("premium", False)]
    assert [(each.tier, each.local_only) for each in hybrid] == [("standard", False), ("bulk", True)]


def test_no_pass_finds_the_prefixes_of_another_in_a_cache() -> None:
    for content in ("Where does the water go?", (7, 8, 9), (0, 8, 9)):
        given = [Arrival(Prompt(content))]
        first = [next(each.of(given)).prompt.content[0] for each in passes_with("premium", marked=True)]
        assert len(set(first)) == len(Way), content


def test_prompts_that_differ_anyway_are_sent_as_they_are() -> None:
    given = Arrival(Prompt("Where does the water go?", 9), 1.0, tier="standard")
    assert [each.sent(given).prompt for each in passes_with("premium", marked=False)] == [given.prompt] * 3


def test_prefixes_that_requests_share_stay_shared_within_a_pass() -> None:
    given = [Arrival(Prompt("Once upon a time, a river")), Arrival(Prompt("Once upon a time, a lake"))]
    for each in passes_with("premium", marked=True):
        river, lake = (str(sent.prompt.content) for sent in each.of(given))
        assert river.removesuffix("river") == lake.removesuffix("lake")


def test_the_cloud_s_tier_is_the_first_that_prefers_it() -> None:
    assert cloud_tier_in(TIERS) == "premium"
    assert cloud_tier_in([{"name": "own", "order": ["cloud/stand-in"]}, *TIERS]) == "own"
    with pytest.raises(ValueError, match=r"no tier prefers the cloud \(there are bulk\)"):
        cloud_tier_in(TIERS[:1])
