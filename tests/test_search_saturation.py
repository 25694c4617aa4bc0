"""The search for the knee against simulated servers: exact, noisy, queueing, spoiled, and beyond the generator."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.search.look import MOST_EXCESS, Look
from benchmarks.search.saturation import Bounds, End, Knee, Next, decided

Server = Callable[[float], Look]
WIDE = Bounds(first=1.0, lowest=0.01, highest=1e5)
CALM = settings(max_examples=25, deadline=None, derandomize=True)


def searched(bounds: Bounds, server: Server) -> tuple[Knee, list[Look]]:
    looks: list[Look] = []
    while isinstance(step := decided(bounds, looks), Next):
        looks.append(server(step.load))
    return step, looks


def curved(knee: float, slope: float, sigma: float = 0.0, seed: int = 0) -> Server:
    """A latency that grows with a power of the load, above a floor; the noise is that of each run."""
    chance = random.Random(seed)

    def look(load: float) -> Look:
        excess = max(-4.0, slope * math.log(load / knee)) + chance.gauss(0, sigma)
        return Look(load, max(-MOST_EXCESS, min(MOST_EXCESS, excess)))

    return look


def queued(served_per_s: float, limit_s: float, seconds: float, seed: int) -> Server:
    """One server, one queue, Poisson arrivals, simulated request by request: p95 of the time in the system."""
    chance = random.Random(seed)

    def look(load: float) -> Look:
        at_s = free_s = 0.0
        stays_s = []
        for _ in range(max(20, round(seconds * load))):
            at_s += chance.expovariate(load)
            free_s = max(free_s, at_s) + chance.expovariate(served_per_s)
            stays_s.append(free_s - at_s)
        kept = sorted(stays_s[len(stays_s) // 10 :])
        served = len(stays_s) / free_s
        excess = math.log(kept[int(0.95 * len(kept))] / limit_s)
        return Look(load, excess, capacity=served if served < 0.9 * load else None)

    return look


@dataclass(slots=True)
class Batch:
    """An engine with so many places, each answer taking `answer_s`; Poisson arrivals for `sending_s`; p95 of the wait.

    `spent_s` is the time that its runs would have taken, the emptying of the queue included.
    """

    places: int
    answer_s: float
    limit_s: float
    sending_s: float
    chance: random.Random
    spent_s: float = 0.0

    def look(self, load: float) -> Look:
        at_s, over_s = 0.0, self.sending_s
        free_s, waits_s = [0.0] * self.places, []
        while (at_s := at_s + self.chance.expovariate(load)) < self.sending_s:
            begun_s = max(at_s, heapq.heappop(free_s))
            heapq.heappush(free_s, begun_s + self.answer_s)
            waits_s.append(begun_s - at_s + 0.02)
            over_s = max(over_s, begun_s + self.answer_s)
        self.spent_s += over_s
        wait_s = sorted([*waits_s, 0.02])[int(0.95 * len(waits_s))]
        served = len(waits_s) / over_s
        return Look(load, math.log(wait_s / self.limit_s), capacity=served if served < 0.9 * load else None)


def run_count_of_exhaustive_sweep(low: float, high: float, tolerance: float) -> int:
    return math.ceil(math.log(high / low) / math.log1p(tolerance)) + 1


@CALM
@given(knee=st.floats(0.05, 5e4), slope=st.floats(1.0, 30.0))
def test_the_knee_of_an_exact_server_is_found_within_the_tolerance(knee: float, slope: float) -> None:
    found, looks = searched(WIDE, curved(knee, slope))
    assert found.load == pytest.approx(knee, rel=0.05)
    assert found.end is End.FOUND
    assert len(looks) == found.runs <= 18


@CALM
@given(knee=st.floats(0.5, 500), slope=st.floats(2.0, 20.0), seed=st.integers(0, 10**6))
def test_noise_of_a_tenth_of_the_latency_does_not_move_it_far(knee: float, slope: float, seed: int) -> None:
    found, _ = searched(WIDE, curved(knee, slope, sigma=0.1, seed=seed))
    # Twice the tolerance for any seed whatever; nine of ten within the tolerance is the next test.
    assert found.load == pytest.approx(knee, rel=0.1)


def test_nine_of_ten_noisy_searches_end_within_the_tolerance() -> None:
    found = [searched(WIDE, curved(37.3, 2.0, sigma=0.1, seed=seed))[0].load for seed in range(40)]
    assert sum(load == pytest.approx(37.3, rel=0.05) for load in found) >= 36


def test_the_knee_of_a_simulated_queue_is_found_within_the_tolerance() -> None:
    # Of one server and one queue the p95 is known: ln(20) / (served - load).
    truth = 10.0 - math.log(20) / 1.0
    found = [searched(WIDE, queued(10.0, 1.0, seconds=600, seed=seed))[0].load for seed in range(4)]
    assert found == [pytest.approx(truth, rel=0.05)] * 4


@pytest.mark.parametrize("slope", [1.0, 3.0, 30.0])
def test_it_takes_a_quarter_of_the_runs_of_an_exhaustive_sweep(slope: float) -> None:
    found, looks = searched(WIDE, curved(40.0, slope, sigma=0.03))
    assert found.load == pytest.approx(40.0, rel=0.05)
    assert len(looks) * 4 <= run_count_of_exhaustive_sweep(1.0, 48.0, 0.05)


def test_a_batching_engine_is_searched_as_exactly_as_by_an_exhaustive_sweep_in_a_quarter_of_the_time() -> None:
    loads = [1.05**step for step in range(60)]
    off, spent_s, swept_s = [], 0.0, 0.0
    for seed in range(5):
        engine = Batch(64, 3.84, 2.0, sending_s=60.0, chance=random.Random(seed))
        found, _ = searched(WIDE, engine.look)
        spent_s += engine.spent_s
        engine = Batch(64, 3.84, 2.0, sending_s=60.0, chance=random.Random(seed + 100))
        looks = [engine.look(load) for load in loads]
        swept_s += engine.spent_s
        knee = next(look.load for look in reversed(looks) if look.kept)
        assert found.load is not None
        off.append(abs(math.log(found.load / knee)))
    # Two steps of the sweep: it is no better than one step itself.
    assert sorted(off)[len(off) // 2] <= 2 * math.log(1.05)
    assert spent_s * 4 <= swept_s


def test_the_knee_is_confirmed_by_runs_on_both_sides_of_it() -> None:
    found, looks = searched(WIDE, curved(40.0, 5.0, sigma=0.05))
    near = [look for look in looks if abs(math.log(look.load / 40.0)) < 0.1]
    assert sum(look.kept for look in near) >= 2
    assert sum(not look.kept for look in near) >= 2
    assert found.kept is not None
    assert found.kept <= 40.0 * 1.05


def test_one_spoiled_run_does_not_decide() -> None:
    server = curved(40.0, 3.0, sigma=0.03)
    spoiled = iter([True])

    def once_wrong_at_four(load: float) -> Look:
        look = server(load)
        return replace(look, excess=0.3) if 3.0 < load < 5.0 and next(spoiled, False) else look

    found, looks = searched(WIDE, once_wrong_at_four)
    assert any(look.load < 5.0 and not look.kept for look in looks)
    assert found.load == pytest.approx(40.0, rel=0.05)


@CALM
@given(knee=st.integers(1, 300), slope=st.floats(1.0, 8.0))
def test_users_are_whole_and_the_knee_is_within_one_user_or_the_tolerance(knee: int, slope: float) -> None:
    found, looks = searched(Bounds(1, 1, 1e4, whole=True), curved(knee + 0.5, slope))
    assert all(look.load == int(look.load) for look in looks)
    assert found.load is not None
    assert abs(found.load - knee) <= max(1.0, 0.05 * knee)


def test_a_server_that_never_breaks_ends_at_the_highest_load_and_says_so() -> None:
    found, _ = searched(Bounds(1, 1, 64), lambda load: Look(load, -2.5))
    assert (found.load, found.high, found.end) == (64, None, End.HIGHEST)


def test_a_server_that_always_breaks_ends_at_the_lowest_load_without_a_knee() -> None:
    found, looks = searched(Bounds(8, 0.5, 64), lambda load: Look(load, 1.0))
    assert (found.load, found.kept, found.end) == (None, None, End.LOWEST)
    assert min(look.load for look in looks) == 0.5


def test_a_search_that_begins_above_the_knee_goes_down_to_it() -> None:
    found, _ = searched(Bounds(1000, 0.01, 1e5), curved(3.0, 4.0))
    assert found.load == pytest.approx(3.0, rel=0.05)


def test_where_the_generator_is_late_again_the_search_stays_below() -> None:
    def late_above_fifty(load: float) -> Look:
        return Look(load, -1.0, valid=load <= 50)

    found, looks = searched(Bounds(1, 1, 1e5), late_above_fifty)
    assert found.end is End.GENERATOR
    assert found.load is not None
    assert 25 <= found.load <= 50
    assert sum(not look.valid for look in looks) >= 2


def test_a_generator_that_was_late_once_is_given_the_same_load_again() -> None:
    server = curved(40.0, 3.0)
    late = iter([True])
    found, looks = searched(WIDE, lambda load: replace(server(load), valid=not (load > 10 and next(late, False))))
    assert next(look.load for look in looks if not look.valid) in [look.load for look in looks if look.valid]
    assert found.load == pytest.approx(40.0, rel=0.05)


def test_hopeless_noise_ends_with_the_runs_allowed_and_a_wide_interval() -> None:
    found, _ = searched(replace(WIDE, most_runs=10), curved(40.0, 1.0, sigma=1.0))
    assert (found.end, found.runs) == (End.RUNS, 10)
    assert found.low is not None
    assert found.high is not None
    assert found.high / found.low > 1.2


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        ((0.0, 0.0, 1.0), "0 < lowest <= first <= highest"),
        ((2.0, 1.0, 1.5), "0 < lowest <= first <= highest"),
    ],
)
def test_bounds_that_hold_no_load_are_refused(bounds: tuple[float, float, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Bounds(*bounds)
