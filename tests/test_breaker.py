"""The breaker of one target: when it opens, whom it lets try, how it comes back; and the same for several workers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.health.breaker import (
    FORGET_S,
    LEAST_ANSWERS,
    LONGEST_OPEN_S,
    LONGEST_PAUSE_S,
    MOST_FAILURES,
    UNPROVED,
    Fault,
    Proof,
    Trouble,
    after_end,
    after_failure,
    after_probe,
    after_token,
    revived,
    slowed,
    together,
    verdict_of,
)
from router.health.opening import FIRST_SHARE
from router.health.verdict import WELL, Verdict, lot_of, passed_over

OPEN = Verdict("500", 0.0)


@dataclass
class Course:
    """One worker's breaker in the course of time. A request is answered at the moment it was sent, unless `sent_s`."""

    own: Trouble | None = None
    proof: Proof = field(default=UNPROVED)

    def known(self, now_s: float) -> Trouble | None:
        return together([] if self.own is None else [self.own], self.proof, now_s)

    def fails(self, now_s: float, fault: Fault | None = None, times: int = 1) -> Course:
        for _ in range(times):
            self.own = after_failure(self.known(now_s), self.own, fault or Fault("500", now_s), now_s)
        return self

    def dies(self, now_s: float, retry_after_s: float | None = None) -> Course:
        return self.fails(now_s, Fault("connect", now_s, retry_after_s, is_death=True))

    def breaks(self, now_s: float) -> Course:
        return self.fails(now_s, Fault("cut", now_s, is_break=True))

    def begins(self, now_s: float, ttft_s: float | None = 0.0, sent_s: float | None = None) -> Course:
        sent_s, known = now_s if sent_s is None else sent_s, self.known(now_s)
        if known is not None:
            self.own = after_token(known, self.own, sent_s, ttft_s, now_s)
        self.proof = Proof(now_s, self.proof.ended_s, max(self.proof.sent_s, sent_s))
        return self

    def ends(self, now_s: float) -> Course:
        known = self.known(now_s)
        self.proof = Proof(self.proof.began_s, now_s, self.proof.sent_s)
        if known is not None:
            self.own = after_end(known, self.own, now_s, now_s)
        return self

    def probes(self, now_s: float) -> Course:
        known = self.known(now_s)
        if known is not None:
            self.own = after_probe(known, self.own, now_s)
        return self

    def at(self, now_s: float) -> Verdict:
        return verdict_of(self.known(now_s), now_s)[0]


def opened(now_s: float = 0.0) -> Course:
    return Course().fails(now_s, times=MOST_FAILURES)


def test_four_failures_in_a_row_are_forgiven_and_five_are_not() -> None:
    course = Course().fails(0.0, times=MOST_FAILURES - 1)
    assert course.at(0.1) is WELL
    assert course.fails(0.1).at(0.2) == OPEN


def test_an_answer_in_between_begins_the_row_anew() -> None:
    course = Course().fails(0.0, times=MOST_FAILURES - 1).begins(0.1).fails(0.2, times=MOST_FAILURES - 1)
    assert course.at(0.3) is WELL


def test_failures_among_many_under_way_are_no_row() -> None:
    course, now_s = Course(), 0.0
    for _ in range(40):
        now_s += 0.02
        course.fails(now_s)
        for number in range(6):
            course.begins(now_s + number / 1000, sent_s=now_s - 0.3)
    assert course.at(now_s) is WELL


