"""What each request may be asked to bear: promises of several tiers, own deadlines, patience, no cloud; refusals."""

from __future__ import annotations

from typing import Any

import pytest

from router.registry import Price
from router.spilling.load import EngineLoad
from router.spilling.misses import Misses
from router.spilling.speeds import Speeds
from router.spilling.twin import Twin
from router.spilling.waiting import LATEST_S
from router.spilling.want import Why
from tests.sluiced import Line, filled

FULL_S = 1.8


@pytest.fixture
def full() -> Line:
    return filled()


def spend(line: Line, tier: str = "") -> None:
    """No more misses are allowed there."""
    for _ in range(100):
        line.misses[tier].missed()


def test_the_first_promise_that_ends_is_served_first(full: Line) -> None:
    full.ask("patient", FULL_S, 600, ttft_s=30.0, tier="bulk")
    full.ask("pressing", FULL_S + 0.01, 600, ttft_s=5.0, tier="chat")
    full.sluice.ended(0, 100, 2.0)
    assert full.look(2.0)["pressing"].engine == 0
    assert "patient" not in full.placed
    full.sluice.ended(1, 100, 2.1)
    full.begun("pressing", 2.1)
    assert full.placed["patient"].engine == 0


def test_who_has_time_is_not_before_who_has_none(full: Line) -> None:
    def expected_s() -> float:
        return full.sluice.expect(full.want("chat", FULL_S, 1000), FULL_S).expected_ttft_s

    alone_s = expected_s()
    for number in range(20, 60):
        assert full.ask(number, FULL_S, 1000, ttft_s=600.0, tier="bulk", may_spill=False) is None
    assert expected_s() == pytest.approx(alone_s)
    # There is room for a short one, which nobody with a longer promise keeps from it.
    assert full.ask("short", FULL_S, 10) is not None


def test_each_tier_has_its_own_misses() -> None:
    line = Line(misses=Misses)
    for key, tier, first_s in (("a", "chat", 5.0), ("b", "bulk", 5.0), ("c", "chat", 6.0)):
        line.ask(key, first_s - 4.0, 10, tier=tier, ttft_s=30.0 if tier == "bulk" else 2.0)
        line.begun(key, first_s)
    assert line.misses["chat"].kept_share == 0.0
    assert line.misses["bulk"].kept_share == 1.0


def test_an_answer_that_is_too_slow_is_missed_once() -> None:
    line = Line(misses=Misses)
    for at_s, key, tokens in ((0.0, "quick", 100), (10.0, "slow", 10), (20.0, "aborted", None)):
        line.ask(key, at_s, 10)
        line.begun(key, at_s + 0.1)
        line.sluice.ended(key, tokens, at_s + 5.1)
        line.sluice.ended(key, tokens, at_s + 5.2)
    assert line.misses[""].kept_share == pytest.approx(2 / 3, abs=1e-3)


def test_an_answer_that_comes_whole_is_not_judged() -> None:
    line = Line()
    line.ask("whole", 0.0, 10, shows_first=False)
    line.begun("whole", 9.0)
    line.sluice.ended("whole", 2, 9.0)
    line.ask("seen", 10.0, 10)
    line.begun("seen", 10.1)
    assert line.misses[""].kept_share == 1.0


def test_who_may_not_spill_waits_aside_when_its_promise_is_lost_and_is_served_when_nobody_else_waits(
    full: Line,
) -> None:
    for number in range(20, 60):
        full.ask(number, FULL_S, 1000, may_spill=False)
    assert full.sluice.waiting == 40
    for number in range(9):
        full.sluice.ended(number, 100, 3.0)
    at_s = 3.0
    while full.sluice.waiting and at_s < 100.0:
        for key, placed in list(full.placed.items()):
            assert placed.stay is not None
            if placed.stay.first_s is None and not placed.stay.ended:
                full.sluice.began(key, at_s)
            elif not placed.stay.ended:
                full.sluice.ended(key, 10, at_s)
        full.look(at_s)
        at_s += 0.2
    assert full.sluice.waiting == 0
    words = {each.why for each in full.placed.values()}
    assert words == {Why.FITS, Why.LATE}


def test_who_may_not_spill_pushes_nobody_dear_out_however_much_its_tier_has_missed(full: Line) -> None:
    spend(full, "others")
    assert full.ask("dear", FULL_S, 800, price=Price(3.0, 15.0)) is None
    for number in range(10):
        full.ask(number, FULL_S, 900, tier="others", may_spill=False, ttft_s=1.9)
    assert "dear" not in full.placed
    assert full.sluice.waiting == 11


def test_who_may_not_spill_has_somebody_cheap_make_way(full: Line) -> None:
    spend(full)
    full.ask("cheap", FULL_S, 3000)
    for number in range(3):
        full.ask(number, FULL_S, 100, may_spill=False, ttft_s=2.1)
    assert full.placed["cheap"].engine is None


def test_whose_patience_will_not_do_is_refused_at_once_and_told_when_to_come_again(full: Line) -> None:
    for number in range(20, 50):
        full.ask(number, FULL_S, 1000, may_spill=False)
    placed = full.ask("hasty", FULL_S, 1000, may_spill=False, patience_s=3.0)
    assert placed is not None
    assert (placed.why, placed.engine, placed.stay) == (Why.REFUSED, None, None)
    assert 3.0 < placed.expected_ttft_s < 60.0
    assert full.ask("patient", FULL_S, 1000, may_spill=False, patience_s=60.0) is None


