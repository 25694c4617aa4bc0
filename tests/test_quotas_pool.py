"""The keys of a provider: which one is asked, what holds for all deployments and what for one, what is learned."""

from __future__ import annotations

import math

import pytest

from router.quotas import pool
from router.quotas.learned import Allowance, Told
from router.quotas.meter import NOTHING, Hold, Need
from router.quotas.permit import Key, Permit
from router.quotas.pool import Pool, Terms, Wish
from router.registry import Quota

NOW_S = 1_800_000_000.0
ONE, TWO = Key("1", "KEY_ONE"), Key("2", "KEY_TWO")
SMALL = Need(1, 100, 50)
NONE = Quota()


def terms(bounds: Quota = NONE, own: Quota = NONE, keys: tuple[Key, ...] = (ONE,)) -> Terms:
    """Two deployments, `big` and `small`, of one provider."""
    return Terms(bounds, {"big": keys, "small": keys}, {"big": own, "small": own})


def fresh(those: Terms) -> Pool:
    return pool.fitted(Pool(), those, NOW_S)


def permit(deployment: str = "big", key: Key = ONE, need: Need = SMALL, name: str = "a") -> Permit:
    return Permit("p", deployment, key, need, name)


def hold(name: str = "a", pid: int = 1, until_s: float = NOW_S + 600) -> Hold:
    return Hold(pid, name, NOW_S, until_s)


def taken(state: Pool, *permits: Permit) -> Pool:
    for each in permits:
        state = pool.taken(state, each, NOW_S, hold(each.name))
    return state


def wait(state: Pool, those: Terms, deployment: str = "big", need: Need = SMALL, now_s: float = NOW_S) -> float:
    return pool.turns(state, those, Wish(deployment, need), now_s)[0].wait_s


@pytest.mark.parametrize(
    ("bounds", "times", "wait_s", "why"),
    [
        (Quota(requests_per_minute=30), 28, 0.0, ""),
        (Quota(requests_per_minute=30), 29, 2.0, "requests_per_minute (30)"),
        # 150 tokens each; a thirtieth of the window is on its way.
        (Quota(tokens_per_minute=3000), 18, 0.0, ""),
        (Quota(tokens_per_minute=3000), 19, 2.0, "tokens_per_minute (3000)"),
        (Quota(requests_per_day=10), 9, 0.0, ""),
        (Quota(requests_per_day=10), 10, 57600.0, "requests_per_day (10)"),
        (Quota(tokens_per_day=1000), 5, 0.0, ""),
        (Quota(tokens_per_day=1000), 6, 57600.0, "tokens_per_day (1000)"),
        (Quota(tokens_per_minute=149), 0, math.inf, "tokens_per_minute (149)"),
        (Quota(tokens_per_day=149), 0, math.inf, "tokens_per_day (149)"),
        # The longest wait is the one that is told.
        (Quota(requests_per_minute=30, requests_per_day=29), 29, 57600.0, "requests_per_day (29)"),
        (Quota(), 1000, 0.0, ""),
    ],
)
def test_the_fullest_window_of_a_key_decides(bounds: Quota, times: int, wait_s: float, why: str) -> None:
    those = terms(bounds)
    turn = pool.turns(taken(fresh(those), *[permit()] * times), those, Wish("big", SMALL), NOW_S)[0]
    assert turn.wait_s == pytest.approx(wait_s, abs=0.01)
    assert turn.why == why


def test_so_many_at_once_and_one_more_when_one_has_ended() -> None:
    those = terms(Quota(concurrent=2))
    busy = taken(fresh(those), permit(name="a"), permit(name="b"))
    assert wait(busy, those) > 0
    assert wait(pool.settled(busy, permit(name="a"), SMALL, NOW_S + 1), those) == 0.0


def test_a_place_is_free_again_when_its_process_is_dead_or_its_time_is_over() -> None:
    those = terms(Quota(concurrent=1))
    dead = pool.taken(fresh(those), permit(), NOW_S, hold(pid=7))
    old = pool.taken(fresh(those), permit(), NOW_S, hold(until_s=NOW_S - 1))
    assert wait(pool.without_dead(dead, lambda pid: pid != 7, NOW_S), those) == 0.0
    assert wait(pool.without_dead(old, lambda _: True, NOW_S), those) == 0.0
    assert wait(pool.without_dead(dead, lambda _: True, NOW_S), those) > 0.0


def test_bounds_of_the_provider_hold_for_all_its_deployments_together() -> None:
    those = terms(Quota(requests_per_minute=30))
    full = taken(fresh(those), *[permit("big")] * 29)
    assert wait(full, those, "small") == pytest.approx(2.0, abs=0.01)