def test_a_fifth_of_its_answers_are_failures_though_never_two_in_a_row() -> None:
    course, now_s = Course(), 0.0
    for _ in range(int(LEAST_ANSWERS) // 4):
        assert course.at(now_s) is WELL
        now_s += 0.01
        course.fails(now_s).begins(now_s).begins(now_s).begins(now_s)
    assert course.fails(now_s + 0.01).at(now_s + 0.02) == OPEN


def test_a_tenth_is_no_fifth() -> None:
    course, now_s = Course(), 0.0
    for _ in range(50):
        now_s += 0.1
        course.fails(now_s)
        for number in range(9):
            course.begins(now_s + number / 100)
    assert course.at(now_s) is WELL


def test_what_failed_long_ago_does_not_count() -> None:
    course = Course()
    for number in range(20):
        course.fails(number * 30.0).begins(number * 30.0 + 1)
    assert course.at(600.0) is WELL


def test_an_engine_that_is_gone_is_known_at_once_and_comes_back_whole() -> None:
    course = Course().dies(0.0)
    assert course.at(0.9) == Verdict("connect", 0.0)
    assert course.at(1.1) is WELL


def test_each_opening_in_a_row_is_twice_as_long_and_has_a_longest() -> None:
    course, now_s, lengths = opened(), 0.0, list[float]()
    for _ in range(8):
        length_s = next(step / 2 for step in range(1, 100) if course.at(now_s + step / 2).probes)
        lengths.append(length_s)
        now_s += length_s
        course.probes(now_s).fails(now_s)
    assert lengths == [1.0, 2.0, 4.0, 8.0, LONGEST_OPEN_S, LONGEST_OPEN_S, LONGEST_OPEN_S, LONGEST_OPEN_S]


def test_one_request_may_try_it_and_another_when_as_long_has_passed_again() -> None:
    course = opened()
    assert [course.at(now_s).probes for now_s in (0.9, 1.0)] == [0, 1]
    course.probes(1.0)
    assert [course.at(now_s).probes for now_s in (1.0, 1.9, 2.0)] == [0, 0, 1]
    assert course.at(1.5).cause == "500"


def test_a_probe_that_succeeds_begins_a_return_as_long_as_it_was_open() -> None:
    course = opened().probes(1.0).begins(1.2, sent_s=1.0)
    assert course.at(1.2) == Verdict(None, FIRST_SHARE, 0, "500")
    assert course.at(1.7).share == pytest.approx((1 + FIRST_SHARE) / 2)
    assert course.at(2.2) is WELL


def test_what_was_sent_before_it_opened_neither_closes_it_nor_opens_it_again() -> None:
    course = opened(5.0).begins(5.5, sent_s=4.0)
    assert course.at(5.6) == OPEN
    course.fails(6.5, Fault("500", 4.0))
    assert course.at(6.6).probes == 1, "the stale failure is no failed probe"


def test_it_opens_for_longer_where_it_fails_again_soon_after_its_return() -> None:
    course = opened().probes(1.0).begins(1.0).fails(10.0, times=MOST_FAILURES)
    assert course.at(11.9).probes == 0
    assert course.at(12.0).probes == 1


def test_all_is_forgotten_after_a_time_in_which_it_was_well() -> None:
    course = opened().probes(1.0).begins(1.0)
    later_s = 2.0 + FORGET_S
    assert course.known(later_s) is None
    assert course.fails(later_s, times=MOST_FAILURES).at(later_s + 1.0).probes == 1


@pytest.mark.parametrize(("asked_s", "lasts_s"), [(7.0, 7.0), (3600.0, LONGEST_PAUSE_S)])
def test_a_pause_that_it_asked_for_is_kept_after_one_failure_and_just_ends(asked_s: float, lasts_s: float) -> None:
    course = Course().fails(0.0, Fault("500", 0.0, asked_s))
    assert course.at(lasts_s - 0.1) == OPEN
    assert course.at(lasts_s) is WELL


def test_a_pause_asked_for_on_the_way_back_is_a_failed_return() -> None:
    course = opened().probes(1.0).begins(1.0)
    course.fails(1.5, Fault("500", 1.5, 1.0))
    assert course.at(3.4) == OPEN, "two seconds, for it is the second time"
    assert course.at(3.5) == Verdict("500", 0.0, 1)


def test_a_short_pause_shortens_no_rest() -> None:
    course = opened()
    for number in range(1, 4):
        begun_s = 2.0**number
        course.probes(begun_s).fails(begun_s, Fault("500", begun_s, 0.001))
        assert course.at(begun_s + 2.0**number - 0.1) == OPEN


def test_a_target_that_has_become_slow_must_be_fast_before_it_comes_back() -> None:
    course = Course()
    course.own = slowed(None, None, 2.0, 0.0)
    assert course.at(0.5) == Verdict("slow", 0.0)
    course.probes(1.0).begins(4.0, ttft_s=3.0, sent_s=1.0)
    assert course.at(5.9) == Verdict("slow", 0.0), "two seconds this time"
    course.probes(6.0).begins(6.5, ttft_s=0.5, sent_s=6.0)
    assert course.at(6.5) == Verdict(None, FIRST_SHARE, 0, "slow")


def test_streams_that_break_off_open_it_and_only_a_whole_answer_closes_it() -> None:
    course = Course()
    for number in range(MOST_FAILURES):
        course.begins(float(number)).breaks(number + 0.5)
    assert course.at(4.6) == Verdict("cut", 0.0)
    course.probes(6.0).begins(6.0, ttft_s=0.1)
    assert course.at(6.1).cause == "cut"
    course.ends(6.5)
    assert course.at(6.5) == Verdict(None, FIRST_SHARE, 0, "cut")


def test_streams_that_end_as_they_should_forgive_those_that_broke_off() -> None:
    course = Course()
    for number in range(20):
        course.begins(float(number)).begins(number + 0.1).begins(number + 0.2)
        course.breaks(number + 0.5).ends(number + 0.6)
    assert course.at(20.0) is WELL


def test_an_engine_that_was_started_anew_has_no_past() -> None:
    course = Course().dies(0.0, retry_after_s=20.0)
    known = course.known(1.0)
    assert known is not None
    course.own, course.proof = revived(known, course.own, 1.0), Proof(1.0, 1.0)
    assert course.at(1.0) is WELL
    assert course.dies(2.0).at(3.1) is WELL


MOVES = st.lists(
    st.tuples(st.sampled_from(["fails", "begins", "probes", "ends", "waits"]), st.floats(0.01, 5)), max_size=60
)


@given(MOVES)
def test_whatever_happens_shares_are_shares_and_it_is_tried_again_in_the_end(
    moves: Sequence[tuple[str, float]],
) -> None:
    course, now_s = Course(), 0.0
    for move, after_s in moves:
        now_s += after_s
        if move != "waits":
            getattr(course, move)(now_s)
        verdict = course.at(now_s)
        assert 0 <= verdict.share <= 1
        assert verdict.cause is None or verdict.share == 0.0
    last = course.at(now_s + 3 * LONGEST_OPEN_S)
    assert last.cause is None or last.probes > 0


@given(MOVES)
def test_a_target_that_never_fails_is_well_whatever_else_happens(moves: Sequence[tuple[str, float]]) -> None:
    course, now_s = Course(), 0.0
    for move, after_s in moves:
        now_s += after_s
        if move in {"begins", "probes", "ends"}:
            getattr(course, move)(now_s)
        assert course.at(now_s) is WELL


@pytest.mark.parametrize(
    ("verdict", "lot", "cause"),
    [
        (WELL, 0.99, None),
        (Verdict("500", 0.0), 0.0, "500"),
        (Verdict("500", 0.0, 1), 0.99, None),
        (Verdict(None, 0.3, 0, "500"), 0.29, None),
        (Verdict(None, 0.3, 0, "500"), 0.3, "500"),
    ],
    ids=["well", "open", "a probe", "within its share", "beyond its share"],
)
def test_who_is_passed_over(verdict: Verdict, lot: float, cause: str | None) -> None:
    assert passed_over(verdict, lot) == cause


def test_lots_are_even_and_a_request_s_own() -> None:
    lots = [lot_of(f"req-{number}") for number in range(2000)]
    assert lots == [lot_of(f"req-{number}") for number in range(2000)]
    assert min(lots) >= 0
    assert max(lots) < 1
    assert sum(lot < 0.1 for lot in lots) == pytest.approx(200, abs=60)
