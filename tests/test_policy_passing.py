"""Who is passed over for a while, and for whom: health that comes back bit by bit, limits of providers, strategies."""

from __future__ import annotations

import math
from typing import Any

import pytest
from msgspec.structs import replace

from router.ask import Ask
from router.health.verdict import Verdict
from router.quotas.room import Room
from router.routing.affinity import Affinity
from router.routing.fleet import Fleet, InFlight, Target
from router.routing.gate import Decision
from router.routing.policy import choose
from router.routing.ranking import Past
from router.tables.read import parse_rules
from router.tables.rules import Rules
from tests.gates import through
from tests.specimens import CLOUD, LOCAL, RULES, ask, busy
from tests.test_policy import RICH, names

PREMIUM = ask(tier="premium")
AIRY = ask(tier="airy")
LATE = busy(promised_tokens=20_000)


def cloud(name: str = "nano", **changes: Any) -> Target:
    return replace(CLOUD, name=f"cloud/{name}", **changes)


def decide(asked: Ask, *targets: Target, rules: Rules = RULES, past: Past | None = None) -> Decision:
    return through(choose(asked, Fleet(targets), rules, RICH, past or Past()))


def full(ready_in_s: float) -> Room:
    return Room(ready_in_s, "30 requests per minute", 0.0)


@pytest.mark.parametrize(
    ("asked", "targets", "order", "reason"),
    [
        pytest.param(PREMIUM, [LOCAL, cloud()], "cloud/nano local/smoke", "tier", id="there is room"),
        pytest.param(
            PREMIUM, [LOCAL, cloud(room=full(0.5))], "local/smoke cloud/nano", "fallback:quota", id="others can now"
        ),
        pytest.param(
            PREMIUM,
            [LATE, cloud(room=full(0.5))],
            "cloud/nano local/smoke",
            "tier",
            id="a short wait keeps the promise",
        ),
        pytest.param(
            PREMIUM, [LATE, cloud(room=full(5.0))], "local/smoke cloud/nano", "fallback:quota", id="a long one does not"
        ),
        pytest.param(
            ask(), [LATE, cloud(room=full(1.5))], "cloud/nano local/smoke", "spill:kv", id="a spill may wait a little"
        ),
        pytest.param(
            ask(), [LATE, cloud(room=full(5.0))], "local/smoke cloud/nano", "fallback:quota", id="and not for long"
        ),
        pytest.param(
            AIRY,
            [cloud("a", room=full(9.0)), cloud("b", room=full(4.0)), cloud("c", room=full(1.5))],
            "cloud/c cloud/b cloud/a",
            "tier",
            id="all are full: who has room first",
        ),
        pytest.param(
            AIRY,
            [cloud("a", room=full(9.0)), cloud("b", health=Verdict("500"))],
            "cloud/a cloud/b",
            "tier",
            id="who failed of late comes last",
        ),
    ],
)
def test_whoever_has_no_room_now_goes_behind_those_who_can(
    asked: Ask, targets: list[Target], order: str, reason: str
) -> None:
    decision = decide(asked, *targets)
    assert (" ".join(names(decision)), decision.reason) == (order, reason)


def test_limits_that_will_never_let_a_request_in_are_no_place_for_it() -> None:
    never = cloud(room=Room(math.inf, "100 tokens per minute", 1.0))
    assert names(decide(PREMIUM, LOCAL, never)) == ["local/smoke"]
    error = decide(AIRY, never).refusal
    assert error is not None
    assert (error.status, error.retry_after_s) == (429, None)
    assert "100 tokens per minute" in error.message


def requests(count: int, **changes: Any) -> list[Ask]:
    return [ask(request_id=f"req-{number}", **changes) for number in range(count)]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_a_target_that_comes_back_gets_its_share_of_requests(share: float) -> None:
    back = cloud(health=Verdict(share=share, was="503"))
    decisions = [decide(each, LOCAL, back) for each in requests(1000, tier="premium")]
    here = [decision for decision in decisions if names(decision)[0] == "cloud/nano"]
    assert len(here) == pytest.approx(1000 * share, abs=60)
    assert {decision.reason for decision in decisions if decision not in here} <= {"fallback:503"}


def test_a_request_is_not_sent_elsewhere_each_time_it_is_asked() -> None:
    back = cloud(health=Verdict(share=0.5, was="503"))
    assert all(
        len({names(decide(each, LOCAL, back))[0] for _ in range(5)}) == 1 for each in requests(20, tier="premium")
    )


