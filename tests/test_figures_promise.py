"""A promise is kept by figures, never by their absence; what breaks it is said in words."""

import pytest

from benchmarks.drive.sample import Sample
from benchmarks.figures.promise import Promise, itl_s, promise_in


def streamed(ttft_s: float = 0.1, gaps_s: tuple[float, ...] = (0.01, 0.01), error: str | None = None) -> Sample:
    last_s = ttft_s + sum(gaps_s)
    events = 1 + len(gaps_s)
    return Sample(0, 0.0, 0.0, last_s, 200, ttft_s, last_s, gaps_s, (1,) * len(gaps_s), events, 8, events, error=error)


def whole(e2e_s: float) -> Sample:
    return Sample(0, 0.0, 0.0, e2e_s, 200, completion_tokens=4)


def test_a_promise_is_read_with_its_share() -> None:
    assert promise_in("ttft_s=2,tpot_s=0.1") == Promise({"ttft_s": 2.0, "tpot_s": 0.1}, 0.95)
    assert promise_in(" e2e_s=30 , share=0.99") == Promise({"e2e_s": 30.0}, 0.99)
    assert str(promise_in("ttft_s=2,share=0.99")) == "p99 ttft_s <= 2, no errors"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "name one of ttft_s"),
        ("ttft=2", "'ttft=2'"),
        ("ttft_s", "not a number of seconds"),
        ("ttft_s=soon", "'soon' is not a number"),
        ("ttft_s=nan", "'nan' is not a number"),
        ("ttft_s=inf", "'inf' is not a number"),
        ("ttft_s=0", "above 0 s"),
        ("ttft_s=-1", "above 0 s"),
        ("ttft_s=1,share=0", "share above 0"),
        ("ttft_s=1,share=95", "at most 1"),
        ("ttft_s=1,ttft_s=2", "ttft_s twice"),
        ("share=0.9", "promises nothing"),
    ],
)
def test_a_wrong_promise_gets_a_sentence(text: str, said: str) -> None:
    with pytest.raises(ValueError, match="--promise") as caught:
        promise_in(text)
    assert said in str(caught.value)


def test_a_request_meets_it_only_with_every_figure() -> None:
    promise = promise_in("ttft_s=1,tpot_s=0.05")
    assert promise.met_by(streamed())
    assert promise.met_by(streamed(ttft_s=1.0))
    assert not promise.met_by(streamed(ttft_s=1.01))
    assert not promise.met_by(streamed(gaps_s=(0.08, 0.03)))
    assert not promise.met_by(streamed(error="cut"))


def test_one_gap_too_long_breaks_a_promise_of_gaps_though_the_mean_is_short() -> None:
    stalled = streamed(gaps_s=(0.01,) * 20 + (0.5,))
    assert promise_in("tpot_s=0.1").met_by(stalled)
    assert not promise_in("itl_s=0.1").met_by(stalled)


def test_an_answer_of_one_token_has_no_time_per_token_to_break() -> None:
    assert promise_in("tpot_s=0.001").met_by(streamed(gaps_s=()))


def test_of_a_whole_answer_the_first_token_comes_with_the_last() -> None:
    promise = promise_in("ttft_s=2")
    assert promise.met_by(whole(1.9))
    assert not promise.met_by(whole(2.1))
    assert promise.broken([whole(9.0)] * 20) == ["p95 ttft_s is 9, promised 2"]


def test_the_share_of_the_requests_is_what_keeps_a_load() -> None:
    promise = promise_in("ttft_s=1,share=0.9")
    samples = [streamed(ttft_s=0.5)] * 95 + [streamed(ttft_s=3.0)] * 5
    assert promise.kept_by(samples)
    assert not promise.kept_by(samples + [streamed(ttft_s=3.0)] * 10)


def test_one_error_breaks_it_and_nothing_at_all_does_not_keep_it() -> None:
    promise = promise_in("ttft_s=1")
    assert promise.broken([streamed()] * 99 + [streamed(error="timeout")]) == ["1 of 100 requests failed"]
    assert promise.broken([]) == ["no request ended"]


def test_a_figure_barely_too_long_is_told_from_its_limit() -> None:
    assert promise_in("ttft_s=2").broken([whole(2.00001)]) == ["p95 ttft_s is 2.00001, promised 2"]


def test_events_read_together_follow_each_other_at_once() -> None:
    five = Sample(0, 0.0, 0.0, 0.4, 200, 0.1, 0.4, (0.1, 0.2), (2, 1), events=5)
    assert sorted(itl_s(five)) == [0.0, 0.0, 0.1, 0.2]
    assert list(itl_s(whole(1.0))) == []
