"""Strategies: a table of cases for each, and the laws that hold for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from router.ask import Ask
from router.quotas.room import Room
from router.registry import Price
from router.routing.fleet import Pace, Target
from router.routing.scorers import SCORERS, TURNS_A_TRIAL, Scene
from router.tables.strategy import Strategy
from tests.scored import LONGER, OTHER, RULES, SCENE, SHORT, TALK, busy, engine, paced, priced, quota, read
from tests.specimens import CLOUDS, LOCALS, ask


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
            scene=Scene(TURNS_A_TRIAL - 1),
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
        Case("the first turn", [engine()] * 4, [0.0, 0.25, 0.5, 0.75], scene=Scene(0)),
        Case("the second", [engine()] * 4, [0.75, 0.0, 0.25, 0.5], scene=Scene(1)),
        Case("all around", [engine()] * 4, [0.0, 0.25, 0.5, 0.75], scene=Scene(8)),
    ],
    Strategy.WEIGHTED: [
        Case("the first turn", [engine(preference=3.0), engine(preference=1.0)], [0.0, 0.75]),
        Case("the second", [engine(preference=3.0), engine(preference=1.0)], [0.0, 0.132], scene=Scene(1)),
        Case(
            "a turn of the small one",
            [engine(preference=3.0), engine(preference=1.0)],
            [0.146, 0.0],
            scene=Scene(3),
        ),
        Case("who is slowed down has less", [engine(weight=0.2), engine()], [0.382, 0.0], scene=Scene(1)),
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
