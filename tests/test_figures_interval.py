"""Intervals hold what they promise: they cover the truth as often as they say, also where neighbours are alike."""

import random
import statistics
import time

import numpy as np
import pytest

from benchmarks.figures.distribution import figure_of
from benchmarks.figures.interval import blocks_of
from benchmarks.report.document import Figure

STATISTICS = ("mean", "p50", "p90", "p95", "p99")
TRUTH = {"mean": 1.0, "p50": np.log(2), "p90": np.log(10), "p95": np.log(20)}


def figure(values: list[float]) -> Figure:
    found = figure_of((value,) for value in values)
    assert found is not None
    return found


def test_quantiles_are_those_of_numpy_and_so_of_vllm() -> None:
    draw = random.Random(1)
    values = [draw.lognormvariate(0, 1) for _ in range(997)]
    found = figure(values)
    assert found.count == 997
    assert found.mean == pytest.approx(statistics.fmean(values))
    assert [found.p50, found.p90, found.p95, found.p99] == pytest.approx(np.percentile(values, [50, 90, 95, 99]))


def test_no_values_are_no_figure_and_few_have_no_interval() -> None:
    assert figure_of([]) is None
    assert figure_of([(), ()]) is None
    few = figure([3.0, 1.0, 2.0])
    assert (few.count, few.p50, few.low, few.high) == (3, 2.0, {}, {})


def test_an_interval_holds_its_figure_and_is_within_what_was_measured() -> None:
    draw = random.Random(2)
    values = [draw.expovariate(1) for _ in range(40)]
    found = figure(values)
    for name in STATISTICS:
        assert min(values) <= found.low[name] <= getattr(found, name) <= found.high[name] <= max(values)
        assert found.low[name] < found.high[name]


def test_equal_values_have_an_interval_of_no_width() -> None:
    found = figure([0.25] * 200)
    assert set(found.low.values()) == set(found.high.values()) == {0.25}


def test_the_same_values_give_the_same_interval() -> None:
    draw = random.Random(3)
    values = [draw.random() for _ in range(300)]
    assert figure(values) == figure(values)


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    draw = random.Random(4)
    runs = [figure([draw.expovariate(1) for _ in range(500)]) for _ in range(200)]
    for name, truth in TRUTH.items():
        covered = sum(run.low[name] <= truth <= run.high[name] for run in runs) / len(runs)
        assert 0.87 <= covered <= 0.995, name


def test_neighbours_that_are_alike_widen_the_interval() -> None:
    """Taken one by one, values that hang together would look several times surer than they are."""
    draw = random.Random(5)
    values, level = [], 0.0
    for _ in range(2000):
        level = 0.95 * level + draw.gauss(0, 1)
        values.append(level)
    shuffled = draw.sample(values, len(values))
    for name in ("mean", "p50", "p90"):
        together, apart = figure(values), figure(shuffled)
        assert together.high[name] - together.low[name] > 1.8 * (apart.high[name] - apart.low[name]), name


def test_gaps_of_one_answer_are_drawn_together() -> None:
    """A thousand gaps from ten slow and fast answers are ten observations, not a thousand."""
    answers = [(0.01 * (1 + number % 2),) * 100 for number in range(20)]
    found = figure_of(answers)
    assert found is not None
    assert found.count == 2000
    assert (found.low["p50"], found.high["p50"]) == (0.01, 0.02)


def test_blocks_hold_all_values_and_begin_at_requests() -> None:
    counts = [3, 0, 2, 5, 0, 0, 1, 4] * 5
    begins = list(blocks_of(counts))
    assert begins[0] == 0
    assert set(begins) <= set(np.cumsum([0, *counts]).tolist())
    assert begins == sorted(set(begins))
    assert begins[-1] < sum(counts)


def test_a_hundred_thousand_requests_take_less_than_two_seconds() -> None:
    values = np.random.default_rng(6).exponential(1, 100_000).tolist()
    begun_s = time.process_time()
    figure(values)
    assert time.process_time() - begun_s < 2.0
