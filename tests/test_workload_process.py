"""When requests come and how long they are: the laws hold, by seed, and wrong ones are refused in words."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, pairwise
from random import Random
from statistics import mean, median, stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.workload.lengths import lengths_in
from benchmarks.workload.process import constant, gamma, poisson, within

MANY = 20_000


def gaps(times: Iterator[float]) -> list[float]:
    return [later - earlier for earlier, later in pairwise(islice(times, MANY))]


def draws(text: str, most: int = 10_000) -> list[int]:
    lengths, rng = lengths_in(text, most), Random(1)
    return [lengths.draw(rng) for _ in range(MANY)]


def test_poisson_has_the_rate_and_gaps_as_varied_as_they_are_long() -> None:
    found = gaps(poisson(50.0, Random(1)))
    assert mean(found) == pytest.approx(1 / 50, rel=0.03)
    assert stdev(found) / mean(found) == pytest.approx(1.0, rel=0.05)
    # Half of exponential gaps are below ln 2 of the mean: no other law of the same mean and deviation is here.
    assert median(found) == pytest.approx(0.6931 / 50, rel=0.05)


@pytest.mark.parametrize("burstiness", [0.25, 1.0, 4.0])
def test_burstiness_is_the_shape_of_the_gaps_and_leaves_the_rate(burstiness: float) -> None:
    found = gaps(gamma(50.0, burstiness, Random(1)))
    assert mean(found) == pytest.approx(1 / 50, rel=0.05)
    assert stdev(found) / mean(found) == pytest.approx(burstiness**-0.5, rel=0.05)


def test_constant_arrivals_do_not_drift() -> None:
    times = list(islice(constant(3.0), 300_001))
    assert times[0] == 0.0
    assert times[300_000] == 100_000.0


def test_arrivals_end_with_the_run() -> None:
    assert list(within(constant(4.0), 1.0)) == [0.0, 0.25, 0.5, 0.75]


def test_the_same_seed_gives_the_same_arrivals() -> None:
    assert list(islice(gamma(5, 0.5, Random(7)), 100)) == list(islice(gamma(5, 0.5, Random(7)), 100))
    assert list(islice(gamma(5, 0.5, Random(7)), 100)) != list(islice(gamma(5, 0.5, Random(8)), 100))


@pytest.mark.parametrize("rate", [0.0, -1.0, float("inf"), float("nan")])
def test_a_rate_that_is_none_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match=r"--rate .* above 0"):
        poisson(rate, Random(1))


@pytest.mark.parametrize("burstiness", [0.0, -1.0, float("nan")])
def test_a_burstiness_that_is_none_is_refused(burstiness: float) -> None:
    with pytest.raises(ValueError, match=r"--burstiness .* above 0"):
        gamma(1.0, burstiness, Random(1))


def test_a_fixed_length_is_always_the_same() -> None:
    assert set(draws("128")) == {128}


def test_a_uniform_length_takes_both_ends_and_nothing_beyond() -> None:
    assert set(draws("uniform:10-20")) == set(range(10, 21))


def test_a_normal_length_has_its_mean_and_deviation() -> None:
    found = draws("normal:500,50")
    assert mean(found) == pytest.approx(500, rel=0.01)
    assert stdev(found) == pytest.approx(50, rel=0.03)


def test_a_lognormal_length_has_its_median_and_a_long_tail() -> None:
    found = draws("lognormal:300,0.8", most=10**9)
    assert median(found) == pytest.approx(300, rel=0.03)
    assert mean(found) == pytest.approx(300 * 2.718281828 ** (0.8**2 / 2), rel=0.05)


def test_an_exponential_length_has_its_mean() -> None:
    assert mean(draws("exponential:200", most=10**9)) == pytest.approx(200, rel=0.03)


@given(
    text=st.sampled_from(["normal:10,50", "lognormal:10,3", "exponential:5", "7", "uniform:1-90"]),
    most=st.integers(1, 40),
    seed=st.integers(),
)
def test_no_length_is_below_one_token_or_above_the_most(text: str, most: int, seed: int) -> None:
    assert 1 <= lengths_in(text, most).draw(Random(seed)) <= most


@pytest.mark.parametrize("text", ["128", "uniform:10-200", "normal:128,30", "lognormal:300,0.8", "exponential:100"])
def test_a_law_reads_back_as_it_was_written(text: str) -> None:
    assert str(lengths_in(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "-5",
        "many",
        "uniform:10",
        "uniform:20-10",
        "normal:10",
        "lognormal:300,80",
        "poisson:3",
        "normal:1,2,3",
        "1,2",
    ],
)
def test_a_length_that_is_none_is_refused_in_words(text: str) -> None:
    with pytest.raises(ValueError, match=r"token|least comes first"):
        lengths_in(text)
