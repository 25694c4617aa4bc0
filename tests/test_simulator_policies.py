"""The rules that the simulator compares, by what they do to requests."""

from __future__ import annotations

from itertools import accumulate, chain

import pytest

from benchmarks.simulator.arrival import Arrival
from benchmarks.simulator.outcome import CLOUD, Promise
from benchmarks.simulator.policies.named import FAMILIES, named_in
from benchmarks.simulator.policies.predicted import Held
from benchmarks.simulator.policies.thresholds import Thresholds
from benchmarks.simulator.setting import Setting
from benchmarks.simulator.trial import outcome
from benchmarks.simulator.tuning import tuned
from benchmarks.simulator.world import World
from tests.worlds import poisson, ran, setting_of

BURST = [Arrival(number / 1000, 400, 100) for number in range(60)]


def most_at_once(world: World, engine: int) -> int:
    arrivals, records = world.setting.arrivals, world.records
    spells = []
    for number, place in enumerate(records.places):
        if place == engine:
            output = arrivals[number].output_tokens
            end_s = arrivals[number].at_s + records.ttft_s[number] + records.tpot_s[number] * (output - 1)
            spells.append(((records.sent_s[number], 1), (end_s - 1e-9, -1)))
    return max(accumulate(step for _, step in sorted(chain.from_iterable(spells))))


@pytest.mark.parametrize("family", ["count", "slots"])
def test_no_engine_has_more_than_its_number_and_the_cloud_has_the_rest(family: str) -> None:
    world = ran(setting_of(poisson(400, 40.0), engines=2), named_in(f"{family}=5").made())
    assert [most_at_once(world, engine) for engine in (0, 1)] == [5, 5]
    assert CLOUD in world.records.places


def test_slots_spill_beside_an_engine_that_is_free_and_a_count_does_not() -> None:
    # The first of each pair lasts, the second ends at once: turns put all that last on one engine.
    arrivals = [Arrival(number * 0.2, 10, 500 if number % 2 == 0 else 1) for number in range(12)]
    spilled = {
        family: list(ran(setting_of(arrivals, engines=2), named_in(f"{family}=4").made()).records.places).count(CLOUD)
        for family in ("slots", "count")
    }
    assert spilled["slots"] == 2
    assert spilled["count"] == 0


def test_thresholds_let_in_while_the_queue_and_the_cache_are_below() -> None:
    arrivals = [Arrival(number / 10, 400, 300) for number in range(30)]
    world = ran(setting_of(arrivals, kv_tokens=4016), Thresholds(queue=2, kv_share=1.0))
    here = [number for number, place in enumerate(world.records.places) if place == 0]
    # Eight have room as they grow, and the first that finds three waiting goes; nobody ends before 3 s.
    assert here[:11] == list(range(11))
    assert CLOUD in list(world.records.places)[11:14]


def test_thresholds_on_an_old_page_let_a_whole_burst_in() -> None:
    fresh, old = (ran(setting_of(BURST, kv_tokens=4016), Thresholds(2, 1.0, age_s)) for age_s in (0.0, 5.0))
    assert list(old.records.places).count(0) == len(BURST)
    assert old.missed > fresh.missed


def test_an_old_page_is_read_again_after_its_time() -> None:
    # At 5 s the page shows what the burst has done; who comes then is spilled.
    late = [Arrival(5.5, 400, 100)]
    world = ran(setting_of([*BURST, *late], kv_tokens=4016), Thresholds(2, 1.0, 5.0))
    assert world.records.places[-1] == CLOUD


def test_a_prediction_spills_those_who_would_be_late() -> None:
    setting = setting_of(BURST, kv_tokens=40_016, promise=Promise(0.5, 0.1, 0.99))
    world = ran(setting, named_in("predicted=1,0").made())
    here = [number for number, place in enumerate(world.records.places) if place == 0]
    # Prompts of 400 tokens are read in 40 ms each.
    assert 5 <= len(here) <= 13
    assert all(world.records.ttft_s[number] <= 0.6 for number in here)


def test_who_is_held_is_served_when_there_is_room_or_spilled_when_time_is_up() -> None:
    world = ran(setting_of(BURST, kv_tokens=4016), Held(hold_s=2.5, head=0))
    waits_s = [sent_s - each.at_s for sent_s, each in zip(world.records.sent_s, BURST, strict=True)]
    places = world.records.places
    assert all(wait_s == pytest.approx(2.5) for wait_s, place in zip(waits_s, places, strict=True) if place == CLOUD)
    assert CLOUD in places
    assert any(0.5 < wait_s < 2.5 for wait_s, place in zip(waits_s, places, strict=True) if place == 0)


def test_no_rule_but_local_loses_what_fits_no_engine() -> None:
    setting = setting_of([Arrival(0.0, 20_000, 5), *(Arrival(1.0 + number, 10, 10) for number in range(3))])
    for family in FAMILIES:
        lost = outcome(setting, named_in(family)).unserved_share
        assert lost == (0.25 if family == "local" else 0), family


def test_the_best_setting_is_the_cheapest_that_keeps_the_promise() -> None:
    setting: Setting = setting_of(poisson(300, 12.0), promise=Promise(2.0, 0.03, 0.97))
    best = tuned(setting, named_in("count=1"))
    found = {limit: outcome(setting, named_in(f"count={limit}")) for limit in range(1, 30)}
    kept = [each for each in found.values() if each.is_kept]
    assert 0 < len(kept) < len(found)
    assert outcome(setting, best).usd == pytest.approx(min(each.usd for each in kept), rel=0.02)


@pytest.mark.parametrize("text", ["", "counts=3", "count=x", "count=1,2", "count=-1", "local=1", "thresholds=1,2,3,4"])
def test_what_is_no_policy_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="--policy"):
        named_in(text)


def test_settings_that_are_left_out_are_the_usual_ones() -> None:
    assert str(named_in("thresholds=3")) == "thresholds=3,0.8,0"
    assert str(named_in("local")) == "local"
