"""A Decision ranks as far as somebody looks: always what it would have said, had it ranked all of them at once."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.ask import Ask, Endpoint, read_ask
from router.health.verdict import WELL, Verdict
from router.quotas.room import UNBOUNDED, Room
from router.routing.affinity import Affinity
from router.routing.fleet import InFlight, Pace, Target
from router.routing.groups import group_of
from router.routing.lineup import Lineup
from router.routing.passing import Money, ease, easy_first
from router.routing.ranking import Past, ranked, scene_of
from router.routing.scorers import score
from router.routing.terms import Terms, terms_of
from router.tables.read import parse_rules
from router.tables.strategy import Strategy, Weights
from router.watch import Watch
from tests.scored import LONGER, TALK, cloud, engine
from tests.specimens import ENGINE, ask, snapshot

RICH = Money(10.0)
PROMISE_S = 2.0
STRATEGIES: Sequence[Weights] = (
    {},
    {Strategy.CHEAPEST: 1.0},
    {Strategy.ROUND_ROBIN: 1.0, Strategy.WEIGHTED: 0.5},
    {Strategy.LEAST_BUSY: 1.0, Strategy.LEAST_LATENCY: 0.5, Strategy.AFFINITY: 0.5},
)
ORDERS = (["local", "cloud"], ["cloud", "local"], ["local"], ["cloud/1", "local", "cloud"])
WAITING = InFlight(requests=1, promised_tokens=100, unstarted=1, unstarted_tokens=50, oldest_sent_at_s=-9.0)
COMMON = {
    "off": st.sampled_from([None, None, None, "failed"]),
    "in_flight": st.sampled_from([InFlight(), InFlight(1, 300), InFlight(2, 4000), WAITING]),
    "health": st.sampled_from([WELL, WELL, WELL, Verdict("5xx", 0.0)]),
    "pace": st.sampled_from([Pace(), Pace(answers=9, ttft_p50_s=0.2, tpot_p50_s=0.02), Pace(ttft_p50_s=0.9)]),
}
ROOMS = st.sampled_from([UNBOUNDED, UNBOUNDED, Room(1.0, "RPM"), Room(9.0, "RPM"), Room(float("inf"), "TPM")])
NAMES = st.sampled_from("123456789")
CROWDS = st.lists(
    st.one_of(st.builds(engine, NAMES, **COMMON), st.builds(cloud, NAMES, room=ROOMS, **COMMON)),
    max_size=12,
    unique_by=lambda target: target.name,
)


def terms_with(order: list[str], strategy: Weights) -> Terms:
    tier = {"ttft_target_s": PROMISE_S, "order": order, "strategy": strategy}
    tables = {"tiers": {"standard": tier}, "clouds": {"1": {"model": "openai/x", "key_env": "KEY"}}}
    return terms_of(ask(), parse_rules(tables, "lineup.toml"), 0.0)


def past_with(turn: int) -> Past:
    affinity = Affinity()
    affinity.seen(TALK, "local/2")
    return Past({("standard", ""): turn}, affinity)


def all_at_once(asked: Ask, crowd: Sequence[Target], terms: Terms, past: Past) -> list[Target]:
    """Every target sorted, whoever will be looked at."""
    found: list[Target] = []
    for position in range(len(terms.order)):
        alike = [each for each in crowd if terms.position(each) == position]
        on = [each for each in alike if each.off is None]
        sums = (
            score(terms.weights, asked, on, scene_of(asked, terms, past)) if terms.weights and on else [0.0] * len(on)
        )
        works = [(each.in_flight.promised_tokens + 1) / each.weight for each in on]
        order = [on[at] for _, _, at in sorted(zip(sums, works, range(len(on)), strict=True))]
        found += [*order, *[each for each in alike if each.off is not None]]
    return found


@pytest.mark.parametrize("strategy", STRATEGIES, ids=["none", "cheapest", "turns", "three"])
@given(crowd=CROWDS, order=st.sampled_from(ORDERS), turn=st.integers(0, 99), talk=st.sampled_from([(), TALK, LONGER]))
def test_one_by_one_they_come_as_if_all_were_ranked_at_once(
    strategy: Weights, crowd: list[Target], order: list[str], turn: int, talk: tuple[int, ...]
) -> None:
    asked, terms, past = ask(prefixes=talk), terms_with(order, strategy), past_with(turn)
    whole = all_at_once(asked, crowd, terms, past)
    assert ranked(asked, [group_of(crowd)], terms, past).targets == whole
    can = [each for each in whole if each.off is None and each.room.ready_in_s < float("inf")]
    can.sort(key=lambda each: ease(asked, each, PROMISE_S))
    for count in (1, 2):
        fresh = easy_first(asked, ranked(asked, [group_of(crowd)], terms, past), RICH, PROMISE_S)
        assert [*islice(fresh, count), *fresh] == can


RULES = parse_rules(
    {
        "tiers": {
            "standard": {
                "ttft_target_s": 2.0,
                "strategy": {"round_robin": 1.0, "affinity": 3.0, "least_busy": 2.0},
            }
        }
    },
    "later.toml",
)


def test_whoever_looks_later_finds_what_was_decided_then() -> None:
    watch = Watch(RULES)
    engines = [dataclasses.replace(ENGINE, name=f"smoke-{n}", url=f"http://127.0.0.1:800{n}") for n in range(6)]
    watch.heard(snapshot(*engines), 100.0)
    kept = []
    for number in range(20):
        body = json.dumps({"model": "smoke", "messages": [{"role": "user", "content": f"Question {number % 3}"}]})
        asked = read_ask(body.encode(), {}, Endpoint.CHAT, RULES)
        then = tuple(watch.would(asked, RICH, 100.0).targets)
        decision = watch.decide(asked, RICH, 100.0)
        watch.start(asked, decision.targets[0], 100.0)
        kept.append((then, decision))
    assert len({then[0].name for then, _ in kept}) > 1
    assert [tuple(decision.targets) for _, decision in kept] == [then for then, _ in kept]


def test_a_lineup_reads_as_the_tuple_of_all() -> None:
    one, two, three = engine("1"), engine("2"), engine("3")
    whole = (one, two, three)

    def lineup() -> Lineup:
        return Lineup(one, iter((two, three)))

    assert lineup() == whole
    assert (len(lineup()), bool(lineup()), two in lineup()) == (3, True, True)
    assert (lineup()[1], lineup()[-1], tuple(lineup()[1:])) == (two, three, (two, three))
    assert [each.name for each in lineup()] == [each.name for each in whole]
    with pytest.raises(IndexError):
        lineup()[3]


def test_nobody_past_the_first_is_ranked_until_somebody_looks() -> None:
    looked_at = []

    def rest() -> Iterator[Target]:
        for name in "23":
            looked_at.append(name)
            yield engine(name)

    lineup = Lineup(engine("1"), rest())
    assert (lineup[0].name, bool(lineup), looked_at) == ("local/1", True, [])
    assert (lineup[1].name, looked_at) == ("local/2", ["2"])
