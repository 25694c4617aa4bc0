"""Shadows, chosen: which requests are copied, what the copy may do, and when it gives way."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from router.comparing.shadow import in_the_way, shadows_of
from router.comparing.slots import Slots
from router.quotas.room import Room
from router.routing.fleet import Target
from router.routing.terms import terms_of
from router.tables.read import parse_rules
from router.tables.rules import Rules
from tests.specimens import IDLE, RULES, ask, busy, cloud, local

TABLES = {"tiers": {"standard": {"ttft_target_s": 2.0}}, "tasks": {"coding": {"tier": "standard"}}}
NOW = 1_780_000_000.0


def shadow(**shadows: dict[str, Any]) -> Rules:
    return parse_rules(TABLES | {"shadows": shadows}, "test.toml")


ALL = shadow(new={"percent": 100, "model": "next"})


def test_a_part_of_the_requests_is_copied() -> None:
    rules = shadow(new={"percent": 5, "model": "next"})
    asks = [ask(request_id=f"req-{number}") for number in range(4000)]
    copied = [each for each in asks if list(shadows_of(each, rules, NOW))]
    assert 100 < len(copied) < 300
    # The same ones again: whoever looks at one answer finds its copy under the same name.
    assert [each for each in asks if list(shadows_of(each, rules, NOW))] == copied


def test_a_copy_asks_one_model_the_same_under_a_name_of_its_own() -> None:
    original = ask(model="smoke", stand_ins=("other",), task="coding", tenant="team", trace=(("traceparent", "00-1"),))
    (copy,) = shadows_of(original, ALL, NOW)
    assert (copy.model, copy.stand_ins, copy.size) == ("next", (), None)
    assert (copy.shadow_of, copy.arm, copy.how) == ("req-1", "new/trial", "shadow:new")
    assert copy.request_id not in ("", original.request_id)
    assert copy.trace == ()
    assert (copy.raw, copy.stream, copy.task, copy.tenant) == (original.raw, original.stream, "coding", "team")


@pytest.mark.parametrize("kept", [{"local_only": True}, {"max_usd": 0.5}, {"deadline_s": 3.0}])
def test_what_the_client_said_of_privacy_money_and_time_holds_for_the_copy(kept: dict[str, Any]) -> None:
    (copy,) = shadows_of(ask(**kept), ALL, NOW)
    assert {name: getattr(copy, name) for name in kept} == kept


def test_each_shadow_has_a_copy_of_its_own_and_a_copy_has_none() -> None:
    rules = shadow(one={"percent": 100, "model": "a"}, two={"percent": 100, "model": "b"})
    copies = list(shadows_of(ask(), rules, NOW))
    assert [(copy.arm, copy.model) for copy in copies] == [("one/trial", "a"), ("two/trial", "b")]
    assert len({copy.request_id for copy in copies}) == 2
    assert list(shadows_of(copies[0], rules, NOW)) == []


def test_only_requests_for_which_the_condition_holds_are_copied() -> None:
    rules = shadow(new={"percent": 100, "model": "next", "tasks": ["coding"]})
    assert list(shadows_of(ask(), rules, NOW)) == []
    assert len(list(shadows_of(ask(task="coding"), rules, NOW))) == 1


@pytest.mark.parametrize(
    ("target", "why"),
    [
        pytest.param(local(), None, id="an idle engine"),
        pytest.param(busy(unstarted_tokens=2000), None, id="an engine with a little to do"),
        # 4000 tokens a second until measured, and a promise of 2 s.
        pytest.param(busy(unstarted_tokens=5000), "spill:ttft", id="an engine past half of the promise"),
        pytest.param(local(load=replace(IDLE, kv_used_fraction=0.85)), "spill:kv", id="an engine whose memory is full"),
        pytest.param(local(stale=True), "spill:queue", id="an engine that nobody has heard of"),
        pytest.param(cloud(), None, id="a cloud"),
        pytest.param(cloud(room=Room(4.0, "requests per minute")), "requests per minute", id="a cloud without room"),
    ],
)
def test_a_copy_gives_way_to_requests_that_somebody_waits_for(target: Target, why: str | None) -> None:
    assert in_the_way(ask(), target, terms_of(ask(), RULES, 0.0)) == why


def test_so_many_run_at_once_and_no_more() -> None:
    slots = Slots(2)
    assert [slots.take() for _ in range(3)] == [True, True, False]
    slots.give_back()
    assert [slots.take() for _ in range(2)] == [True, False]
