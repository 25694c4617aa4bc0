"""Splits: who is in which arm, and that nobody changes arms without being told to."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.comparing.share import is_among
from router.comparing.split import Arm, split_of
from router.tables.read import parse_rules
from router.tables.rules import Rules
from tests.specimens import ask

TABLES = {"tiers": {"standard": {"ttft_target_s": 2.0}}, "tasks": {"coding": {"tier": "standard"}}}
TENANTS = [f"team-{number}" for number in range(2000)]
# What a part of 20 percent of 2000 names misses by chance, six times over.
CHANCE = 6 * (2000 * 0.2 * 0.8) ** 0.5
NOW = 1_780_000_000.0


def split(**splits: dict[str, Any]) -> Rules:
    return parse_rules(TABLES | {"splits": splits}, "test.toml")


def test_a_part_has_the_size_that_it_says() -> None:
    assert abs(sum(is_among(20, "new", name) for name in TENANTS) - 400) < CHANCE
    assert all(is_among(100, "new", name) for name in TENANTS)


@given(name=st.text(), less=st.floats(0.01, 100), more=st.floats(0.01, 100))
def test_who_is_in_a_part_stays_in_it_when_it_grows(name: str, less: float, more: float) -> None:
    less, more = sorted((less, more))
    assert is_among(more, "new", name) or not is_among(less, "new", name)


def test_two_experiments_choose_independently() -> None:
    both = sum(is_among(20, "one", name) and is_among(20, "two", name) for name in TENANTS)
    # 4 percent of all, where the same hash for both would make it 20.
    assert abs(both - 80) < CHANCE


def test_a_part_is_the_same_in_every_process_and_after_every_restart() -> None:
    # Python's own hash is another one in each process.
    assert [number for number in range(12) if is_among(50, "qwen", f"team-{number}")] == [3, 4, 5, 6, 9, 11]


def test_a_tenant_keeps_its_arm_and_both_arms_are_named() -> None:
    rules = split(qwen={"percent": 50, "model": "qwen-32b"})
    arms = {split_of(ask(tenant=name, request_id=name * 2), rules, NOW) for name in TENANTS}
    assert arms == {Arm("qwen/trial", "qwen-32b"), Arm("qwen/control")}
    for name in TENANTS[:20]:
        again = {split_of(ask(tenant=name, request_id=str(number)), rules, NOW) for number in range(20)}
        assert len(again) == 1


def test_requests_without_a_tenant_are_split_one_by_one() -> None:
    rules = split(qwen={"percent": 20, "model": "qwen-32b"})
    asks = [ask(request_id=name) for name in TENANTS]
    trials = sum(split_of(each, rules, NOW) == Arm("qwen/trial", "qwen-32b") for each in asks)
    assert abs(trials - 400) < CHANCE


@pytest.mark.parametrize(
    ("condition", "asked", "label"),
    [
        pytest.param({}, {}, "new/trial", id="no condition"),
        pytest.param({"tasks": ["coding"]}, {"task": "coding"}, "new/trial", id="its task"),
        pytest.param({"tasks": ["coding"]}, {}, None, id="no task"),
        pytest.param({"tenants": ["team-1"]}, {"tenant": "team-2"}, None, id="another tenant"),
        pytest.param({}, {"how": "pinned", "model": "smoke"}, None, id="a request that names its model"),
        pytest.param(
            {"models": ["smoke"]}, {"how": "pinned", "model": "smoke"}, "new/trial", id="a split of that model"
        ),
        pytest.param({"models": ["smoke"]}, {"model": "other"}, None, id="a split of another model"),
        pytest.param({"prompt_tokens_from": 1000}, {"prompt_bytes": 100}, None, id="too short"),
    ],
)
def test_only_those_are_split_for_whom_the_condition_holds(
    condition: dict[str, Any], asked: dict[str, Any], label: str | None
) -> None:
    arm = split_of(ask(**asked), split(new={"percent": 100, "model": "next", **condition}), NOW)
    assert (arm and arm.label) == label


def test_the_first_split_that_holds_counts() -> None:
    rules = split(
        one={"percent": 100, "model": "a", "tasks": ["coding"]},
        two={"percent": 100, "model": "b"},
    )
    assert split_of(ask(task="coding"), rules, NOW) == Arm("one/trial", "a")
    assert split_of(ask(), rules, NOW) == Arm("two/trial", "b")
