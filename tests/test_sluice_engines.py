"""Engines that come and go, that not everybody may use, that have slots, prefix caches, and others beside us."""

from __future__ import annotations

import math

import pytest

from router.spilling.load import EngineLoad
from router.spilling.speeds import Speeds
from router.spilling.want import Why
from tests.sluiced import TEMPO, Line, engine, filled

FULL_S = 1.8


@pytest.fixture
def full() -> Line:
    return filled()


def two() -> Line:
    """A full engine "a" and an empty one "b"."""
    line = Line(loads={"a": engine(), "b": engine()})
    for number in range(9):
        line.ask(number, number * 0.2, 1000, engines=("a",))
        line.begun(number, number * 0.2 + 0.15)
    return line


def test_who_waits_for_one_engine_does_not_hold_up_who_may_use_another() -> None:
    line = two()
    assert line.ask("of a", FULL_S, 1000, engines=("a",)) is None
    placed = line.ask("of any", FULL_S, 1000)
    assert placed is not None
    assert placed.engine == "b"
    assert line.sluice.waiting == 1


def test_in_the_line_as_well_whoever_waits_keeps_only_its_own_engines() -> None:
    line = two()
    line.ask("long", FULL_S, 2000, engines=("b",))
    assert line.ask("of a", FULL_S, 1000, engines=("a",), ttft_s=4.0) is None
    assert line.ask("of any", FULL_S, 1000, ttft_s=4.0) is None
    line.begun("long", FULL_S + 0.3)
    assert line.placed["of any"].engine == "b"
    assert "of a" not in line.placed


def test_nobody_comes_before_who_waited_first_for_the_same_engine() -> None:
    line = two()
    line.ask("long", FULL_S, 2000, engines=("b",))
    assert line.ask("first", FULL_S, 1000, engines=("b",)) is None
    assert line.ask("second", FULL_S + 0.01, 10, engines=("b",)) is None
    line.begun("long", FULL_S + 0.3)
    assert line.placed["first"].engine == "b"


@pytest.mark.parametrize(
    ("more", "chosen"),
    [
        ({}, "b"),
        ({"engines": ("a", "b")}, "b"),
        ({"engines": ("a", "b"), "keeps_order": True}, "a"),
        ({"engines": ("b", "a"), "keeps_order": True}, "b"),
        ({"cached": {"a": 900}}, "a"),
        ({"engines": ("gone", "a")}, "a"),
    ],
)
def test_the_engine_with_the_least_to_read_or_the_first_in_order(more: dict[str, object], chosen: str) -> None:
    line = Line(loads={"a": engine(), "b": engine()})
    line.ask("there", 0.0, 200, engines=("a",))
    placed = line.ask("next", 0.0, 1000 if "cached" in more else 50, **more)
    assert placed is not None
    assert placed.engine == chosen


def test_in_order_whoever_has_no_room_is_passed_over() -> None:
    line = two()
    placed = line.ask("ordered", FULL_S, 1000, engines=("a", "b"), keeps_order=True)
    assert placed is not None
    assert placed.engine == "b"


def test_what_is_cached_needs_no_reading() -> None:
    cold = Line().ask("alone", 0.0, 2000)
    warm = Line().ask("alone", 0.0, 2000, cached={0: 1900})
    assert cold is not None
    assert warm is not None
    assert warm.stay is not None
    assert warm.stay.fresh_tokens == 100
    assert warm.expected_ttft_s < cold.expected_ttft_s / 3


def test_who_waits_is_served_by_an_engine_that_comes(full: Line) -> None:
    assert full.ask("waits", FULL_S, 1000) is None
    full.sluice.stand(full.loads | {"new": engine()})
    assert full.look(FULL_S + 0.1)["waits"].engine == "new"


