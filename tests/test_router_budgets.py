"""[limits] and promises that cannot both hold, refused when stack.toml is read."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from router.spilling.periods import Dollars
from router.tables.limits import Limits
from router.tables.read import load_rules
from tests.test_router_config import TIER, refusal


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (
            "cloud_usd_per_hour = 20.0",
            "cloud_usd_per_hour: 20 dollars an hour never count beside cloud_usd_per_day = 10, ",
        ),
        ("cloud_usd_per_hour = 2\ncloud_usd_per_day = 1", "an hour never count beside cloud_usd_per_day = 1; lower it"),
        ("cloud_usd_per_month = 5", "cloud_usd_per_month: with 5 dollars a month, cloud_usd_per_day = 10, its default"),
        ("cloud_usd_per_day = 9\ncloud_usd_per_month = 5", "cloud_usd_per_day = 9 never counts; lower the day's"),
        (
            "cloud_usd_per_hour = 7\ncloud_usd_per_day = 9\ncloud_usd_per_month = 5",
            "cloud_usd_per_hour: 7 dollars an hour never count beside cloud_usd_per_month = 5",
        ),
        ("cloud_usd_per_month = -1", "[limits]: cloud_usd_per_month: must be greater than or equal to 0"),
        ("cloud_usd_per_hour = nan", "[limits]: cloud_usd_per_hour: "),
        ("cloud_usd_per_hour = true", "[limits]: cloud_usd_per_hour: must be a number"),
        ("cloud_usd_per_day = '5'", "[limits]: cloud_usd_per_day: must be a number"),
        ("reserve_share = 1.0", "[limits]: reserve_share: must be less than 1"),
        ("reserve_share = -0.1", "[limits]: reserve_share: must be greater than or equal to 0"),
        ("reserve_share = '0.1'", "[limits]: reserve_share: must be a number"),
        ("cloud_usd_per_week = 5", "[limits]: unknown key 'cloud_usd_per_week'; did you mean 'cloud_usd_per_"),
    ],
)
def test_budgets_that_say_two_things_or_none_are_refused(tmp_path: Path, limits: str, words: str) -> None:
    assert words in refusal(tmp_path, TIER + f"[limits]\n{limits}\n")


def test_budgets_of_all_three_periods_may_be_given(tmp_path: Path) -> None:
    path = tmp_path / "stack.toml"
    path.write_text(TIER + "[limits]\ncloud_usd_per_hour = 1\ncloud_usd_per_day = 1.0\ncloud_usd_per_month = 30.0\n")
    assert load_rules(path).limits.caps == Dollars(1.0, 1.0, 30.0)
    assert Limits().caps == Dollars(math.inf, 10.0, math.inf)


@pytest.mark.parametrize(
    ("tiers", "limits", "words"),
    [
        (3, "reserve_share = 0.5", "4 tiers use clouds (standard, t0, t1, t2); where each leaves 0.5 of the money to"),
        (10, "", "leaves 0.1, its default, of the money to every tier that gives way after it, nothing is left to the"),
        (4, "reserve_share = 0.25", "Write at most 0.24, or may_spill = false in a tier"),
    ],
)
def test_reserves_that_leave_nothing_to_a_tier_are_refused(tmp_path: Path, tiers: int, limits: str, words: str) -> None:
    named = "".join(f"[tiers.t{at}]\nttft_target_s = 3.0\n" for at in range(tiers))
    message = refusal(tmp_path, TIER + named + f"[limits]\n{limits}\n")
    assert message.startswith("[limits]: reserve_share: ")
    assert words in message


def test_tiers_that_stay_here_need_no_reserve(tmp_path: Path) -> None:
    path = tmp_path / "stack.toml"
    named = "".join(f"[tiers.t{at}]\nttft_target_s = 3.0\nmay_spill = false\n" for at in range(12))
    path.write_text(TIER + named + "[limits]\nreserve_share = 0.5\n")
    assert load_rules(path).limits.reserve_share == 0.5


def test_a_promise_that_nobody_can_keep_is_refused(tmp_path: Path) -> None:
    message = refusal(tmp_path, "[tiers.quick]\nttft_target_s = 0.001\n[limits]\ndefault_tier = 'quick'\n")
    assert "[tiers.quick]: ttft_target_s: no engine and no cloud gives a first token within 0.001 s" in message


@pytest.mark.parametrize(
    ("share", "words"),
    [
        ("0.49", "a promise that is kept for 0.49 of the requests is none; write 0.5 or more, and a longer"),
        ("-1", "a promise that is kept for -1 of the requests is none; write 0.5 or more"),
        ("0.99991", "nobody can keep a promise for 0.99991 of the requests; write 0.9999 at most"),
        ("99", "for 99 of the requests; write 0.9999 at most (it is a part of 1: 0.99 for 99 %)"),
        ("nan", "must be a finite number"),
        ('"0.99"', "must be a number"),
        ("true", "must be a number"),
    ],
)
def test_a_share_for_which_no_promise_can_be_kept_is_refused(tmp_path: Path, share: str, words: str) -> None:
    message = refusal(tmp_path, f"{TIER}promise_share = {share}\n")
    assert message.startswith("[tiers.standard]: promise_share: ")
    assert words in message


@pytest.mark.parametrize("share", [0.5, 0.99, 0.9999])
def test_a_promise_is_kept_for_the_share_that_its_tier_names_or_for_99_percent(tmp_path: Path, share: float) -> None:
    path = tmp_path / "stack.toml"
    path.write_text(f"{TIER}promise_share = {share}\n[tiers.other]\nttft_target_s = 3.0\n")
    tiers = load_rules(path).tiers
    assert (tiers["standard"].promise_share, tiers["other"].promise_share) == (share, 0.99)