def test_one_that_is_being_tried_again_takes_a_request_while_it_may() -> None:
    assert names(decide(PREMIUM, LOCAL, cloud(health=Verdict("503", probes=1))))[0] == "cloud/nano"
    assert names(decide(PREMIUM, LOCAL, cloud(health=Verdict("503", probes=0))))[0] == "local/smoke"


def test_whoever_failed_is_the_last_resort_and_not_lost() -> None:
    decision = decide(ask(tier="bulk"), replace(LOCAL, health=Verdict("connect")))
    assert (names(decision), decision.refusal) == (["local/smoke"], None)


def strategic(**weights: float) -> Rules:
    tiers = {"standard": {"ttft_target_s": 2.0, "order": ["cloud", "local"], "strategy": weights}}
    return parse_rules({"tiers": tiers}, "strategy.toml")


# A checksum, and that it covers 4096 bytes.
SEEN = (1 << 32) + 4096
DEAR = cloud("dear")
CHEAP = cloud("cheap", price=type(CLOUD.price)(0.01, 0.1)) if CLOUD.price else CLOUD
ROOMY = replace(LOCAL, name="local/roomy")


def test_the_tiers_strategy_decides_among_targets_of_the_same_rank() -> None:
    cheapest = strategic(cheapest=1.0)
    assert names(decide(ask(), LOCAL, DEAR, CHEAP, rules=cheapest)) == ["cloud/cheap", "cloud/dear", "local/smoke"]


def test_a_route_or_a_task_has_a_strategy_of_its_own() -> None:
    busier = replace(CHEAP, in_flight=InFlight(promised_tokens=900))
    rules = strategic(cheapest=1.0)
    least_busy = ask(strategy={next(iter(strategic(least_busy=1.0).tiers["standard"].strategy)): 1.0})
    assert names(decide(ask(), DEAR, busier, rules=rules))[0] == "cloud/cheap"
    assert names(decide(least_busy, DEAR, busier, rules=rules))[0] == "cloud/dear"
    assert names(decide(ask(strategy={}), DEAR, busier, rules=rules))[0] == "cloud/dear"


def test_a_route_has_an_order_of_its_own() -> None:
    assert names(decide(ask(order=("local",)), LOCAL, CLOUD, rules=strategic())) == ["local/smoke"]


def test_each_decision_takes_the_next_turn() -> None:
    rules, turns = strategic(round_robin=1.0), dict[tuple[str, str], int]()
    first = []
    for _ in range(4):
        decision = decide(ask(), DEAR, CHEAP, rules=rules, past=Past(turns))
        assert decision.turn is not None
        turns[decision.turn] = turns.get(decision.turn, 0) + 1
        first.append(names(decision)[0])
    assert first == ["cloud/dear", "cloud/cheap"] * 2
    assert decide(ask(), DEAR, CHEAP, rules=strategic()).turn is None


def test_a_request_returns_to_whoever_has_read_its_beginning() -> None:
    rules, affinity = strategic(affinity=1.0), Affinity()
    asked = ask(prefixes=(SEEN, SEEN), prompt_bytes=5000)
    affinity.seen(asked.prefixes, "cloud/dear")
    decision = decide(asked, CHEAP, DEAR, rules=rules, past=Past({}, affinity))
    assert (names(decision)[0], decision.reason) == ("cloud/dear", "affinity")
    assert decide(ask(), CHEAP, DEAR, rules=rules, past=Past({}, affinity)).reason == "tier"


def test_whoever_keeps_the_promise_goes_first_whatever_else_counts() -> None:
    rules = parse_rules(
        {"tiers": {"standard": {"ttft_target_s": 2.0, "order": ["local"], "strategy": {"affinity": 1.0}}}}, "x.toml"
    )
    affinity = Affinity()
    asked = ask(prefixes=(SEEN, SEEN), prompt_bytes=5000)
    affinity.seen(asked.prefixes, LATE.name)
    assert names(decide(asked, LATE, ROOMY, rules=rules, past=Past({}, affinity))) == ["local/roomy", "local/smoke"]


def test_many_targets_are_ranked_as_few_are() -> None:
    crowd = [
        replace(LOCAL, name=f"local/{n}", in_flight=InFlight(promised_tokens=n * 37 % 200 * 60)) for n in range(200)
    ]
    order = [int(name.removeprefix("local/")) for name in names(decide(ask(tier="bulk"), *crowd))]
    assert [n * 37 % 200 for n in order] == list(range(200))
