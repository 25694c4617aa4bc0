"""The sluice alone, its clock passed in: who is served here, who waits and who goes; and what it learns on the way."""

from __future__ import annotations

import random

import pytest

from router.spilling.aside import Aside
from router.spilling.demand import Demand
from router.spilling.load import EngineLoad
from router.spilling.misses import MOST, Misses
from router.spilling.ranks import Ranks
from router.spilling.room import STEPS, Forecast, Prospect, forecast
from router.spilling.speeds import Speeds
from router.spilling.tariff import Tariff
from router.spilling.twin import Twin
from router.spilling.waiting import LATEST_S
from router.spilling.want import Why
from tests.sluiced import ANSWERS, KV_TOKENS, TEMPO, Line, filled, settled


@pytest.fixture
def full() -> Line:
    return filled()


def test_what_fits_goes_at_once_to_the_engine_with_the_least_to_read() -> None:
    line = Line(engines=2)
    first, second = line.ask("first", 0.0, 500), line.ask("second", 0.0, 500)
    assert first is not None
    assert second is not None
    assert (first.engine, second.engine) == (0, 1)
    assert first.why is Why.FITS


def test_one_prompt_at_a_time_waits_inside_an_engine() -> None:
    line = Line()
    assert line.ask("first", 0.0, 2000) is not None
    assert line.ask("second", 0.001, 2000) is None
    assert line.sluice.waiting == 1
    line.begun("first", 0.2)
    assert line.placed["second"].engine == 0


def test_who_finds_no_room_waits_until_somebody_ends(full: Line) -> None:
    assert full.ask("late", 1.8, 1000) is None
    full.sluice.ended(0, 100, 2.0)
    assert full.look(2.0)["late"].engine == 0


def test_a_line_that_would_be_late_loses_who_is_worth_least_for_its_room(full: Line) -> None:
    # No more misses are allowed, so that nobody is kept as a filler.
    for _ in range(100):
        full.misses[""].missed()
    for number in range(20, 40):
        full.ask(number, 1.8, 1000)
    full.ask("long", 1.8, 6000)
    for number in range(40, 60):
        full.ask(number, 1.8, 1000)
    gone = [each for each in full.placed.values() if each.engine is None]
    assert gone
    assert {each.why for each in gone} <= {Why.KV, Why.TTFT}
    assert full.placed["long"].engine is None


def test_who_may_not_spill_waits_however_long_the_line(full: Line) -> None:
    for number in range(20, 60):
        full.ask(number, 1.8, 1000, may_spill=False)
    assert all(each.engine is not None for each in full.placed.values())
    assert full.sluice.waiting == 40


def test_no_money_no_spill_while_misses_are_allowed(full: Line) -> None:
    full.sluice.price_factor = float("inf")
    for number in range(20, 40):
        full.ask(number, 1.8, 1000)
    assert [each for each in full.placed.values() if each.engine is None] == []


def test_a_filler_is_not_kept_for_ever(full: Line) -> None:
    full.sluice.price_factor = 1e9
    for number in range(20, 40):
        full.ask(number, 1.8, 1000)
    full.look(1.8 + LATEST_S + 1)
    assert any(each.engine is None for each in full.placed.values())


def test_a_client_that_leaves_is_forgotten(full: Line) -> None:
    full.ask("waits", 1.8, 1000)
    for key in ("waits", 0, 1):
        full.sluice.left(key, 1.9)
    assert full.sluice.waiting == 0
    full.ask("next", 1.9, 1000)
    assert full.placed["next"].engine == 0


def test_the_next_look_is_asked_for_only_while_somebody_waits(full: Line) -> None:
    assert full.sluice.next_look_s(1.8) == float("inf")
    full.ask("waits", 1.8, 1000)
    assert 1.8 < full.sluice.next_look_s(1.8) < 2.0


def test_a_miss_grows_dearer_as_the_promise_is_used_up() -> None:
    misses = Misses(0.99)
    for _ in range(1000):
        misses.asked()
    before = misses.price(1.0, 0)
    for _ in range(5):
        misses.missed()
    assert misses.price(1.0, 0) > 2 * before
    assert misses.price(1.0, 1) > misses.price(1.0, 0)
    assert misses.kept_share == pytest.approx(0.995, abs=0.001)


def test_of_few_requests_none_is_missed_lightly() -> None:
    assert Misses(0.99).price(1.0, 0) > 5 * settled(0.99).price(1.0, 0)
    assert settled(0.99).used() == pytest.approx(0.0, abs=0.05)


def test_a_quiet_night_is_no_leave_for_a_bad_morning() -> None:
    rested, fresh = Misses(0.99), Misses(0.99)
    for misses, requests in ((rested, 100_000), (fresh, 10_000)):
        for _ in range(requests):
            misses.asked()
    assert rested.used() == pytest.approx(fresh.used(), rel=0.05)


def test_however_many_were_missed_a_miss_has_a_price() -> None:
    misses = Misses(0.99)
    for _ in range(100_000):
        misses.asked()
        misses.missed()
    assert misses.price(1.0, 1000) == MOST


def test_the_less_may_be_missed_the_later_a_first_token_may_come_than_is_expected() -> None:
    misses = settled(0.99)
    tariff = Tariff(lambda _: misses, Demand(), Aside())
    before = tariff.longer("standard")
    for _ in range(5):
        misses.missed()
    assert tariff.longer("standard") > before


