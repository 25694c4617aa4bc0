"""The simulator's world: exact between engines, the same cloud for everybody, and nobody forgotten."""

from __future__ import annotations

import math

import pytest

from benchmarks.simulator.arrival import Arrival
from benchmarks.simulator.outcome import CLOUD, NOWHERE, Promise
from benchmarks.simulator.policies.named import named_in
from benchmarks.simulator.policies.plain import Cloud, Local
from benchmarks.simulator.sequence import Request
from benchmarks.simulator.trial import counted, kept, outcome
from benchmarks.simulator.world import World
from tests.worlds import Sent, poisson, ran, setting_of


def test_one_request_alone_takes_its_prompt_and_then_a_step_for_each_token() -> None:
    world = ran(setting_of([Arrival(0.0, 100, 11), Arrival(9.0, 1, 1)]), Local())
    assert world.records.ttft_s[0] == pytest.approx(0.020)
    assert world.records.tpot_s[0] == pytest.approx(0.0101)
    assert world.records.tpot_s[1] == 0.0


def test_engines_beside_each_other_run_as_each_would_alone() -> None:
    arrivals = poisson(400, 12.0)
    both = ran(setting_of(arrivals, engines=2), Sent(lambda request: request.number % 2))
    for engine in (0, 1):
        alone = ran(setting_of(arrivals[engine::2]), Local())
        assert list(both.records.ttft_s[engine::2]) == pytest.approx(list(alone.records.ttft_s))
        assert list(both.records.tpot_s[engine::2]) == pytest.approx(list(alone.records.tpot_s))


def test_looking_at_engines_changes_nothing() -> None:
    setting = setting_of(poisson(300, 8.0), engines=2)
    blind, looking = (ran(setting, Sent(lambda each: each.number % 2, looks=looks)) for looks in (False, True))
    assert list(looking.records.ttft_s) == pytest.approx(list(blind.records.ttft_s))


def test_a_request_meets_the_same_cloud_whatever_else_is_spilled() -> None:
    setting = setting_of(poisson(200, 5.0))
    every, third = ran(setting, Cloud()), ran(setting, Sent(lambda each: -1 if each.number % 3 == 0 else 0))
    assert list(third.records.ttft_s[::3]) == pytest.approx(list(every.records.ttft_s[::3]))


def test_a_silent_cloud_may_be_called_again_and_the_prompt_of_who_is_not_heard_is_paid_for() -> None:
    arrivals = [Arrival(float(number), 1000, 10) for number in range(200)]
    setting = setting_of(arrivals)

    class Twice(Sent):
        def arrived(self, request: Request, now_s: float) -> None:
            self.world.cloud(request, 0.8)

    once, twice = ran(setting, Sent(lambda _: -1)), ran(setting, Twice(lambda _: -1))
    pairs = list(zip(once.records.ttft_s, twice.records.ttft_s, twice.records.again_usd, strict=True))
    assert all((second <= first, paid > 0) == (True, first > 0.8) for first, second, paid in pairs)
    assert any(second < first for first, second, _ in pairs)
    assert max(once.records.ttft_s) > 2.0 > max(twice.records.ttft_s)
    prompts = sum(paid > 0 for _, _, paid in pairs)
    assert sum(twice.records.again_usd) == pytest.approx(prompts * 1000 * 0.15e-6)
    found, plain = (counted(each, "", 0.0) for each in (twice, once))
    assert found.usd - plain.usd == pytest.approx(sum(twice.records.again_usd))
    assert found.again_share == pytest.approx(prompts / 200)


def test_the_cloud_is_as_slow_as_it_was_said_to_be() -> None:
    world = ran(setting_of(poisson(2000, 100.0)), Cloud())
    ttfts_s = sorted(world.records.ttft_s)
    assert ttfts_s[1000] == pytest.approx(0.6, rel=0.08)
    assert ttfts_s[1900] == pytest.approx(1.5, rel=0.12)
    assert max(world.records.tpot_s) == pytest.approx(0.015)


def test_first_and_last_tokens_of_every_place_are_heard_once() -> None:
    policy = Sent(lambda each: each.number % 3 - 1)
    ran(setting_of(poisson(90, 20.0), engines=2), policy)
    places = {number: number % 3 - 1 if number % 3 else CLOUD for number in range(90)}
    told = [(kind, number, place) for number, place in places.items() for kind in ("first", "end")]
    assert sorted(policy.heard) == sorted(told)


def test_a_policy_acts_when_it_asked_to() -> None:
    class Asking(Sent):
        def arrived(self, request: object, now_s: float) -> None:
            self.world.timer(now_s + 5.5)

    policy = Asking(lambda _: None)
    ran(setting_of([Arrival(1.0, 10, 10)]), policy)
    assert policy.acted_s == [1.0, 6.5]


def test_what_fits_no_engine_is_refused_and_missed() -> None:
    world = ran(setting_of([Arrival(0.0, 10_000, 17), Arrival(1.0, 10, 10)]), Local())
    assert math.isnan(world.records.ttft_s[0])
    assert world.missed == 1


def test_who_is_held_for_ever_was_never_served() -> None:
    setting = setting_of(poisson(10, 1.0))
    world = ran(setting, Sent(lambda each: 0 if each.number else None))
    found = counted(world, "holds one", 0.0)
    assert world.records.places[0] == NOWHERE
    assert found.unserved_share == pytest.approx(0.1)
    assert not found.is_kept


def test_a_run_is_left_when_too_many_have_missed() -> None:
    setting = setting_of(poisson(500, 100.0), promise=Promise(0.05, 0.1, 0.9))
    keeps, world = kept(setting, Local())
    assert not keeps
    assert world.missed == setting.missed_most + 1


def test_two_runs_are_the_same_to_the_last_digit() -> None:
    setting = setting_of(poisson(200, 10.0), engines=2)
    first, second = (World(setting, Sent(lambda each: each.number % 3 - 1)) for _ in range(2))
    assert first.run()
    assert second.run()
    assert first.records.ttft_s.tobytes() == second.records.ttft_s.tobytes()


def test_every_miss_has_one_cause_and_money_counts_what_was_spilled() -> None:
    setting = setting_of(poisson(400, 15.0), promise=Promise(0.5, 0.02, 0.99))
    found = outcome(setting, named_in("count=6"))
    causes = found.cloud_late_share + found.ttft_here_share + found.tpot_here_share + found.unserved_share
    assert found.tpot_here_share > 0
    assert found.cloud_late_share > 0
    assert causes == pytest.approx(1 - found.kept_share)
    assert 0 < found.spilled_share < 1
    assert found.all_cloud_usd == pytest.approx(
        sum(each.prompt_tokens * 0.15e-6 + each.output_tokens * 0.60e-6 for each in setting.arrivals)
    )
    assert outcome(setting, named_in("cloud")).bill_share == pytest.approx(1)


def test_the_worst_minutes_are_told_where_there_are_enough_requests_to_tell() -> None:
    arrivals = [Arrival(number * 1.0, 10, 2) for number in range(1200)]
    # The last hundred seconds of the first six hundred are not served.
    world = ran(setting_of(arrivals), Sent(lambda each: None if 500 <= each.number < 600 else 0))
    assert counted(world, "", 0.0).worst_share == pytest.approx(200 / 300)
    assert counted(ran(setting_of(arrivals[:200]), Local()), "", 0.0).worst_share is None
