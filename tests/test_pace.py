"""What the router learns from finished answers: it converges to the truth, and only telling answers teach."""

from __future__ import annotations

import math
import random
import statistics

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


def test_no_median_is_known_before_an_answer_has_shown_it() -> None:
    assert (Pace().ttft_p50_s, Pace().tpot_p50_s) == (None, None)
    assert after(DONE).ttft_p50_s == 0.5
    assert after(DONE).tpot_p50_s == pytest.approx(0.02)


def delays(*ttfts_s: float) -> list[Finished]:
    return [replace(DONE, ttft_s=ttft_s, e2e_s=ttft_s + 2.0) for ttft_s in ttfts_s]


@given(st.lists(st.floats(0.01, 10.0), min_size=1, max_size=50), st.floats(0.01, 10.0))
def test_steady_delays_are_their_own_median(before: list[float], steady_s: float) -> None:
    pace = after(*delays(*before), *delays(*[steady_s] * 200))
    assert pace.ttft_p50_s == pytest.approx(steady_s, rel=0.001)


@pytest.mark.parametrize("seed", range(5))
def test_the_median_is_learned_whatever_the_tail(seed: int) -> None:
    # A lognormal spread as wide as real delays have, and one in ten a hundred times as long: the mean would be 5 s.
    dice = random.Random(seed)
    ttfts_s = [math.exp(dice.gauss(math.log(0.4), 0.6)) * (100 if dice.random() < 0.1 else 1) for _ in range(2000)]
    assert after(*delays(*ttfts_s)).ttft_p50_s == pytest.approx(statistics.median(ttfts_s), rel=0.35)


def test_one_answer_that_took_for_ever_moves_the_median_by_a_step() -> None:
    pace = after(*delays(*[0.5] * 50), *delays(100.0))
    assert pace.ttft_p50_s == pytest.approx(0.5, rel=0.06)


def test_a_median_of_nothing_can_grow() -> None:
    assert after(*delays(*[0.0] * 20), *delays(*[1.0] * 300)).ttft_p50_s == pytest.approx(1.0)


def test_the_median_follows_a_drift() -> None:
    pace = after(*delays(*[0.5] * 500), *delays(*[2.0] * 40))
    assert pace.ttft_p50_s == pytest.approx(2.0)


def test_answers_that_come_whole_teach_the_time_of_a_token_and_not_the_wait_for_the_first() -> None:
    whole = replace(DONE, streamed=False, ttft_s=2.5)
    alone = after(*[whole] * 20)
    assert alone.ttft_p50_s is None
    assert alone.tpot_p50_s == pytest.approx(0.025)
    beside_streams = after(*[DONE] * 20, *[whole] * 20)
    assert beside_streams.ttft_p50_s == 0.5
    assert beside_streams.tpot_p50_s == pytest.approx(0.02)


@pytest.mark.parametrize("tokens", [0, 1])
def test_a_single_token_has_no_time_between_tokens(tokens: int) -> None:
    assert after(replace(DONE, completion_tokens=tokens)).tpot_p50_s is None


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
    assert pace.ttft_p50_s is None or pace.ttft_p50_s >= 0
    assert pace.tpot_p50_s is None or pace.tpot_p50_s > 0
    assert pace.freed_tokens_per_s is None or pace.freed_tokens_per_s >= 0
