"""What an engine reports of itself adds what did not come through this router, and never takes away what did."""

import pytest

from engines.snapshot import Load
from router.spilling.load import EngineLoad
from router.spilling.speeds import Speeds, Tempo

CAPACITY = 40_000


def report(running: int, waiting: int, kv_share: float, age_s: float = 0.1) -> Load:
    return Load(running, waiting, kv_share, CAPACITY, 0, 0, 0, age_s)


def busy(requests: int, now_s: float = 0.0) -> EngineLoad:
    """So many of our own decode, with prompts of 1,000 tokens."""
    load = EngineLoad(Speeds(Tempo.given(10_000, 50)), CAPACITY, now_s=now_s)
    for _ in range(requests):
        load.began(load.sent(1000, now_s), now_s + 0.1)
    return load


def passes(load: EngineLoad, since_s: float, until_s: float) -> None:
    """Somebody looks every 50 ms, as happens where requests come and go."""
    for tick in range(round((until_s - since_s) * 20) + 1):
        load.standing(since_s + tick / 20)


def test_requests_of_others_are_added() -> None:
    load = busy(4)
    passes(load, 0.1, 1.0)
    own = load.standing(1.0)
    load.reported(report(10, 3, 0.5), 1.0)
    seen = load.standing(1.0)
    assert (own.others_sequences, seen.others_sequences, seen.others_waiting) == (0, 6, 3)
    assert seen.sequences == own.sequences == 4
    assert seen.read_tokens == pytest.approx(0.5 * CAPACITY, rel=0.02)
    assert seen.step_s > own.step_s
    assert seen.room_tokens < own.room_tokens


def test_ones_own_are_not_taken_for_others() -> None:
    load = busy(8)
    passes(load, 0.1, 1.0)
    held = load.kv_tokens
    load.reported(report(8, 0, (held + 100) / CAPACITY), 1.0)
    standing = load.standing(1.0)
    assert (standing.others_sequences, standing.others_waiting, standing.others_kv_tokens) == (0, 0, 0)


def test_what_ended_since_the_report_was_made_is_not_a_stranger() -> None:
    load = EngineLoad(Speeds(Tempo.given(10_000, 50)), CAPACITY)
    stays = [load.sent(1000, 0.0) for _ in range(8)]
    for stay in stays:
        load.began(stay, 0.1)
    passes(load, 0.1, 1.0)
    for stay in stays[:6]:
        load.ended(stay, None, 1.1)
    passes(load, 1.1, 1.5)
    load.reported(report(8, 0, 8500 / CAPACITY, age_s=0.6), 1.5)
    assert load.standing(1.5).others_sequences == 0
    assert load.standing(1.5).others_kv_tokens == 0


def test_an_emptier_report_never_empties_what_the_router_knows() -> None:
    load = busy(8)
    passes(load, 0.1, 1.0)
    load.reported(report(0, 0, 0.0), 1.0)
    standing = load.standing(1.0)
    assert standing.sequences == 8
    assert standing.kv_tokens > 8000


@pytest.mark.parametrize("age_s", [2.5, 30.0])
def test_a_stale_report_may_show_more_and_never_less(age_s: float) -> None:
    load = busy(2, 100.0)
    passes(load, 100.1, 101.0)
    load.reported(report(9, 2, 0.6), 101.0)
    fuller = load.standing(101.0)
    load.reported(report(2, 0, 0.05, age_s), 101.5)
    kept = load.standing(101.5)
    assert kept.others_sequences == fuller.others_sequences
    assert kept.others_kv_tokens == fuller.others_kv_tokens
    load.reported(report(20, 6, 0.9, age_s), 101.5)
    assert load.standing(101.5).others_sequences > fuller.others_sequences
    load.reported(report(2, 0, 2200 / CAPACITY), 102.0)
    assert load.standing(102.0).others_sequences == 0


def test_a_report_that_overtook_another_is_not_undone_by_it() -> None:
    load = busy(2)
    passes(load, 0.1, 1.0)
    load.reported(report(9, 0, 0.6, age_s=0.1), 1.0)
    load.reported(report(2, 0, 0.05, age_s=0.5), 1.1)
    assert load.standing(1.1).others_sequences == 7
    assert load.others.strangers.age_s(1.1) == pytest.approx(0.2)


def test_a_full_engine_has_no_room_whoever_filled_it() -> None:
    load = EngineLoad(Speeds(), None)
    assert load.standing(0.0).fits(10**6)
    load.reported(report(30, 0, 0.99), 1.0)
    assert load.kv_capacity_tokens == CAPACITY
    assert not load.standing(1.0).fits(1000)
    load.sent(1000, 1.0)
    assert load.standing(1.2).is_blocked
