"""Before engines stands a gate: for whom, who else could serve, and what follows from what it says."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from router.ask import Ask
from router.health.verdict import Verdict
from router.routing.fleet import Fleet, Target
from router.routing.gate import Decision, let_in, spilled, turned_away
from router.routing.passing import Money
from router.routing.policy import choose
from tests.specimens import CLOUD, LOCAL, RULES, ask, cloud

RICH, POOR = Money(left_usd=10.0), Money(left_usd=0.0)
OTHER = replace(LOCAL, name="local/other", models=frozenset({"other"}))


def test_an_engine_comes_before_the_cloud_behind_a_gate_that_knows_who_may_serve_instead() -> None:
    second = replace(LOCAL, name="local/second")
    gate = choose(ask(), Fleet((LOCAL, second, OTHER, CLOUD)), RULES, RICH).gate
    assert gate is not None
    assert [each.name for each in gate.engines] == ["local/smoke", "local/second", "local/other"]
    assert gate.twin is CLOUD


@pytest.mark.parametrize(
    ("asked", "targets", "money"),
    [
        pytest.param(ask(tier="homely"), (LOCAL, CLOUD), RICH, id="its tier may not spill"),
        pytest.param(ask(), (LOCAL, CLOUD), POOR, id="there is no money for it"),
        pytest.param(ask(), (LOCAL, cloud(health=Verdict("429"))), RICH, id="its cloud rests"),
        pytest.param(ask(), (LOCAL,), RICH, id="there is no cloud"),
    ],
)
def test_nobody_serves_instead(asked: Ask, targets: tuple[Target, ...], money: Money) -> None:
    gate = choose(asked, Fleet(targets), RULES, money).gate
    assert gate is not None
    assert gate.twin is None


def test_a_cloud_that_goes_first_has_no_gate() -> None:
    assert choose(ask(tier="premium"), Fleet((LOCAL, CLOUD)), RULES, RICH).gate is None


def decided(asked: Ask, *targets: Target, money: Money = RICH) -> Decision:
    return choose(asked, Fleet(targets), RULES, money)


def test_whoever_is_let_in_goes_to_that_engine_first() -> None:
    second = replace(LOCAL, name="local/second")
    decision = let_in(decided(ask(), LOCAL, second, CLOUD), second, is_late=False)
    assert [each.name for each in decision.targets] == ["local/second", "local/smoke", "cloud/nano"]
    assert (decision.reason, decision.gate) == ("tier", None)


def test_whoever_is_let_in_late_for_want_of_money_says_so() -> None:
    assert let_in(decided(ask(), LOCAL, CLOUD, money=POOR), LOCAL, is_late=True).reason == "budget"
    assert let_in(decided(ask(), LOCAL, CLOUD, money=POOR), LOCAL, is_late=False).reason == "tier"


def test_whoever_is_late_though_a_cloud_would_take_it_is_where_its_tier_says() -> None:
    assert let_in(decided(ask(), LOCAL, CLOUD), LOCAL, is_late=True).reason == "tier"


def test_whoever_spills_comes_back_if_the_cloud_fails() -> None:
    decision = spilled(decided(ask(), LOCAL, CLOUD), "spill:kv")
    assert [each.name for each in decision.targets] == ["cloud/nano", "local/smoke"]
    assert (decision.reason, decision.gate) == ("spill:kv", None)


def test_whoever_waits_too_long_hears_for_how_long_it_would_be() -> None:
    refusal = turned_away(decided(ask(tier="bulk"), LOCAL, CLOUD), wait_s=72.0, most_s=60.0).refusal
    assert refusal is not None
    assert (refusal.status, refusal.retry_after_s) == (429, 12.0)
    assert "about 72 s" in refusal.message


def test_a_cloud_that_rests_is_better_than_a_refusal() -> None:
    decision = turned_away(decided(ask(), LOCAL, cloud(health=Verdict("429"))), wait_s=72.0, most_s=60.0)
    assert (decision.refusal, decision.targets[0].name) == (None, "cloud/nano")