def test_a_promise_for_more_of_the_requests_makes_careful_sooner() -> None:
    usual, strict = settled(0.98), settled(0.998)
    for misses in (usual, strict):
        misses.missed()
    assert 0 < usual.used() < 1 < strict.used()
    assert strict.price(1.0, 0) > usual.price(1.0, 0)
    tariff = Tariff({"usual": usual, "strict": strict}.__getitem__, Demand(), Aside())
    assert tariff.longer("strict") > tariff.longer("usual")


def test_another_share_forgets_no_miss() -> None:
    misses = Misses(0.99)
    for number in range(1000):
        misses.asked()
        if number % 100 == 0:
            misses.missed()
    kept_share, used = misses.kept_share, misses.used()
    misses.share = 0.999
    assert misses.kept_share == kept_share
    assert misses.used() == pytest.approx(10 * used)
    misses.share = 0.99
    assert misses.used() == pytest.approx(used)


def test_what_was_saved_up_of_an_easy_promise_is_no_leave_to_break_a_strict_one() -> None:
    eased, strict = Misses(0.5), Misses(0.999)
    for misses in (eased, strict):
        for _ in range(10_000):
            misses.asked()
    eased.share = 0.999
    for misses in (eased, strict):
        misses.asked()
    assert eased.used() == pytest.approx(strict.used(), rel=0.05)


def test_a_promise_without_misses_has_no_price_for_one() -> None:
    assert Misses(1.0).price(1.0, 0) == float("inf")


def test_the_cloud_s_times_are_learned() -> None:
    twin, drawn = Twin(), random.Random(1)
    for _ in range(400):
        twin.learn(drawn.lognormvariate(-0.5, 0.5))
    assert twin.median_s == pytest.approx(0.607, rel=0.1)
    assert twin.late_share(2.0) == pytest.approx(0.0085, abs=0.01)
    assert twin.late_share(0.0) == 1.0
    assert twin.late_share(0.5) > twin.late_share(1.0) > twin.late_share(2.0)


def test_ranks_are_shares_of_weight() -> None:
    ranks = Ranks()
    assert ranks.below(1.0) == 0.0
    for value, weight in ((1.0, 1.0), (2.0, 3.0)):
        ranks.learn(value, weight)
    assert [ranks.below(value) for value in (0.5, 1.0, 1.5, 2.0)] == [0.0, 0.25, 0.25, 1.0]


def test_demand_that_could_all_be_served_lets_nobody_go_early() -> None:
    assert Demand().gone_share == 0.0


def test_room_comes_from_whoever_ends_first() -> None:
    load = EngineLoad(Speeds(TEMPO), KV_TOKENS)
    for number in range(8):
        stay = load.sent(1000, number * 0.2, lengths=ANSWERS)
        load.began(stay, number * 0.2 + 0.15)
    prospect = Prospect(load)
    prospect.look(1.6)
    assert prospect.freed.renew(1.6, 5) == 8
    assert prospect.freed.renew(1.6, 5) == 0
    # What is old is renewed a part at a time, and what is stale at once.
    assert [prospect.freed.renew(2.6, 5) for _ in range(3)] == [5, 3, 0]
    assert prospect.freed.renew(9.9, 5) == 8
    pool = forecast([prospect])
    assert list(pool.freed) == sorted(pool.freed)
    assert pool.freed[-1] == pytest.approx(8 * 1000, rel=0.2)
    assert 0.0 == pool.wait_s(500) < pool.wait_s(4000) < pool.wait_s(8000) < pool.wait_s(30_000)


def test_without_anybody_to_wait_for_the_wait_is_long_and_finite() -> None:
    pool = Forecast(1, 100.0, (0.0,) * len(STEPS), 0.02, 0.0, 1e-4)
    assert 100 < pool.wait_s(10_000) < float("inf")


def read_often(line: Line) -> None:
    """So often that it is known how fast the engine reads: 10,000 tokens a second."""
    for number in range(20):
        line.ask(f"read {number}", float(number), 1000)
        line.begun(f"read {number}", number + 0.1)
        line.sluice.ended(f"read {number}", 1, number + 0.1)


@pytest.mark.parametrize(
    ("prompt_tokens", "may_spill", "engine"),
    [
        pytest.param(9_000, True, 0, id="in time"),
        pytest.param(60_000, True, None, id="too long to be read in time"),
        pytest.param(60_000, False, 0, id="too long, and there is nobody else"),
    ],
)
def test_who_would_be_late_though_nobody_is_there_goes_to_the_cloud(
    prompt_tokens: int, may_spill: bool, engine: int | None
) -> None:
    line = Line(loads={0: EngineLoad(Speeds(TEMPO), 100_000)})
    read_often(line)
    # No more misses are allowed, so that nobody is kept as a filler.
    for _ in range(100):
        line.misses[""].missed()
    found = line.ask("long", 30.0, prompt_tokens, may_spill=may_spill)
    assert found is not None
    assert found.engine == engine


def test_an_engine_whose_speed_nobody_has_seen_is_tried() -> None:
    line = Line(loads={0: EngineLoad(Speeds(), 100_000)})
    found = line.ask("long", 0.0, 60_000)
    assert found is not None
    assert found.engine == 0
