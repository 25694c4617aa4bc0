"""A search as it is conducted and shown: what a run says of a load, the order of loads, interrupts, the knee curve."""

from __future__ import annotations

import math

import msgspec
import pytest

from benchmarks.figures.promise import Promise
from benchmarks.report.document import Run
from benchmarks.search.course import Course, Tried
from benchmarks.search.look import look_of
from benchmarks.search.saturation import Bounds, End, Knee
from benchmarks.search.shown import curve, heading, row, sentence
from tests.simulated import PROMISE, Simulated, figure, run_at

WIDE = Bounds(1.0, 0.1, 1e4)


def course(server: Simulated, **more: object) -> Course:
    return Course(server.measured, PROMISE, clock=lambda: 10.0 * len(server.asked))


def test_a_search_of_a_server_finds_its_knee_and_names_every_run() -> None:
    server = Simulated(knee=20.0)
    conducted = course(server)
    knee = conducted.searched(WIDE)
    assert knee.load == pytest.approx(20.0, rel=0.05)
    assert [each.look.load for each in conducted.tried] == server.asked
    assert conducted.seconds == 10.0 * len(server.asked)
    names = [each.run.name for each in conducted.tried]
    assert names[:3] == ["rate 1", "rate 4", "rate 16"]
    assert len(set(names)) == len(names)


def test_the_run_of_the_knee_is_one_that_kept_the_promise_within_a_twentieth_of_it() -> None:
    conducted = course(Simulated(knee=20.0))
    knee = conducted.searched(WIDE)
    run = conducted.run_of(knee)
    assert run is not None
    assert not run.summary.promise_broken
    assert knee.kept == pytest.approx(20.0, rel=0.1)
    assert run.name.startswith(f"rate {knee.kept:g}")


def test_an_exhaustive_sweep_tries_every_load_in_order_and_finds_the_same_knee() -> None:
    server = Simulated(knee=20.0)
    loads = [float(load) for load in range(10, 31, 2)]
    knee = course(server).swept(loads)
    assert server.asked == loads
    assert (knee.end, knee.kept) == (End.SWEPT, 20.0)
    assert knee.load == pytest.approx(20.0, rel=0.05)


@pytest.mark.parametrize("exhaustive", [True, False])
def test_an_interrupt_keeps_what_was_measured(exhaustive: bool) -> None:
    server = Simulated(knee=20.0)

    def interrupted(load: float) -> Run:
        if len(server.asked) == 3:
            raise KeyboardInterrupt
        return server.measured(load)

    conducted = Course(interrupted, PROMISE)
    knee = conducted.swept([1, 4, 16, 64]) if exhaustive else conducted.searched(WIDE)
    assert conducted.interrupted
    assert len(conducted.tried) == 3
    assert (knee.load, knee.end) == (16.0, End.STOPPED)


def test_a_run_says_by_how_much_it_kept_the_promise() -> None:
    look = look_of(4.0, run_at(4.0, 1.0), PROMISE, is_rate=True)
    assert look.kept
    assert look.excess == pytest.approx(math.log(0.5))
    assert look.capacity is None


def test_the_worst_of_several_promises_counts() -> None:
    run = run_at(4.0, 1.0)
    slow = msgspec.structs.replace(run, summary=msgspec.structs.replace(run.summary, tpot_s=figure(0.09, wide=1.2)))
    look = look_of(4.0, slow, Promise({"ttft_s": 2.0, "tpot_s": 0.1}), is_rate=True)
    assert look.excess == pytest.approx(math.log(0.9))
    assert look.noise == pytest.approx(math.log(1.2) / 1.96, rel=1e-3)


def test_an_error_breaks_the_promise_however_fast_the_answers_were() -> None:
    look = look_of(4.0, run_at(4.0, 0.1, errors=1), PROMISE, is_rate=True)
    assert not look.kept
    assert 0 < look.excess < 1


def test_what_was_served_of_an_overload_is_told_in_an_open_loop_only() -> None:
    overloaded = run_at(40.0, 30.0, served=17.0)
    assert look_of(40.0, overloaded, PROMISE, is_rate=True).capacity == 17.0
    assert look_of(40.0, overloaded, PROMISE, is_rate=False).capacity is None


@pytest.mark.parametrize(
    ("ttft_p95_s", "lag_s", "valid"),
    [
        pytest.param(1.0, 1.5, True, id="kept in spite of it"),
        pytest.param(2.5, 1.5, False, id="broken perhaps by it"),
        pytest.param(9.0, 1.5, True, id="broken anyway"),
    ],
)
def test_a_late_generator_makes_a_run_doubtful_only_where_lateness_could_explain_it(
    ttft_p95_s: float, lag_s: float, valid: bool
) -> None:
    run = run_at(4.0, ttft_p95_s)
    summary = msgspec.structs.replace(run.summary, lag_s=figure(lag_s / 1.2))
    late = msgspec.structs.replace(run, summary=summary, invalid=["it was late"])
    assert look_of(4.0, late, PROMISE, is_rate=True).valid is valid


def test_each_load_is_a_line_with_its_figures_under_their_headings() -> None:
    tried: list[Tried] = []
    conducted = Course(Simulated(knee=20.0).measured, PROMISE, saw=tried.append)
    conducted.swept([10.0, 40.0])
    kept, broken = (row(each) for each in tried)
    assert [len(kept), len(broken)] == [len(heading())] * 2
    assert kept.split()[:5] == ["10", "10", "70", "250", "ms"]
    assert "kept" in kept
    assert "broken" in broken


def test_the_curve_has_a_line_for_each_load_and_a_bar_beyond_the_limit_where_it_breaks() -> None:
    conducted = course(Simulated(knee=20.0))
    knee = conducted.swept([30.0, 10.0, 20.0, 20.0])
    lines = curve(conducted.looks, knee)
    assert [line.split()[0] for line in lines] == ["load", "10", "20", "30"]
    assert [line.partition("|")[2].startswith("#") for line in lines[1:]] == [False, False, True]
    assert "kept 2 of 2" in lines[2]
    assert [line.endswith("<- knee") for line in lines] == [False, False, True, False]


@pytest.mark.parametrize(
    ("knee", "words"),
    [
        (Knee(6.5, 6.3, 6.8, 6.4, End.FOUND, 9), "up to 6.5 requests/s (6.3 to 6.8 with 90 % confidence, 9 runs)"),
        (Knee(64, 64, None, 64, End.HIGHEST, 4), "the highest load that was tried"),
        (Knee(None, None, None, None, End.LOWEST, 1), "No load that was tried kept the promise"),
        (Knee(6.5, 5, 9, 6.4, End.RUNS, 24), "The runs allowed are used up."),
    ],
)
def test_the_sentence_says_what_was_found_and_how_sure_it_is(knee: Knee, words: str) -> None:
    assert words in sentence(knee, "requests/s")
