"""Money that is paced: it lasts to the end of its period, starves no hour, and goes by the order of sacrifice."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from router.spilling.budget import MOST_STRETCH, Allowance, Budgets, allowance, order_of_sacrifice
from router.spilling.periods import DAY_S, HOUR_S, NO_CAPS, Dollars, periods_at
from router.spilling.season import FLAT, Season, Shape

MIDNIGHT = int(datetime(2026, 6, 1, tzinfo=UTC).timestamp())
NOON = MIDNIGHT + 12 * HOUR_S
TIERS = ("bulk", "standard", "premium")
# All day long more is needed than there is.
SHORT = replace(FLAT, usd_per_day=1e6)
# An office's: nothing much at night, most of it after noon.
OFFICE = [1.0] * 8 + [4.0, 6.0, 8.0, 8.0, 6.0, 9.0, 10.0, 8.0, 6.0, 4.0] + [2.0] * 4 + [1.0] * 2


def capped(hour: float = math.inf, day: float = math.inf, month: float = math.inf) -> Dollars:
    return Dollars(hour, day, month)


def paced(caps: Dollars, spent: Dollars, now_unix_s: float, shape: Shape = FLAT) -> Allowance:
    return allowance(Budgets(caps, TIERS), spent, shape, now_unix_s)


def learned(days: int, usd_per_day: float, weekend: float = 1.0) -> Season:
    """The office's days until MIDNIGHT, which is that of a Monday."""
    season = Season()
    for hour in range(-24 * days, 1):
        factor = weekend if datetime.fromtimestamp(MIDNIGHT + hour * HOUR_S, UTC).weekday() >= 5 else 1.0
        season.learn(MIDNIGHT + hour * HOUR_S, usd_per_day * OFFICE[hour % 24] / sum(OFFICE) * factor)
    return season


