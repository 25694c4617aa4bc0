"""What a distribution of lengths says of an answer, against counting by hand."""

from __future__ import annotations

import pytest

from router.spilling.rungs import EDGES, LAST, PRIOR, rung_of
from router.spilling.sample import Sample


def sample_of(lengths: dict[int, float], most_tokens: int | None = None) -> Sample:
    shares = [0.0] * (LAST + 1)
    for tokens, share in lengths.items():
        shares[rung_of(tokens)] += share
    return Sample(shares, 10.0, most_tokens)


def test_every_length_stands_on_one_rung() -> None:
    for tokens in (1, 2, 7, 8, 9, 100, 129, 2048, 5000, EDGES[-1]):
        rung = rung_of(tokens)
        assert EDGES[rung] < tokens <= EDGES[rung + 1]
    assert rung_of(0) == 0
    assert rung_of(EDGES[-1] * 2) == LAST


def test_short_lengths_are_exact() -> None:
    sample = sample_of({2: 1, 4: 2, 6: 1})
    assert sample.mean == pytest.approx(4)
    assert sample.mean_square == pytest.approx((4 + 16 + 16 + 36) / 4)
    assert [sample.quantile(q) for q in (0, 0.25, 0.26, 0.5, 0.75, 0.76, 1)] == [1, 2, 4, 4, 4, 6, 6]
    assert [sample.longer(tokens) for tokens in (0, 1, 2, 3, 4, 6)] == pytest.approx([1, 1, 0.75, 0.75, 0.25, 0])


def test_an_answer_that_has_begun_is_one_of_the_longer() -> None:
    sample = sample_of({2: 1, 4: 2, 6: 1})
    assert sample.ends_within(0, (0, 1, 2, 4, 9)) == pytest.approx([0, 0, 0.25, 0.75, 1])
    assert sample.ends_within(2, (0, 1, 2, 4)) == pytest.approx([0, 0, 2 / 3, 1])
    assert sample.left(0) == pytest.approx(4)
    assert sample.left(2) == pytest.approx((2 + 2 + 4) / 3)
    assert sample.quantile(0.5, so_far=4) == 6


def test_nothing_is_left_of_the_longest() -> None:
    sample = sample_of({6: 1})
    assert sample.left(6) == 0
    assert sample.ends_within(6, (1, 5)) == [1, 1]
    assert sample.quantile(0.5, so_far=7) == 7


def test_long_lengths_are_spread_over_their_rung() -> None:
    sample = sample_of({300: 1})
    lower, upper = EDGES[rung_of(300)], EDGES[rung_of(300) + 1]
    whole = range(lower + 1, upper + 1)
    assert sample.mean == pytest.approx(sum(whole) / len(whole))
    assert sample.mean_square == pytest.approx(sum(n * n for n in whole) / len(whole), rel=1e-4)
    middle = (lower + upper) // 2
    longer = [n for n in whole if n > middle]
    assert sample.left(middle) == pytest.approx(sum(longer) / len(longer) - middle)
    assert sample.ends_within(middle, (5,)) == pytest.approx([5 / len(longer)])


@pytest.mark.parametrize("most", [1, 5, 100, EDGES[40], EDGES[40] + 1, EDGES[40] + 2])
def test_the_most_tokens_end_all_that_would_be_longer(most: int) -> None:
    whole, cut = Sample(PRIOR, 0.0), Sample(PRIOR, 0.0, most)
    assert cut.quantile(1) == most
    assert cut.longer(most) == 0
    assert cut.longer(most - 1) == pytest.approx(whole.longer(most - 1))
    # The mean of what is cut is the sum of the shares that get as far as each token.
    assert cut.mean == pytest.approx(sum(whole.longer(tokens) for tokens in range(most)))


def test_more_than_any_answer_has_cuts_nothing() -> None:
    assert Sample(PRIOR, 0.0, EDGES[-1] * 2).mean == Sample(PRIOR, 0.0).mean


def test_the_tail_of_the_prior_has_no_end() -> None:
    sample = Sample(PRIOR, 0.0)
    for so_far in (1_000, 10_000, 100_000):
        assert 0.05 * so_far < sample.left(so_far) < 3 * so_far
        assert 0 < sample.ends_within(so_far, (10,))[0] < 0.02
