"""What the router learns from finished answers: it converges to the truth, and only telling answers teach."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from router.routing.fleet import Pace
from router.routing.pace import Finished, freed_tokens_per_s, learn

# Four bytes a token, fifty tokens a second, prefill at two thousand a second.
DONE = Finished(
    prompt_bytes=4000,
    prompt_tokens=1000,
    completion_tokens=101,
    queued_tokens=1000.0,
    ttft_s=0.5,
    e2e_s=2.5,
    streamed=True,
    was_full=False,
    since_last_s=None,
    kv_capacity_tokens=10_000,
)


def after(*answers: Finished, start: Pace | None = None) -> Pace:
    pace = start or Pace()
    for done in answers:
        pace = learn(pace, done)
    return pace


@given(
    bytes_per_token=st.floats(1.0, 8.0),
    tokens_per_s=st.floats(1.0, 500.0),
    prefill=st.floats(100.0, 50_000.0),
    completion=st.integers(2, 4000),
)
def test_steady_answers_are_learned(
    bytes_per_token: float, tokens_per_s: float, prefill: float, completion: int
) -> None:
    ttft_s = 1000 / prefill
    steady = replace(
        DONE,
        prompt_bytes=round(1000 * bytes_per_token),
        completion_tokens=completion,
        ttft_s=ttft_s,
        e2e_s=ttft_s + (completion - 1) / tokens_per_s,
    )
    pace = after(*[steady] * 200)
    assert pace.answers == 200
    assert pace.bytes_per_token == pytest.approx(bytes_per_token, rel=0.01)
    assert pace.answer_tokens == pytest.approx(completion, rel=0.01)
    assert pace.stream_tokens_per_s == pytest.approx(tokens_per_s, rel=0.02)
    assert pace.prefill_tokens_per_s == pytest.approx(prefill, rel=0.02)


def test_the_first_answers_count_more_than_what_was_assumed() -> None:
    assert after(DONE).answer_tokens == pytest.approx(101)
    assert after(*[DONE] * 3).bytes_per_token == pytest.approx(4.0)


@pytest.mark.parametrize(
    "done",
    [
        pytest.param(replace(DONE, prompt_tokens=100, queued_tokens=100.0), id="a short prompt"),
        pytest.param(replace(DONE, was_full=True), id="a wait for KV room"),
        pytest.param(replace(DONE, streamed=False), id="an answer that came whole"),
    ],
)
def test_what_says_nothing_about_prefill_teaches_nothing(done: Finished) -> None:
    assert after(done).prefill_tokens_per_s == Pace().prefill_tokens_per_s


@pytest.mark.parametrize(
    "done",
    [
        pytest.param(replace(DONE, streamed=False), id="an answer that came whole"),
        pytest.param(replace(DONE, completion_tokens=1), id="a single token"),
        pytest.param(replace(DONE, completion_tokens=0), id="no token"),
        pytest.param(replace(DONE, e2e_s=0.5), id="no time between first and last token"),
    ],
)
def test_what_says_nothing_about_decoding_teaches_nothing(done: Finished) -> None:
    assert after(done).stream_tokens_per_s == Pace().stream_tokens_per_s


@pytest.mark.parametrize(
    "done", [replace(DONE, prompt_bytes=0), replace(DONE, prompt_tokens=0)], ids=["no text", "no tokens"]
)
def test_a_prompt_of_nothing_has_no_bytes_per_token(done: Finished) -> None:
    assert after(done).bytes_per_token == Pace().bytes_per_token


def test_greetings_do_not_spoil_the_estimate_for_long_prompts() -> None:
    # A chat template adds some thirty tokens to a greeting of ten bytes: that is no rate for forty thousand bytes.
    greeting = replace(DONE, prompt_bytes=10, prompt_tokens=30, queued_tokens=30.0)
    pace = after(*[greeting] * 100, start=after(*[DONE] * 20))
    assert 5_000 < 40_000 / pace.bytes_per_token < 20_000


def test_an_idle_engine_does_not_teach_how_fast_it_frees() -> None:
    pace = after(DONE, DONE)
    assert pace.freed_tokens_per_s is None
    assert freed_tokens_per_s(pace, 10_000) == 2000.0


@given(gap_s=st.floats(0.01, 6.0))
def test_the_freed_rate_of_a_full_engine_is_learned(gap_s: float) -> None:
    full = replace(DONE, was_full=True, since_last_s=gap_s)
    pace = after(*[full] * (1 + round(50 / gap_s)))
    assert pace.freed_tokens_per_s == pytest.approx(1101 / gap_s, rel=0.01)
    assert freed_tokens_per_s(pace, 10_000) == pace.freed_tokens_per_s


def test_a_burst_of_ends_counts_by_its_time_and_not_by_its_number() -> None:
    # Ten answers that end in the same moment free ten times as much, not at ten times infinite speed.
    burst = [replace(DONE, was_full=True, since_last_s=each) for each in [1.0] + [0.0] * 9]
    pace = after(*(burst * 20))
    assert pace.freed_tokens_per_s == pytest.approx(11_010, rel=0.25)


ANSWERS = st.builds(
    Finished,
    prompt_bytes=st.integers(0, 10**6),
    prompt_tokens=st.integers(0, 10**5),
    completion_tokens=st.integers(0, 10**4),
    queued_tokens=st.floats(0, 1e6),
    ttft_s=st.floats(0, 100),
    e2e_s=st.floats(0, 1000),
    streamed=st.booleans(),
    was_full=st.booleans(),
    since_last_s=st.none() | st.floats(0, 1000),
    kv_capacity_tokens=st.integers(0, 10**6),
)


@given(st.lists(ANSWERS, max_size=30))
def test_every_rate_stays_above_zero_whatever_comes(answers: list[Finished]) -> None:
    pace = after(*answers)
    assert pace.bytes_per_token > 0
    assert pace.prefill_tokens_per_s > 0
    assert pace.stream_tokens_per_s > 0
    assert pace.answer_tokens >= 0
    assert pace.freed_tokens_per_s is None or pace.freed_tokens_per_s >= 0