class Till:
    """A day's calls: each takes its money where its tier may, as the ledger would count it."""

    def __init__(self, caps: Dollars, shape: Shape, budgets: Budgets | None = None) -> None:
        self.caps, self.shape, self.budgets = caps, shape, budgets or Budgets(caps, TIERS)
        self.by_hour: dict[int, float] = defaultdict(float)
        self.by_tier: dict[str, float] = defaultdict(float)
        self.earlier_usd = 0.0

    def spent(self, now_unix_s: float) -> Dollars:
        today = periods_at(now_unix_s).day
        day = sum(usd for hour, usd in self.by_hour.items() if today <= hour * HOUR_S < today + DAY_S)
        return Dollars(self.by_hour[int(now_unix_s // HOUR_S)], day, self.earlier_usd + sum(self.by_hour.values()))

    def call(self, tier: str, usd: float, now_unix_s: float) -> None:
        may = allowance(self.budgets, self.spent(now_unix_s), self.shape, now_unix_s).usd_now[tier]
        if usd <= may:
            self.by_hour[int(now_unix_s // HOUR_S)] += usd
            self.by_tier[tier] += usd


def day_of_calls(till: Till, usd: float, tiers: tuple[str, ...]) -> None:
    """The office's demand of one day, in calls of which each costs a little, most of them in bursts."""
    dice = random.Random(7)
    for minute in range(24 * 60):
        due = usd * OFFICE[minute // 60] / sum(OFFICE) / 60
        for _ in range(dice.choice((0, 0, 3, 1))):
            till.call(dice.choice(tiers), due, MIDNIGHT + minute * 60.0)


def test_money_for_half_of_the_day_lasts_to_its_end_and_starves_no_hour() -> None:
    shape = learned(21, 20.0).shape()
    till = Till(capped(day=10.0), shape)
    day_of_calls(till, 20.0, ("bulk", "standard"))
    end = MIDNIGHT + DAY_S - 60.0
    spent_usd = till.spent(end).day
    # Standard leaves a tenth to premium, which has not come.
    assert 0.97 * 9.0 <= spent_usd <= 9.0
    assert allowance(till.budgets, till.spent(end), shape, end).usd_now["premium"] >= 1.0
    for hour, weight in enumerate(OFFICE):
        fair_usd = 9.0 * weight / sum(OFFICE)
        assert till.by_hour[MIDNIGHT // HOUR_S + hour] >= 0.75 * fair_usd, hour


def test_who_gives_way_first_gets_least_of_what_is_short() -> None:
    till = Till(capped(day=10.0), learned(21, 20.0).shape())
    day_of_calls(till, 20.0, TIERS)
    bulk, standard, premium = (till.by_tier[tier] for tier in TIERS)
    # Each asks for a third of twenty dollars.
    assert bulk < standard < premium
    assert premium > 0.95 * 20.0 / 3
    # It gets all of that, and needs no more; its reserve is left.
    assert 0.9 * 10.0 <= bulk + standard + premium <= 10.0


def test_money_that_suffices_is_given_to_everybody_at_its_own_price() -> None:
    shape = learned(21, 4.0).shape()
    till = Till(capped(day=10.0), shape)
    day_of_calls(till, 4.0, TIERS)
    assert sum(till.by_tier.values()) == pytest.approx(4.0, rel=0.05)
    at_noon = paced(capped(day=10.0), Dollars(0.1, 2.0, 2.0), NOON, shape)
    assert at_noon.price_factor == 1.0
    assert set(at_noon.stretch.values()) == {1.0}


def test_what_was_not_needed_is_spread_over_the_rest() -> None:
    frugal = paced(capped(day=24.0), Dollars(0.0, 0.0, 0.0), NOON, SHORT)
    spender = paced(capped(day=24.0), Dollars(0.0, 12.0, 12.0), NOON, SHORT)
    # Ten minutes of an hour that may cost two dollars, or one.
    assert frugal.usd_now["premium"] == pytest.approx(2.0 / 6)
    assert spender.usd_now["premium"] == pytest.approx(1.0 / 6)


def test_a_dollar_is_as_dear_as_the_money_is_short() -> None:
    day, just_enough = capped(day=24.0), replace(FLAT, usd_per_day=24.0)
    assert paced(day, Dollars(0.0, 12.0, 12.0), NOON, just_enough).price_factor == pytest.approx(1.0)
    assert paced(day, Dollars(0.0, 18.0, 18.0), NOON, just_enough).price_factor == pytest.approx(2.0, rel=0.05)
    assert paced(day, Dollars(0.0, 24.0, 24.0), NOON, just_enough).price_factor == math.inf
    # Who knows nothing yet takes a quarter to be enough.
    assert paced(day, Dollars(0.0, 21.0, 21.0), NOON).price_factor == pytest.approx(1.0)
    assert paced(day, Dollars(0.0, 22.5, 22.5), NOON).price_factor == pytest.approx(2.0, rel=0.06)
    # Who knows that twice as much will be needed need not wait until it is missing.
    at_morning = paced(day, Dollars(0.0, 0.0, 0.0), MIDNIGHT, learned(40, 48.0).shape())
    assert at_morning.price_factor == pytest.approx(2.0, rel=0.05)
    assert paced(NO_CAPS, Dollars(1e6, 1e6, 1e6), NOON).price_factor == 1.0


def test_the_last_moment_of_a_day_with_money_left_is_no_alarm() -> None:
    late = paced(capped(day=24.0), Dollars(0.99, 23.99, 23.99), MIDNIGHT + DAY_S - 1.0)
    assert late.price_factor == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("after_midnight_s", [60, 12 * HOUR_S, 23 * HOUR_S, DAY_S - 600, DAY_S - 1])
@pytest.mark.parametrize("shape", [FLAT, learned(21, 4.0).shape()], ids=["unlearned", "learned"])
def test_a_first_burst_is_nobodys_sacrifice_at_any_time_of_the_day(shape: Shape, after_midnight_s: int) -> None:
    fresh = paced(capped(day=10.0), Dollars(0.0, 0.0, 0.0), MIDNIGHT + after_midnight_s, shape)
    assert min(fresh.usd_now.values()) >= 4.5
    burst = paced(capped(day=10.0), Dollars(4.0, 4.0, 4.0), MIDNIGHT + after_midnight_s, shape)
    for each in (fresh, burst):
        assert (each.price_factor, set(each.stretch.values())) == (1.0, {1.0})


def test_what_nobody_needs_later_may_go_at_once_and_the_rest_is_kept_for_who_needs_it() -> None:
    shape = replace(FLAT, usd_per_day=4.0)
    burst = paced(capped(day=10.0), Dollars(1.0, 1.0, 1.0), NOON, shape)
    later_usd = 4.0 * (DAY_S / 2 - 600) / DAY_S
    assert burst.usd_now["premium"] == pytest.approx(9.0 - later_usd)
    assert paced(capped(day=10.0), Dollars(8.0, 8.0, 8.0), NOON, shape).usd_now["premium"] < 0.05


def test_nobody_may_spend_where_no_tier_does() -> None:
    found = allowance(Budgets(capped(day=10.0), ()), Dollars(0.0, 0.0, 0.0), FLAT, NOON)
    assert (found.usd_now, found.stretch, found.price_factor) == ({}, {}, 1.0)


def test_promises_are_lowered_in_the_order_of_sacrifice_and_never_the_last_one() -> None:
    short = paced(capped(day=24.0), Dollars(0.0, 22.5, 22.5), NOON)
    assert 1.0 == short.stretch["premium"] < short.stretch["standard"] < short.stretch["bulk"] <= MOST_STRETCH
    empty = paced(capped(day=24.0), Dollars(1.0, 24.0, 24.0), NOON)
    assert empty.stretch == {"bulk": MOST_STRETCH, "standard": MOST_STRETCH, "premium": 1.0}
    assert set(empty.usd_now.values()) == {0.0}


def test_bulk_is_out_of_money_before_standard_and_both_before_premium() -> None:
    """Within one hour that may cost a dollar, at its end."""
    at = NOON + 3599.0
    for used, able in ((0.75, TIERS), (0.85, TIERS[1:]), (0.95, TIERS[2:]), (1.0, ())):
        left = paced(capped(hour=1.0), Dollars(used, used, used), at).usd_now
        assert tuple(tier for tier in TIERS if left[tier] > 0) == able


def test_a_month_is_spread_over_its_days_and_weekends_get_what_they_need() -> None:
    shape = learned(56, 20.0, weekend=0.1).shape()
    monday, saturday = MIDNIGHT + 10.0, MIDNIGHT + 5 * DAY_S + 10.0
    month = capped(month=220.0)
    works = shape.days(MIDNIGHT, MIDNIGHT + DAY_S) / shape.days(MIDNIGHT + 5 * DAY_S, MIDNIGHT + 6 * DAY_S)
    assert works > 5
    # June 2026 has 22 days of work: about ten dollars each.
    whole_day = paced(month, Dollars(0.0, 0.0, 0.0), MIDNIGHT + DAY_S - 1.0, shape).usd_now["premium"]
    assert whole_day == pytest.approx(10.0, rel=0.1)
    first = paced(month, Dollars(0.0, 0.0, 0.0), monday, shape).usd_now["premium"]
    rest = paced(month, Dollars(0.0, 0.0, 50.0), saturday, shape).usd_now["premium"]
    assert rest < first / 3


def test_the_tightest_period_counts() -> None:
    loose, tight = capped(hour=10.0, day=24.0), capped(hour=0.5, day=24.0)
    spent = Dollars(0.1, 0.1, 0.1)
    assert paced(tight, spent, NOON).usd_now["premium"] < paced(loose, spent, NOON).usd_now["premium"]


@given(
    hour=st.floats(0, 2),
    before=st.floats(0, 20),
    caps=st.tuples(*[st.none() | st.floats(0.01, 30)] * 3),
    at=st.integers(0, 30 * DAY_S),
)
def test_nobody_may_spend_more_than_any_cap_leaves(
    hour: float, before: float, caps: tuple[float | None, ...], at: int
) -> None:
    limits = Dollars(*[math.inf if cap is None else cap for cap in caps])
    spent = Dollars(hour, hour + before, hour + before)
    found = paced(limits, spent, MIDNIGHT + at)
    left = min(limits.hour - spent.hour, limits.day - spent.day, limits.month - spent.month)
    assert all(0 <= usd <= max(0.0, left) + 1e-9 for usd in found.usd_now.values())
    assert found.price_factor >= 1
    assert found.usd_now["bulk"] <= found.usd_now["standard"] <= found.usd_now["premium"]


def test_tiers_give_way_by_their_promises() -> None:
    assert order_of_sacrifice({"premium": 1.0, "bulk": 30.0, "standard": 2.0}) == TIERS


def test_reserves_that_leave_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match=r"3 tiers that reserve 0\.5 each leave nothing"):
        Budgets(capped(day=1.0), TIERS, 0.5)
