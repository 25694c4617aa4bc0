"""Strategies: a table of cases for each, the laws that hold for all of them, and what weights make of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from router.ask import Ask
from router.prefixes import LENGTH_BITS
from router.quotas.room import Room
from router.registry import Price
from router.routing.affinity import Affinity
from router.routing.fleet import InFlight, Pace, Target
from router.routing.scorers import SCORERS, TURNS_A_TRIAL, Scene, score
from router.tables.strategy import Strategy, Weights
from tests.specimens import CLOUD, CLOUDS, LOCAL, LOCALS, ask

SCENE = Scene(ttft_target_s=2.0)


def engine(name: str = "a", **changes: Any) -> Target:
    return replace(LOCAL, name=f"local/{name}", **changes)


def cloud(name: str = "a", **changes: Any) -> Target:
    return replace(CLOUD, name=f"cloud/{name}", **changes)


def busy(promised_tokens: int, requests: int = 1, **changes: Any) -> Target:
    return engine(in_flight=InFlight(requests=requests, promised_tokens=promised_tokens), **changes)


def paced(ttft_s: float | None, tpot_s: float | None, answers: int = 9, requests: int = 0) -> Target:
    pace = Pace(answers=answers, answer_tokens=100.0, ttft_p50_s=ttft_s, tpot_p50_s=tpot_s)
    return engine(pace=pace, in_flight=InFlight(requests=requests))


def priced(usd_in: float | None, usd_out: float = 0.0, **changes: Any) -> Target:
    return cloud(price=None if usd_in is None else Price(usd_in, usd_out), **changes)


def quota(left_share: float, **changes: Any) -> Target:
    return cloud(room=Room(left_share=left_share, is_free=True, **changes))


def prefix(number: int, size_bytes: int) -> int:
    return number << LENGTH_BITS | size_bytes


def read(*told: tuple[str, Sequence[int]]) -> Scene:
    """Who has been sent which prompts, the newest last."""
    affinity = Affinity()
    for target, prefixes in told:
        affinity.seen(prefixes, target)
    return Scene(2.0, 0, affinity)


# A conversation of two turns after instructions that others share, and the same with a third turn; another one.
RULES, FIRST, SECOND, THIRD = prefix(1, 2000), prefix(2, 4000), prefix(3, 6000), prefix(4, 8000)
TALK, LONGER, OTHER = (FIRST, RULES, FIRST, SECOND), (FIRST, RULES, FIRST, SECOND, THIRD), (prefix(9, 4000),) * 2
SHORT = (prefix(7, 64),) * 2


class Case(NamedTuple):
    """`figures` are what the targets get, in their order."""

    what: str
    targets: Sequence[Target]
    figures: Sequence[float]
    asked: Ask = ask()
    scene: Scene = SCENE


CASES: dict[Strategy, list[Case]] = {
    Strategy.LEAST_BUSY: [
        Case("nothing is in flight", [engine(), engine()], [0.0, 0.0]),
        Case("one is idle, the other has half a share", [engine(), busy(16_384)], [0.0, 0.5]),
        Case("all are busy: only what one has more counts", [busy(16_384), busy(49_152)], [0.0, 0.5]),
        Case("tokens count and not requests", [busy(16_384, requests=1), busy(0, requests=9)], [0.5, 0.0]),
        Case("who is slowed down is busier with the same", [busy(8_192), busy(8_192, weight=0.5)], [0.0, 0.25]),
    ],
    Strategy.LEAST_LATENCY: [
        Case("first token and the tokens after it", [paced(1.0, 0.01), paced(0.5, 0.035)], [0.0, 0.5]),
        Case("a short answer is begun soonest", [paced(1.0, 0.01), paced(0.5, 0.035)], [0.470, 0.0], ask(max_tokens=1)),
        Case("the same", [paced(1.0, 0.01), paced(1.0, 0.01)], [0.0, 0.0]),
        Case("who has not been measured is tried", [paced(1.0, 0.01), paced(None, None)], [0.5, 0.0]),
        Case("but by two at once, no more", [paced(1.0, 0.01), paced(None, None, requests=2)], [0.0, 1.0]),
        Case("nobody has been measured", [paced(None, None), paced(None, None)], [0.0, 0.0]),
        Case("nobody has, and both are being tried", [paced(None, None, requests=5)] * 2, [0.0, 0.0]),
        Case("answers that came whole compare by their tokens", [paced(None, 0.02), paced(1.0, 0.03)], [0.0, 0.5]),
        Case("only single tokens came", [paced(1.0, None), paced(4.0, None)], [0.0, 0.75]),
        Case(
            "now and then the one that is least known",
            [paced(1.0, 0.01), paced(9.0, 0.09, answers=3)],
            [0.5, 0.0],
            scene=Scene(2.0, TURNS_A_TRIAL - 1),
        ),
    ],
    Strategy.CHEAPEST: [
        Case("twice as dear", [priced(1.0), priced(2.0)], [0.0, 0.5]),
        Case(
            "the answer's price counts too",
            [priced(1.0, 6.0), priced(2.0, 2.0)],
            [0.666, 0.0],
            ask(prompt_bytes=4),
        ),
        Case("beside what is free all is dear", [engine(), priced(0.1)], [0.0, 1.0]),
        Case("as long as its quota lasts", [quota(0.1), priced(0.1)], [0.0, 1.0]),
        Case("and no longer", [replace(quota(0.0, ready_in_s=9.0), price=Price(0.2, 0.0)), priced(0.1)], [0.5, 0.0]),
        Case("an unknown price is not a low one", [priced(None), priced(9.0)], [1.0, 0.0]),
        Case("no price is known", [priced(None), priced(None)], [0.0, 0.0]),
    ],
    Strategy.FREE_QUOTA: [
        Case("what is free before what is paid", [priced(0.01), quota(1.0)], [1.0, 0.0]),
        Case("of two quotas the one with more left", [quota(0.2), quota(0.8)], [0.4, 0.1]),
        Case("the last of a quota is still free", [quota(0.0), priced(0.01)], [0.5, 1.0]),
        Case("a quota that is used up is not", [quota(0.0, ready_in_s=20.0), priced(0.01)], [1.0, 1.0]),
        Case("what runs here is free", [engine(), priced(0.01)], [0.0, 1.0]),
    ],
    Strategy.ROUND_ROBIN: [
        Case("the first turn", [engine()] * 4, [0.0, 0.25, 0.5, 0.75], scene=Scene(2.0, 0)),
        Case("the second", [engine()] * 4, [0.75, 0.0, 0.25, 0.5], scene=Scene(2.0, 1)),
        Case("all around", [engine()] * 4, [0.0, 0.25, 0.5, 0.75], scene=Scene(2.0, 8)),
    ],
    Strategy.WEIGHTED: [
        Case("the first turn", [engine(preference=3.0), engine(preference=1.0)], [0.0, 0.75]),
        Case("the second", [engine(preference=3.0), engine(preference=1.0)], [0.0, 0.132], scene=Scene(2.0, 1)),
        Case(
            "a turn of the small one",
            [engine(preference=3.0), engine(preference=1.0)],
            [0.146, 0.0],
            scene=Scene(2.0, 3),
        ),
        Case("who is slowed down has less", [engine(weight=0.2), engine()], [0.382, 0.0], scene=Scene(2.0, 1)),
    ],
    Strategy.AFFINITY: [
        Case("nobody speaks of a prompt", [engine("a"), engine("b")], [1.0, 1.0]),
        Case(
            "who has read all of it",
            [engine("a"), engine("b")],
            [1.0, 0.0],
            ask(prefixes=TALK),
            read(("local/b", TALK)),
        ),
        Case(
            "who has read the turns before",
            [engine("a"), engine("b")],
            [0.25, 1.0],
            ask(prefixes=LONGER),
            read(("local/a", TALK), ("local/b", OTHER)),
        ),
        Case(
            "both have read it, one of them less",
            [engine("a"), engine("b")],
            [0.25, 0.75],
            ask(prefixes=LONGER),
            read(("local/b", (RULES, RULES)), ("local/a", TALK), ("local/b", (RULES, RULES))),
        ),
        Case(
            "a prompt of a few words saves next to nothing",
            [engine("a"), engine("b")],
            [1.0, 1.0 - 64 / 1024],
            ask(prefixes=SHORT),
            read(("local/b", SHORT)),
        ),
    ],
}


@pytest.mark.parametrize(
    ("strategy", "case"),
    [
        pytest.param(strategy, case, id=f"{strategy}: {case.what}")
        for strategy, cases in CASES.items()
        for case in cases
    ],
)
def test_figures(strategy: Strategy, case: Case) -> None:
    assert SCORERS[strategy](case.asked, case.targets, case.scene) == pytest.approx(list(case.figures), abs=0.001)


def test_each_strategy_has_a_scorer_and_a_table_of_cases() -> None:
    assert set(SCORERS) == set(CASES) == set(Strategy)
    assert all(CASES.values())


PACES = st.builds(
    Pace,
    answers=st.integers(0, 100),
    ttft_p50_s=st.none() | st.floats(0, 100),
    tpot_p50_s=st.none() | st.floats(0, 1),
)
ROOMS = st.builds(
    Room, ready_in_s=st.sampled_from([0.0, 5.0, float("inf")]), left_share=st.floats(0, 1), is_free=st.booleans()
)
TARGETS = st.lists(
    st.builds(
        lambda target, pace, room, preference: replace(target, pace=pace, room=room, preference=preference),
        LOCALS | CLOUDS,
        PACES,
        ROOMS,
        st.floats(0.01, 1000),
    ),
    min_size=1,
    max_size=6,
).map(lambda targets: [replace(target, name=f"{target.place}/{at}") for at, target in enumerate(targets)])
PROMPTS = st.sampled_from([(), TALK, LONGER, OTHER, SHORT])
SCENES = st.builds(
    lambda turn, told: replace(read(*told), turn=turn),
    st.integers(0, 10**9),
    st.lists(st.tuples(st.sampled_from(["local/0", "cloud/1", "local/9"]), PROMPTS), max_size=4),
)
ASKS = st.builds(
    ask, prefixes=PROMPTS, max_tokens=st.none() | st.integers(1, 10**5), prompt_bytes=st.integers(0, 10**7)
)


@pytest.mark.parametrize("strategy", Strategy)
@given(asked=ASKS, targets=TARGETS, scene=SCENES)
def test_a_figure_for_each_target_from_best_to_worst(
    strategy: Strategy, asked: Ask, targets: list[Target], scene: Scene
) -> None:
    figures = SCORERS[strategy](asked, targets, scene)
    assert len(figures) == len(targets)
    assert all(0 <= figure <= 1 for figure in figures)
    assert list(SCORERS[strategy](asked, targets, scene)) == list(figures)


MIXES = st.dictionaries(st.sampled_from(Strategy), st.floats(0, 1000), max_size=4)
JAMMED = engine("jammed", in_flight=InFlight(oldest_sent_at_s=-30.0))


@given(asked=ASKS, targets=TARGETS, scene=SCENES, weights=MIXES)
def test_whoever_breaks_the_promise_comes_after_all_who_keep_it(
    asked: Ask, targets: list[Target], scene: Scene, weights: Weights
) -> None:
    kept = replace(LOCAL, name="local/kept", load=None)
    short = replace(asked, prompt_bytes=40)
    found = score(weights, short, [JAMMED, kept, *targets], scene)
    if any(weights.values()) or not weights:
        assert found[0] > found[1]


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


def test_the_cheapest_must_qualify_first() -> None:
    slow = priced(0.01, name="slow", in_flight=InFlight(oldest_sent_at_s=-9.0))
    assert best({Strategy.CHEAPEST: 1.0}, ask(), [slow, priced(5.0, name="dear")]) == "cloud/dear"
    assert best({Strategy.CHEAPEST: 1.0}, ask(), [slow, priced(5.0, name="dear")], Scene(20.0)) == "cloud/slow"


def shares(weights: Weights, targets: Sequence[Target], turns: int) -> Counter[str]:
    return Counter(best(weights, ask(), targets, Scene(2.0, turn)) for turn in range(turns))


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
