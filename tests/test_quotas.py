"""What the rest of the router asks of providers' limits: rooms for the Fleet, permits for attempts."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from router.abroad import wait_s
from router.errand import Errand
from router.errors import TargetUnavailable
from router.quotas.learned import Told
from router.quotas.permit import Permit
from router.quotas.quotas import Quotas
from router.quotas.room import Room
from router.registry import Deployment, Price, Quota
from tests.specimens import ask, cloud

KEYS = {"KEY_ONE": "sk-one", "KEY_TWO": "sk-two", "KEY_SAME": "sk-one"}
THERE = cloud(name="cloud/big")
LONGEST_S = 20.0


def deployment(**changes: Any) -> Deployment:
    big = Deployment(
        name="big",
        provider="stand-in",
        kind="openai",
        model="openai/stand-in",
        serves=frozenset({"tiny"}),
        context_tokens=8192,
        capabilities=frozenset({"chat"}),
        price=Price(1.0, 2.0),
        key_envs=("KEY_ONE",),
        pool=Quota(requests_per_day=2),
    )
    return replace(big, **changes)


@pytest.fixture
def quotas(tmp_path: Path) -> Iterator[Quotas]:
    made = Quotas(tmp_path / "quotas", KEYS)
    yield made
    made.close()


def take(quotas: Quotas, wait_s: float = 0.0, **changes: Any) -> Permit:
    """At once. Raises TargetUnavailable, or AssertionError if it would wait."""
    results: list[Permit | TargetUnavailable] = []

    async def one() -> None:
        try:
            results.append(await quotas.take(ask(**changes), THERE, 2.0, wait_s))
        except TargetUnavailable as failure:
            results.append(failure)

    Errand(one()).run()
    assert results, "it waits"
    if isinstance(results[0], TargetUnavailable):
        raise results[0]
    return results[0]


def test_who_finds_no_room_hears_why_and_when_there_will_be_some(quotas: Quotas) -> None:
    quotas.obey([deployment()])
    take(quotas)
    take(quotas)
    with pytest.raises(TargetUnavailable) as caught:
        take(quotas)
    refused = caught.value
    assert (refused.target, refused.cause) == ("cloud/big", "quota")
    assert refused.saturated
    assert not refused.was_reached
    assert re.fullmatch(r"room in \d+\.\d s: requests_per_day \(2\)", refused.message)
    assert refused.retry_after_s is not None
    assert 0 < refused.retry_after_s <= 90_000


def test_what_never_fits_names_no_time(quotas: Quotas) -> None:
    quotas.obey([deployment(pool=Quota(tokens_per_minute=10))])
    with pytest.raises(TargetUnavailable) as caught:
        take(quotas, prompt_bytes=4000)
    assert caught.value.retry_after_s is None
    assert "more than tokens_per_minute (10) ever allows" in caught.value.message


@pytest.mark.parametrize("those", [[], [deployment(key_envs=("NOT_SET",))], [deployment(name="other")]])
def test_a_cloud_that_no_table_names_or_no_key_opens_is_off(quotas: Quotas, those: list[Deployment]) -> None:
    quotas.obey(those)
    assert quotas.rooms() == {}
    with pytest.raises(TargetUnavailable) as caught:
        take(quotas)
    assert caught.value.cause == "off"


def test_keys_of_a_pool_are_used_in_turn_and_two_variables_with_one_key_are_one(quotas: Quotas) -> None:
    quotas.obey([deployment(key_envs=("KEY_ONE", "KEY_TWO", "KEY_SAME"))])
    used = [take(quotas).key.env for _ in range(4)]
    assert sorted(used) == ["KEY_ONE", "KEY_ONE", "KEY_TWO", "KEY_TWO"]
    with pytest.raises(TargetUnavailable):
        take(quotas)


def test_no_file_holds_a_key(quotas: Quotas, tmp_path: Path) -> None:
    quotas.obey([deployment()])
    take(quotas)
    (file,) = (tmp_path / "quotas").iterdir()
    assert b"sk-one" not in file.read_bytes()


def test_a_request_that_failed_before_it_was_sent_takes_nothing(quotas: Quotas) -> None:
    quotas.obey([deployment()])
    for _ in range(5):
        quotas.give_back(take(quotas), was_reached=False)
    take(quotas)
    quotas.give_back(take(quotas), was_reached=True)
    with pytest.raises(TargetUnavailable):
        take(quotas)


def test_rooms_are_those_of_targets_with_limits_or_without_a_price(quotas: Quotas) -> None:
    paid = deployment(name="paid", provider="other", pool=Quota())
    free = deployment(name="free", provider="third", pool=Quota(), price=Price(0.0, 0.0))
    quotas.obey([deployment(), paid, free])
    take(quotas)
    assert quotas.rooms() == {"cloud/big": Room(0.0, "", 0.5), "cloud/free": Room(is_free=True)}
    assert quotas.rooms() is quotas.rooms()


async def test_a_decision_is_not_kept_waiting_for_what_has_changed_but_the_next_one_knows_it(quotas: Quotas) -> None:
    quotas.obey([deployment()])
    before = quotas.rooms()
    permit = take(quotas)
    quotas.learn(permit, Told({}, True, 500.0, False, "refused: slow down"))
    async with asyncio.timeout(LONGEST_S):
        while quotas.rooms() is before:
            await asyncio.sleep(0)
    room = quotas.rooms()["cloud/big"]
    assert room.ready_in_s == pytest.approx(500, abs=5)
    assert (room.why, room.left_share) == ("refused: slow down", 0.0)


async def test_who_looks_knows_at_once_what_has_changed(quotas: Quotas) -> None:
    quotas.obey([deployment()])
    quotas.rooms()
    quotas.learn(take(quotas), Told({}, True, 500.0, False, "refused: slow down"))
    quotas.look()
    assert quotas.rooms()["cloud/big"].ready_in_s == pytest.approx(500, abs=5)


def test_a_limit_that_is_edited_counts_at_once_and_what_was_used_stays_used(quotas: Quotas) -> None:
    quotas.obey([deployment()])
    take(quotas)
    take(quotas)
    quotas.obey([deployment(pool=Quota(requests_per_day=3))])
    take(quotas)
    with pytest.raises(TargetUnavailable):
        take(quotas)


async def test_who_waits_for_a_provider_that_an_edit_takes_away_is_sent_on_and_what_was_used_stays_used(
    quotas: Quotas,
) -> None:
    quotas.obey([deployment()])
    take(quotas)
    take(quotas)
    failures: list[TargetUnavailable] = []

    async def one() -> None:
        try:
            await quotas.take(ask(), THERE, 2.0, 1e9)
        except TargetUnavailable as failure:
            failures.append(failure)

    errand = Errand(one())
    errand.run()
    assert not errand.is_over
    quotas.obey([])
    async with asyncio.timeout(LONGEST_S):
        while not errand.is_over:
            await asyncio.sleep(0.001)
    assert (failures[0].cause, failures[0].message) == ("off", "an edit of stack.toml has taken it away")
    quotas.obey([deployment()])
    with pytest.raises(TargetUnavailable):
        take(quotas)


def test_another_process_with_the_same_home_sees_what_was_used(quotas: Quotas, tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from router.quotas.quotas import Quotas;"
        "from tests.test_quotas import KEYS, deployment, take;"
        "quotas = Quotas(Path(sys.argv[1]), KEYS); quotas.obey([deployment()]); take(quotas)"
    )
    quotas.obey([deployment()])
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "quotas")], check=True, timeout=60)
    take(quotas)
    with pytest.raises(TargetUnavailable):
        take(quotas)


@pytest.mark.parametrize(
    ("ready_in_s", "promise_left_s", "patience_s", "expected_s"),
    [
        # Room now, or within the promise: it waits as long as the promise holds, and then goes to the next.
        (0.0, 2.0, 60.0, 2.0),
        (1.5, 2.0, 60.0, 2.0),
        (0.0, 2.0, 1.0, 1.0),
        # The promise is broken already: only who has room is asked.
        (0.0, -1.0, 60.0, 0.0),
        # It was chosen though its turn comes later than the promise: nobody else comes sooner.
        (20.0, 2.0, 60.0, 26.0),
        (50.0, 2.0, 60.0, 60.0),
    ],
)
def test_how_long_a_request_waits_for_its_turn(
    ready_in_s: float, promise_left_s: float, patience_s: float, expected_s: float
) -> None:
    target = cloud(room=Room(ready_in_s))
    assert wait_s(target, promise_left_s, patience_s) == pytest.approx(expected_s)
