"""The warm-up is cut by rule: no more than it takes, never more than three tenths, and nothing of a short run."""

import pytest

from benchmarks.drive.sample import Sample
from benchmarks.figures.window import Window, window_of


def load(rate: float, until_s: float, takes_s: float, from_s: float = 0.0) -> list[Sample]:
    """A steady stream of requests that all take equally long."""
    dues = [from_s + number / rate for number in range(int((until_s - from_s) * rate))]
    return [Sample(number, due, due, due + takes_s, 200) for number, due in enumerate(dues)]


def test_of_a_run_that_is_steady_at_once_a_tenth_is_cut() -> None:
    assert window_of(load(10, 100, takes_s=0.5), seconds=100.5, load_s=100) == Window(10.0, 100.0)


def test_the_cut_lasts_until_as_many_are_in_flight_as_later() -> None:
    window = window_of(load(10, 100, takes_s=20.0), seconds=120, load_s=100)
    assert 17.0 <= window.begin_s <= 19.0
    assert window.end_s == 100.0


def test_a_run_that_never_gets_steady_is_cut_by_three_tenths() -> None:
    assert window_of(load(10, 100, takes_s=80.0), seconds=180, load_s=100).begin_s == 30.0


@pytest.mark.parametrize(
    ("samples", "seconds", "load_s"),
    [
        (load(10, 20, 0.5), 20.5, 20.0),
        (load(1, 60, 0.5), 60.5, 60.0),
        (load(10, 100, 0.5), 100.5, None),
    ],
    ids=["short", "few requests", "a number of requests or a trace"],
)
def test_some_runs_are_counted_whole(samples: list[Sample], seconds: float, load_s: float | None) -> None:
    assert window_of(samples, seconds=seconds, load_s=load_s) == Window(0.0, seconds)


def test_a_run_that_was_stopped_early_ends_when_it_was() -> None:
    window = window_of(load(10, 40, 0.5), seconds=40.5, load_s=600)
    assert window.begin_s == pytest.approx(4.05)
    assert window.end_s == 40.5


def test_a_run_that_was_stopped_at_once_is_counted_whole() -> None:
    assert window_of(load(100, 2, 0.5), seconds=2.5, load_s=600) == Window(0.0, 2.5)