def test_bounds_of_a_deployment_hold_for_it_alone() -> None:
    those = terms(own=Quota(requests_per_minute=30))
    full = taken(fresh(those), *[permit("big")] * 29)
    assert wait(full, those, "big") == pytest.approx(2.0, abs=0.01)
    assert wait(full, those, "small") == 0.0


def test_each_key_of_a_pool_has_windows_of_its_own() -> None:
    those = terms(Quota(requests_per_minute=30), keys=(ONE, TWO))
    first_full = taken(fresh(those), *[permit(key=ONE)] * 29)
    turn, full = pool.turns(first_full, those, Wish("big", SMALL), NOW_S)
    assert (turn.key, turn.wait_s) == (TWO, 0.0)
    assert full.key == ONE
    assert full.wait_s == pytest.approx(2.0, abs=0.01)


def test_the_key_that_has_most_left_is_asked_first() -> None:
    those = terms(Quota(requests_per_minute=30), keys=(ONE, TWO))
    used = taken(fresh(those), permit(key=ONE), permit(key=ONE), permit(key=TWO))
    assert pool.turns(used, those, Wish("big", SMALL), NOW_S)[0].key == TWO


def test_keys_without_bounds_are_asked_in_turn() -> None:
    those = terms(keys=(ONE, TWO))
    firsts = [pool.turns(fresh(those), those, Wish("big", SMALL, first=number), NOW_S)[0].key for number in range(4)]
    assert firsts == [ONE, TWO, ONE, TWO]


def test_tokens_are_set_right_when_it_is_known_what_was_used() -> None:
    those = terms(Quota(tokens_per_minute=3000))
    state = taken(fresh(those), permit(need=Need(1, 1000, 1000)))
    before = pool.room(state, those, "big", NOW_S).left_share
    after = pool.room(
        pool.settled(state, permit(need=Need(1, 1000, 1000)), Need(1, 100, 100), NOW_S), those, "big", NOW_S
    )
    assert before == pytest.approx(1 / 3 - 1 / 30, abs=0.01)
    assert after.left_share == pytest.approx(14 / 15 - 1 / 30, abs=0.01)


def test_what_never_reached_the_provider_counts_for_nothing() -> None:
    those = terms(Quota(requests_per_day=10, tokens_per_day=1000))
    state = pool.settled(taken(fresh(those), permit()), permit(), NOTHING, NOW_S)
    assert pool.room(state, those, "big", NOW_S).left_share == 1.0


def told(remaining: float, limit: float = 60, name: str = "requests", per_s: float | None = 1.0) -> Told:
    return Told({name: Allowance(limit, remaining, 60.0, per_s)})


def test_a_window_that_the_provider_tells_of_is_kept_from_then_on() -> None:
    those = terms()
    state = pool.heard(fresh(those), those, permit(), told(1), NOW_S)
    assert wait(state, those) == 0.0
    assert wait(taken(state, permit()), those) == pytest.approx(1.0, abs=0.01)
    # It holds for that key of that deployment: providers keep a count for each model.
    assert wait(taken(state, permit()), those, "small") == 0.0


@pytest.mark.parametrize(
    ("name", "remaining", "fits"),
    [
        ("tokens", 149, False),
        ("tokens", 150, True),
        ("input-tokens", 99, False),
        ("input-tokens", 100, True),
        ("output-tokens", 49, False),
        ("output-tokens", 50, True),
        ("requests-day", 0, False),
        ("requests-day", 1, True),
    ],
)
def test_a_told_window_counts_what_its_name_says(name: str, remaining: float, fits: bool) -> None:
    those = terms()
    state = pool.heard(fresh(those), those, permit(), told(remaining, 10_000, name), NOW_S)
    assert (wait(state, those) == 0.0) is fits


def test_a_provider_that_sees_others_use_the_key_lowers_our_count() -> None:
    those = terms(Quota(requests_per_minute=60))
    state = pool.heard(fresh(those), those, permit(), told(0), NOW_S)
    assert wait(state, those) == pytest.approx(1.0, abs=0.01)


def test_an_answer_that_is_older_than_what_we_took_since_does_not_raise_our_count() -> None:
    those = terms()
    state = pool.heard(fresh(those), those, permit(), told(10), NOW_S)
    state = taken(state, *[permit()] * 8)
    assert wait(pool.heard(state, those, permit(), told(9), NOW_S), those) == 0.0
    state = taken(state, permit(), permit())
    assert wait(pool.heard(state, those, permit(), told(9), NOW_S), those) > 0.0


