"""A tier that may spill has somewhere to spill to and money for it, or stack.toml is refused."""

from __future__ import annotations

import pytest

from router.gaps import gaps
from router.tables.read import rules_of
from tests.test_gaps import KEYS, LLAMA, PLACES, PRICES, TIERS, found

SPILLS = "[tiers.eager]\nttft_target_s = 1\nmay_spill = true\n"


@pytest.mark.parametrize(
    ("limits", "table", "is_hole"),
    [
        pytest.param("cloud_usd_per_day = 0", "", True, id="a day"),
        pytest.param("cloud_usd_per_hour = 0", "", True, id="an hour"),
        pytest.param("cloud_usd_per_day = 0\ncloud_usd_per_month = 0", "", True, id="a month"),
        pytest.param("cloud_usd_per_day = 0", "off = true\n", False, id="a cloud that is off"),
        pytest.param(
            "cloud_usd_per_day = 0",
            "input_usd_per_mtok = 0\noutput_usd_per_mtok = 0\n",
            False,
            id="a cloud for nothing",
        ),
        pytest.param("cloud_usd_per_day = 0.01", "", False, id="a cent"),
    ],
)
def test_a_budget_of_nothing_is_a_hole_where_a_tier_may_spend(limits: str, table: str, is_hole: bool) -> None:
    said = [
        gap for gap in found("", PLACES + table + f"[limits]\n{limits}\n") if gap.startswith("[limits]: cloud_usd_per")
    ]
    # The tier home never leaves.
    assert [gap.partition("the tier ")[2].split()[0] for gap in said] == (["standard", "away"] if is_hole else [])
    assert all("may_spill = false" in gap and "cloud/deep" in gap for gap in said)


def test_tiers_that_never_leave_need_no_money() -> None:
    still = TIERS.replace("[tiers.standard]", "[tiers.standard]\nmay_spill = false").partition("[tiers.away]")[0]
    limits = "[limits]\ncloud_usd_per_day = 0\n"
    assert gaps(rules_of((still + PLACES + limits).encode(), "stack.toml"), (LLAMA,), PRICES, KEYS) == []


@pytest.mark.parametrize(
    ("task", "places", "words"),
    [
        pytest.param(
            "model = 'llama-8b'", PLACES, 'no cloud serves llama-8b for the task t. Name its twin: twin = "', id="none"
        ),
        pytest.param("model = 'llama-8b'", PLACES.replace("size", "twin = 'deep'\nsize", 1), None, id="a twin"),
        pytest.param(
            "model = 'llama-8b'\nneeds = ['json_schema']",
            PLACES.replace("size", "twin = 'deep'\nsize", 1),
            "no cloud can do what the task t needs in place of llama-8b: cloud/deep has no json_schema",
            id="a twin that cannot",
        ),
        pytest.param(
            "model = 'llama-8b'", PLACES + "[chains.llama-8b]\nfallbacks = ['deepseek-v3']\n", None, id="who stands in"
        ),
        pytest.param("model = 'deepseek-v3'", PLACES, None, id="a model of the cloud"),
        pytest.param("", PLACES, None, id="any model"),
    ],
)
def test_a_tier_that_says_it_may_spill_needs_a_twin_for_each_task(task: str, places: str, words: str | None) -> None:
    text = SPILLS + f"[tasks.t]\ntier = 'eager'\n{task}\n"
    said = found(text, places)
    assert (said == []) if words is None else [gap for gap in said if words in gap] == said != []
    assert all(gap.startswith("[tiers.eager]: may_spill: ") and "may_spill = false" in gap for gap in said)
    # One that leaves it open spills where it can.
    assert found(text.replace("may_spill = true", ""), places) == []


def test_presets_that_are_not_active_are_judged_too() -> None:
    text = (
        SPILLS + "[presets.a.tasks]\nt = 'deepseek-v3'\n[presets.b.tasks]\nt = 'llama-8b'\n[tasks.t]\ntier = 'eager'\n"
    )
    (gap,) = found("active_preset = 'a'\n" + text)
    assert "no cloud serves llama-8b" in gap


def test_a_tier_that_may_spill_names_a_cloud() -> None:
    (gap,) = found(SPILLS + "order = ['local']\n")
    assert gap.startswith("[tiers.eager]: may_spill: its order (local) names no cloud to spill to")
