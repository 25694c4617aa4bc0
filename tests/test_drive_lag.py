"""Was the generator late: the rule by which a run is not valid."""

from __future__ import annotations

from benchmarks.drive.lag import Lag, lag_of, late
from benchmarks.drive.sample import Sample


def sample(number: int, lag_s: float, ttft_s: float | None = 0.2, error: str | None = None) -> Sample:
    first_s = None if ttft_s is None else number + ttft_s
    return Sample(number, float(number), number + lag_s, number + 1.0, 200, first_s, first_s, error=error)


def test_a_generator_that_keeps_time_is_not_late() -> None:
    lag = lag_of([sample(each, 0.0001) for each in range(200)], [0.0002] * 100)
    assert 0.00009 < lag.sent_p50_s < 0.00011
    assert lag.typical_s is not None
    assert 0.199 < lag.typical_s < 0.201
    assert late(lag) is None


def test_few_late_requests_are_borne_and_more_than_one_in_a_hundred_are_not() -> None:
    one = lag_of([sample(each, 0.5 if each == 7 else 0.0) for each in range(200)])
    assert late(one) is None
    assert (one.late_share, round(one.sent_most_s, 6)) == (0.005, 0.5)
    five = late(lag_of([sample(each, 0.5 if each < 5 else 0.0) for each in range(200)]))
    assert five is not None
    assert "sent" in five


def test_a_loop_that_reads_late_is_late_though_it_sends_in_time() -> None:
    why = late(lag_of([sample(each, 0.0) for each in range(200)], [0.0] * 90 + [0.05] * 10, busy=0.97))
    assert why is not None
    assert "answers were read 50.0 ms late" in why
    assert "97%" in why


def test_constant_lateness_is_measured_against_the_latency() -> None:
    assert late(Lag(sent_p50_s=0.004, sent_p99_s=0.005, typical_s=0.5)) is None
    why = late(Lag(sent_p50_s=0.004, sent_p99_s=0.005, typical_s=0.1))
    assert why is not None
    assert "half of the requests" in why


def test_failed_and_whole_answers_have_a_typical_latency_of_their_own() -> None:
    lag = lag_of([sample(0, 0.0, error="cut"), sample(1, 0.0, ttft_s=None)])
    assert lag.typical_s == 1.0


def test_of_nothing_nothing_is_said() -> None:
    assert late(lag_of([])) is None