def refused(state: Pool, those: Terms, times: int, hint_s: float | None = None, *, daily: bool = False) -> list[float]:
    """The waits after each of so many refusals in a row, each one as soon as the last has passed."""
    waits, now_s = [], NOW_S
    for _ in range(times):
        state = pool.heard(state, those, permit(), Told({}, True, hint_s, daily, "refused"), now_s)
        waits.append(wait(state, those, now_s=now_s))
        now_s += waits[-1]
    return waits


def test_a_refused_key_is_kept_away_from_as_long_as_was_asked_for() -> None:
    assert refused(fresh(terms()), terms(), 3, 7.0) == [pytest.approx(7.0)] * 3


def test_a_refusal_without_a_hint_doubles_the_pause_up_to_a_minute() -> None:
    assert refused(fresh(terms()), terms(), 8) == pytest.approx([1, 2, 4, 8, 16, 32, 60, 60])


def test_a_days_quota_that_is_used_up_is_asked_for_less_and_less_until_midnight() -> None:
    waits = refused(fresh(terms()), terms(), 15, 36.0, daily=True)
    assert waits[:3] == pytest.approx([36, 72, 144])
    # It is 16 hours until midnight; no pause goes beyond the next one.
    assert max(waits) <= 86400
    assert any(sum(waits[:count]) == pytest.approx(57600) for count in range(15))


def test_requests_that_were_refused_together_are_one_refusal() -> None:
    those = terms()
    state = fresh(those)
    for _ in range(50):
        state = pool.heard(state, those, permit(), Told({}, True), NOW_S)
    assert wait(state, those) == pytest.approx(1.0)


def test_a_refused_key_leaves_the_others_of_its_pool_in_use() -> None:
    those = terms(keys=(ONE, TWO))
    state = pool.heard(fresh(those), those, permit(key=ONE), Told({}, True, 30.0), NOW_S)
    assert pool.turns(state, those, Wish("big", SMALL), NOW_S)[0].key == TWO
    assert pool.room(state, those, "big", NOW_S).ready_in_s == 0.0


def test_an_answer_ends_the_row_of_refusals() -> None:
    those = terms()
    state = fresh(those)
    for now_s in (NOW_S, NOW_S + 1, NOW_S + 3):
        state = pool.heard(state, those, permit(), Told({}, True), now_s)
    state = pool.heard(state, those, permit(), told(10), NOW_S + 10)
    state = pool.heard(state, those, permit(), Told({}, True), NOW_S + 20)
    assert wait(state, those, now_s=NOW_S + 20) == pytest.approx(1.0)


def test_room_is_for_a_request_of_usual_size() -> None:
    those = terms(Quota(tokens_per_minute=10_000))
    state = taken(fresh(those), permit(need=Need(1, 8000, 1000)))
    assert pool.room(pool.seen(state, "big", Need(1, 100, 50)), those, "big", NOW_S).ready_in_s == 0.0
    assert pool.room(pool.seen(state, "big", Need(1, 4000, 50)), those, "big", NOW_S).ready_in_s > 10


def test_room_counts_those_who_wait_already() -> None:
    those = terms(Quota(requests_per_minute=30), keys=(ONE, TWO))
    full = taken(fresh(those), *[permit(key=ONE)] * 29, *[permit(key=TWO)] * 29)
    assert pool.room(full, those, "big", NOW_S).ready_in_s == pytest.approx(2.0, abs=0.01)
    assert pool.room(full, those, "big", NOW_S, Need(10)).ready_in_s == pytest.approx(12.0, abs=0.01)


def test_limits_that_are_edited_keep_what_was_used() -> None:
    used = taken(fresh(terms(Quota(requests_per_day=100))), *[permit()] * 60)
    lowered, raised = terms(Quota(requests_per_day=50)), terms(Quota(requests_per_day=70))
    assert wait(pool.fitted(used, lowered, NOW_S), lowered) > 0
    assert wait(pool.fitted(used, raised, NOW_S), raised) == 0.0


def test_what_no_table_names_any_more_is_forgotten() -> None:
    used = taken(fresh(terms(Quota(requests_per_day=100), keys=(ONE, TWO))), permit())
    only_two = Terms(Quota(requests_per_day=100), {"big": (TWO,)}, {"big": Quota()})
    assert set(pool.fitted(used, only_two, NOW_S).meters) == {"2"}


def test_nothing_is_counted_where_nothing_is_bounded() -> None:
    state = fresh(terms())
    assert taken(state, permit()) is state
    assert pool.settled(state, permit(), SMALL, NOW_S) is state
