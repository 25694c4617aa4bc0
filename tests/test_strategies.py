"""What weights make of strategies: who is taken, how often each, and where conversations go."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from router.ask import Ask, Endpoint, read_ask
from router.routing.fleet import Target
from router.routing.gate import Decision
from router.routing.passing import Money
from router.routing.scorers import Scene, score
from router.tables.read import parse_rules
from router.tables.strategy import Strategy, Weights
from router.watch import Watch
from tests.scored import LONGER, SCENE, TALK, busy, engine, paced, prefix, read
from tests.specimens import ENGINE, ask, snapshot


def best(weights: Weights, asked: Ask, targets: Sequence[Target], scene: Scene = SCENE) -> str:
    found = score(weights, asked, targets, scene)
    return targets[found.index(min(found))].name


def test_without_weights_the_least_busy_one_is_taken() -> None:
    targets = [busy(9000, name="a"), busy(100, name="b"), busy(5000, name="c")]
    assert best({}, ask(), targets) == best({Strategy.LEAST_BUSY: 3.0}, ask(), targets) == "local/b"


def test_one_token_more_is_more() -> None:
    assert best({}, ask(), [busy(1_000_001, name="a", load=None), busy(1_000_000, name="b", load=None)]) == "local/b"


def test_weights_say_what_a_prefix_is_worth() -> None:
    asked, scene = ask(prefixes=LONGER), read(("local/a", TALK))
    some, much = [busy(4000, name="a"), engine("b")], [busy(60_000, name="a", load=None), engine("b")]
    weights = {Strategy.LEAST_BUSY: 1.0, Strategy.AFFINITY: 0.5}
    assert best(weights, asked, some, scene) == "local/a"
    assert best(weights, asked, much, scene) == "local/b"
    assert best({Strategy.LEAST_BUSY: 1.0, Strategy.AFFINITY: 5.0}, asked, much, scene) == "local/a"
    assert best({Strategy.LEAST_BUSY: 1.0, Strategy.AFFINITY: 0.0}, asked, some, scene) == "local/b"


def shares(weights: Weights, targets: Sequence[Target], turns: int) -> Counter[str]:
    return Counter(best(weights, ask(), targets, Scene(turn)) for turn in range(turns))


def test_turns_go_round_evenly() -> None:
    targets = [engine(name) for name in "abc"]
    assert shares({Strategy.ROUND_ROBIN: 1.0}, targets, 300) == {f"local/{name}": 100 for name in "abc"}


@pytest.mark.parametrize("turns", [100, 1000, 10_000])
def test_each_gets_its_share_of_the_turns_in_any_stretch_of_them(turns: int) -> None:
    targets = [engine("a", preference=6.0), engine("b", preference=3.0), engine("c", preference=1.0)]
    got = shares({Strategy.WEIGHTED: 1.0}, targets, turns)
    assert got["local/a"] == pytest.approx(0.6 * turns, abs=3)
    assert got["local/b"] == pytest.approx(0.3 * turns, abs=3)
    assert got["local/c"] == pytest.approx(0.1 * turns, abs=3)


def test_a_target_that_was_slow_once_is_measured_again() -> None:
    got = shares(
        {Strategy.LEAST_LATENCY: 1.0}, [replace(paced(9.0, 0.1, answers=1), name="slow"), paced(1.0, 0.01)], 500
    )
    assert got == {"slow": 10, "local/a": 490}


TABLES = parse_rules(
    {"tiers": {"standard": {"ttft_target_s": 2.0, "strategy": {"round_robin": 1.0, "affinity": 0.001}}}}, "turns.toml"
)
ENGINES = snapshot(*(dataclasses.replace(ENGINE, name=f"smoke-{n}", url=f"http://127.0.0.1:800{n}") for n in range(3)))


def asked_of(watch: Watch, model: str) -> Decision:
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "Where am I?"}]}).encode()
    read_now = read_ask(body, {}, Endpoint.CHAT, TABLES)
    decision = watch.decide(read_now, Money(10.0), 100.0)
    if decision.targets:
        watch.finish(watch.start(read_now, decision.targets[0], 100.0), None, 100.0)
    return decision


def test_a_router_takes_turns_model_by_model_and_keeps_nothing_of_names_that_nobody_serves() -> None:
    watch = Watch(TABLES)
    watch.heard(ENGINES, 100.0)
    taken = []
    for number in range(6):
        assert asked_of(watch, f"no-such-model-{number}").targets == ()
        taken.append(asked_of(watch, "smoke").targets[0].name)
    assert Counter(taken) == {"local/smoke-0": 2, "local/smoke-1": 2, "local/smoke-2": 2}
    assert watch.past.turns == {("standard", "smoke"): 6}


def test_a_router_remembers_what_it_sent_where() -> None:
    watch = Watch(TABLES)
    watch.heard(ENGINES, 100.0)
    first = asked_of(watch, "smoke").targets[0].name
    body = b'{"model":"smoke","messages":[{"role":"user","content":"Where am I?"},{"role":"user","content":"Well?"}]}'
    later = read_ask(body, {}, Endpoint.CHAT, TABLES)
    assert watch.past.affinity.home(later.prefixes)[0] == first


def conversation(number: int, size_bytes: int = 4000) -> Ask:
    return ask(prefixes=(prefix(number, size_bytes),) * 2)


def test_new_conversations_spread_and_every_worker_sends_them_alike() -> None:
    targets = [engine(name) for name in "abcd"]
    asks = [conversation(number * 7919) for number in range(1000)]
    homes = [best({Strategy.AFFINITY: 1.0}, each, targets) for each in asks]
    assert homes == [best({Strategy.AFFINITY: 1.0}, each, targets, read()) for each in asks]
    assert all(200 < count < 300 for count in Counter(homes).values())


def test_when_an_engine_goes_only_its_own_new_conversations_move() -> None:
    targets = [engine(name) for name in "abcd"]
    asks = [conversation(number * 7919) for number in range(200)]
    before = [best({Strategy.AFFINITY: 1.0}, each, targets) for each in asks]
    after = [best({Strategy.AFFINITY: 1.0}, each, targets[:3]) for each in asks]
    assert [now for then, now in zip(before, after, strict=True) if then != "local/d"] == [
        then for then in before if then != "local/d"
    ]
    assert {now for then, now in zip(before, after, strict=True) if then == "local/d"} == {
        "local/a",
        "local/b",
        "local/c",
    }


def test_where_a_conversation_went_counts_more_than_where_its_name_points() -> None:
    targets = [engine("a"), engine("b")]
    for number in range(20):
        asked = conversation(number)
        elsewhere = "local/b" if best({Strategy.AFFINITY: 1.0}, asked, targets) == "local/a" else "local/a"
        assert best({Strategy.AFFINITY: 1.0}, asked, targets, read((elsewhere, asked.prefixes))) == elsewhere
