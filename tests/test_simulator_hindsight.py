"""What could be reached with hindsight, and what nobody can reach."""

from __future__ import annotations

import math
from dataclasses import replace
from random import Random

import numpy as np
import pytest

from benchmarks.simulator.arrival import Arrival
from benchmarks.simulator.bound import charges, least_usd
from benchmarks.simulator.cloud_times import cloud_in
from benchmarks.simulator.engine import Engine, Request
from benchmarks.simulator.foresight import Course
from benchmarks.simulator.hindsight import Effort, best_plan, outcome
from benchmarks.simulator.named import kind_of
from benchmarks.simulator.outcome import CLOUD, Promise, Tally
from benchmarks.simulator.plan import Planned
from benchmarks.simulator.policies.named import named_in
from benchmarks.simulator.setting import Setting
from benchmarks.simulator.trial import outcome as outcome_of
from benchmarks.simulator.world import World

KIND = kind_of("rtx4090-llama3.1-8b")
QUICK = Effort(sweeps=2, evaluations=3, repairs=20)


def crowd(rate: float, lasts_s: float = 30.0, seed: int = 1) -> list[Arrival]:
    rng = Random(seed)
    at_s, found = 0.0, []
    while at_s < lasts_s:
        found.append(Arrival(at_s, rng.choice((200, 1000, 3000)), rng.choice((30, 150, 400))))
        at_s += rng.expovariate(rate)
    return found


def setting(rate: float, engines: int = 1) -> Setting:
    return Setting(crowd(rate), KIND, engines, cloud_in("0.15/0.60,0.3,0.5"), Promise(share=0.95))


@pytest.mark.parametrize("engines", [1, 2])
def test_the_world_does_what_a_plan_foresaw(engines: int) -> None:
    busy = setting(5.0 * engines, engines)
    found = best_plan(busy, QUICK)
    world = World(busy, Planned(found.plan))
    world.run()
    assert 0 < found.usd < busy.usd.sum()
    paid = float(busy.usd[np.asarray(world.records.places) == CLOUD].sum())
    assert paid == pytest.approx(found.usd)
    assert world.missed == pytest.approx(found.missed, abs=3)


def test_whoever_was_foreseen_gets_tokens_at_the_same_moments() -> None:
    quiet = setting(2.0)
    course = Course(quiet, latest_s=20.0)
    course.end(course.beginning())
    world = World(quiet, Planned(course.plan()))
    world.run()
    tally = Tally(quiet.arrivals, world.records, quiet.promise)
    assert set(course.plan().places) == {0}
    assert sum(course.missed) == (~tally.kept).sum()


def test_hindsight_pays_less_than_a_count_that_was_chosen_for_it_and_no_less_than_can_be() -> None:
    busy = setting(5.0)
    known = outcome(busy, QUICK)
    counts = [outcome_of(busy, named_in(f"count={most}")) for most in (8, 12, 16, 20, 24, 32)]
    cheapest = min((each.usd for each in counts if each.is_kept), default=busy.usd.sum())
    assert known.is_kept
    assert known.usd < cheapest
    assert least_usd(busy) <= known.usd


def test_nothing_is_spilled_where_engines_keep_the_promise() -> None:
    idle = setting(0.5)
    assert outcome(idle, QUICK).usd == 0
    assert least_usd(idle) == 0


def test_nobody_is_held_longer_than_asked() -> None:
    busy = setting(6.0)
    found = best_plan(busy, replace(QUICK, latest_s=4.0))
    held_s = [sent_s - each.at_s for sent_s, each in zip(found.plan.sent_s, busy.arrivals, strict=True)]
    assert 0 < max(held_s) < 4.5


def test_an_engine_takes_at_least_what_is_charged() -> None:
    """The bound's first half, on the engine itself: a crowd at once, whose charges must not exceed its time."""
    everybody = [each._replace(at_s=0.0) for each in crowd(5.0)]
    for batched in (512, 2048):
        kind = replace(KIND, max_batched_tokens=batched)
        engine = Engine(kind.steps, kind.kv_tokens, max_batched_tokens=batched)
        for number, each in enumerate(everybody):
            engine.add(Request(number, 0.0, each.prompt_tokens, each.output_tokens), 0.0)
        while not engine.is_idle:
            engine.advance(math.inf)
        prompt_s, answer_s = charges(
            kind,
            np.array([each.prompt_tokens for each in everybody]),
            np.array([each.output_tokens for each in everybody]),
        )
        charged_s = float((prompt_s + answer_s).sum())
        assert 0.6 * engine.busy_s < charged_s < engine.busy_s


def test_the_bound_of_more_misses_or_later_answers_is_lower() -> None:
    busy = setting(20.0)
    strict = least_usd(replace(busy, promise=Promise(share=1.0)))
    assert 0 < least_usd(busy) < strict < busy.usd.sum()
    assert least_usd(busy) <= least_usd(busy, latest_s=5.0)


def test_engines_with_a_prefix_cache_are_refused_with_a_sentence() -> None:
    cached = replace(setting(1.0), engine=replace(KIND, prefix_cache=True))
    with pytest.raises(ValueError, match="prefix cache"):
        best_plan(cached, QUICK)
    with pytest.raises(ValueError, match="prefix cache"):
        least_usd(cached)