def test_an_engine_that_has_gone_is_given_nothing_and_its_requests_may_come_again() -> None:
    line = two()
    assert line.ask("on b", FULL_S, 1000, engines=("b",)) is not None
    line.sluice.stand({"a": line.loads["a"]})
    line.sluice.left("on b", FULL_S)
    want = line.want("on b", FULL_S, 1000, may_spill=False)
    line.sluice.arrive(want, FULL_S + 0.1, again=True)
    assert line.sluice.decide(FULL_S + 0.1) == []
    line.sluice.ended(0, 100, FULL_S + 0.2)
    assert line.look(FULL_S + 0.2)["on b"].engine == "a"
    line.sluice.began("on b", FULL_S + 0.3)
    line.sluice.ended("on b", 3, FULL_S + 0.4)


def test_without_an_engine_who_may_goes_to_the_cloud_at_once_and_the_others_wait_for_one() -> None:
    line = Line()
    line.sluice.stand({})
    placed = line.ask("may spill", 0.0, 1000)
    assert placed is not None
    assert placed.engine is None
    assert line.ask("may not", 0.0, 1000, may_spill=False, patience_s=60.0) is None
    assert "may not" not in line.look(59.0)
    line.sluice.stand({0: engine()})
    assert line.look(59.5)["may not"].why is Why.LATE


def test_without_an_engine_nobody_knows_when_to_come_again() -> None:
    line = Line()
    line.sluice.stand({})
    line.ask("waits", 0.0, 1000, may_spill=False, patience_s=5.0)
    refused = line.look(5.0)["waits"]
    assert (refused.why, refused.expected_ttft_s) == (Why.REFUSED, math.inf)


def test_fillers_of_an_engine_that_goes_are_spilled(full: Line) -> None:
    full.sluice.price_factor = 1e9
    for number in range(20, 30):
        full.ask(number, FULL_S, 1000)
    assert full.sluice.waiting == 10
    full.sluice.stand({})
    full.look(FULL_S + 0.1)
    assert full.sluice.waiting == 0
    assert all(full.placed[number].engine is None for number in range(20, 30))


def test_where_slots_are_short_the_wait_is_for_an_answer_that_ends() -> None:
    line = Line(loads={0: engine(None, 4)})
    for number in range(4):
        assert line.ask(number, number * 0.1, 100) is not None
        line.begun(number, number * 0.1 + 0.05)
    assert line.ask("waits", 0.5, 100, may_spill=False) is None
    expected = line.sluice.expect(line.want("next", 0.5, 100, may_spill=False), 0.5)
    assert 1.0 < expected.expected_ttft_s < 5.0
    for _ in range(100):
        line.misses[""].missed()
    placed = line.ask("dear", 0.5, 100, ttft_s=0.5)
    assert placed is not None
    assert placed.why is Why.QUEUE
    line.sluice.ended(0, 100, 1.5)
    assert line.look(1.5)["waits"].engine == 0


def test_more_slots_are_used_as_soon_as_they_are_known() -> None:
    load = engine(None, 2)
    line = Line(loads={0: load})
    for number in range(2):
        assert line.ask(number, number * 0.5, 100) is not None
        line.begun(number, number * 0.5 + 0.1)
    assert line.ask("waits", 1.0, 100) is None
    load.most_sequences = 4
    assert line.look(line.sluice.next_look_s(1.0))["waits"].engine == 0


def test_prompts_that_wait_elsewhere_for_the_same_engines_make_the_wait_longer(full: Line) -> None:
    def expected_s() -> float:
        return full.sluice.expect(full.want("next", FULL_S, 1000, ttft_s=60.0), FULL_S).expected_ttft_s

    alone_s = expected_s()
    full.sluice.beside(3000, 3)
    empty_line_s = expected_s()
    assert empty_line_s > alone_s + 0.2
    full.ask("waits", FULL_S, 1000, ttft_s=60.0)
    assert expected_s() > empty_line_s
    full.sluice.beside(0, 0)
    assert expected_s() < empty_line_s


def test_no_herd_falls_on_an_engine_that_has_just_come() -> None:
    line = Line(loads={"new": EngineLoad(Speeds(TEMPO), 100_000)})
    for number in range(20):
        line.ask(number, 0.0, 10)
    assert len(line.placed) == 4
    assert line.sluice.waiting == 16
    line.begun(0, 0.01)
    assert len(line.placed) == 6
    for number in range(1, 6):
        line.begun(number, 0.01 + number * 0.001)
    assert len(line.placed) == 16