def test_nobody_is_refused_by_a_guess() -> None:
    line = Line(loads={"new": EngineLoad(Speeds(), 10_000)})
    for number in range(100):
        line.ask(number, 0.0, 4000, may_spill=False, patience_s=3.0)
    assert line.sluice.waiting > 90
    assert all(each.why is Why.FITS for each in line.placed.values())


def test_whose_patience_ends_is_refused_then(full: Line) -> None:
    assert full.ask("waits", FULL_S, 1000, may_spill=False, patience_s=5.0) is None
    assert "waits" not in full.look(FULL_S + 3.5)
    placed = full.look(FULL_S + 5.0)["waits"]
    assert placed.why is Why.REFUSED
    assert full.sluice.waiting == 0
    assert full.misses[""].kept_share < 1.0


@pytest.mark.parametrize("patience_s", [0.0, 0.5, 5.0])
def test_nobody_is_refused_who_may_spill(full: Line, patience_s: float) -> None:
    for number in range(20, 60):
        full.ask(number, FULL_S, 1000, patience_s=patience_s)
    full.look(FULL_S + patience_s)
    assert full.sluice.waiting == 0
    words = {full.placed[number].why for number in range(20, 60)}
    assert words <= {Why.KV, Why.TTFT}
    assert words


def test_a_deadline_of_its_own_before_the_promise_ends_sends_it_to_the_cloud_and_says_so(full: Line) -> None:
    placed = full.ask("hurried", FULL_S, 1000, latest_s=FULL_S + 0.3)
    assert placed is not None
    assert (placed.engine, placed.why) == (None, Why.DEADLINE)


def test_a_filler_goes_to_the_cloud_in_time_for_its_own_deadline(full: Line) -> None:
    full.sluice.price_factor = 1e9
    twin = Twin(median_s=1.0)
    for number in range(20, 40):
        full.ask(number, FULL_S, 1000, latest_s=FULL_S + 10.0, twin=twin)
    assert full.sluice.waiting == 20
    assert all(each.engine is not None for each in full.look(FULL_S + 8.9).values())
    gone = full.look(FULL_S + 9.0)[20]
    assert (gone.engine, gone.expected_ttft_s) == (None, 1.0)
    assert FULL_S + 9.0 < FULL_S + LATEST_S


def test_a_slow_cloud_makes_it_dear_to_spill(full: Line) -> None:
    slow, quick = Twin(median_s=8.0), Twin(median_s=0.3)
    for number in range(10):
        full.ask(("quick", number), FULL_S, 1000, twin=quick)
        full.ask(("slow", number), FULL_S, 1000, twin=slow)
    gone = [each.want.twin for each in full.placed.values() if each.engine is None]
    assert gone.count(quick) > gone.count(slow)


def test_who_comes_again_is_not_new_demand_nor_asked_twice() -> None:
    line = Line()
    line.misses[""].asked()
    line.misses[""].missed()
    before = line.misses[""].kept_share
    want = line.want("moved", 0.0, 10)
    line.sluice.arrive(want, 0.5, again=True)
    assert line.misses[""].kept_share == before
    assert line.look(0.5)["moved"].engine == 0


def test_who_leaves_before_the_decision_is_not_placed() -> None:
    line = Line()
    line.sluice.arrive(line.want("gone", 0.0, 10), 0.0)
    line.sluice.left("gone", 0.0)
    assert line.look(0.0) == {}
    assert line.loads[0].standing(0.0).waiting == 0


def test_keys_that_nobody_knows_are_ignored() -> None:
    line = Line()
    line.sluice.began("unknown", 0.0)
    line.sluice.ended("unknown", 3, 0.0)
    line.sluice.left("unknown", 0.0)
    assert line.sluice.waiting == 0


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"prompt_tokens": 100, "ttft_s": 60.0}, Why.FITS),
        ({"latest_s": FULL_S + 0.1}, Why.DEADLINE),
        ({"may_spill": False, "patience_s": 0.1}, Why.REFUSED),
        ({"may_spill": False}, Why.LATE),
    ],
    ids=lambda each: "" if isinstance(each, dict) else str(each),
)
def test_what_is_expected_is_what_then_happens_and_asking_changes_nothing(
    full: Line, more: dict[str, Any], why: Why
) -> None:
    for number in range(20, 40):
        full.ask(number, FULL_S, 1000, may_spill=False)
    before = (full.sluice.waiting, full.sluice.line_tokens)
    want = full.want("asked", FULL_S, **({"prompt_tokens": 1000} | more))
    expected = full.sluice.expect(want, FULL_S)
    assert expected.why is why
    assert expected.stay is None
    assert (full.sluice.waiting, full.sluice.line_tokens) == before
    assert full.look(FULL_S).get("asked") is None
    full.sluice.arrive(want, FULL_S)
    placed = full.look(FULL_S).get("asked")
    if why in {Why.DEADLINE, Why.REFUSED}:
        assert placed is not None
        assert placed.why is why
        assert placed.expected_ttft_s == pytest.approx(expected.expected_ttft_s, rel=0.01)
    else:
        assert placed is None
        assert expected.engine == 0
        assert expected.expected_ttft_s > 0.1
