"""Requests that begin alike share KV blocks: an engine holds less than they add up to, and more of them fit in."""

from __future__ import annotations

from itertools import cycle

import pytest

from router.spilling.load import EngineLoad
from router.spilling.speeds import Speeds
from tests.specimens import load

CAPACITY = 10_000


def reported(own_tokens: int, *used: float, age_s: float = 0.1, times: int = 100) -> int:
    """The capacity that is believed after so many reports of an engine with a request of so many tokens, of which it
    says by turns that so much is used."""
    engine = EngineLoad(Speeds(), CAPACITY)
    engine.began(engine.sent(own_tokens, 0.0), 0.0)
    for number, share in zip(range(times), cycle(used), strict=False):
        told = load(running=1, kv_used_fraction=share, kv_capacity_tokens=CAPACITY, age_s=age_s)
        engine.reported(told, 0.001 * number)
    assert engine.kv_capacity_tokens is not None
    return engine.kv_capacity_tokens


@pytest.mark.parametrize(
    ("own_tokens", "used", "age_s", "fits"),
    [
        pytest.param(5000, 0.5, 0.1, 10_000, id="all is held"),
        pytest.param(5000, 0.25, 0.1, 20_000, id="half is shared"),
        pytest.param(5000, 0.8, 0.1, 10_000, id="others hold the rest"),
        pytest.param(500, 0.01, 0.1, 10_000, id="too little to say something"),
        pytest.param(5000, 0.25, 1.5, 10_000, id="an old report"),
    ],
)
def test_what_fits_in_is_learned_from_what_is_held(own_tokens: int, used: float, age_s: float, fits: int) -> None:
    assert reported(own_tokens, used, age_s=age_s) == pytest.approx(fits, rel=0.03)


def test_one_report_is_no_proof() -> None:
    assert reported(5000, 0.25, times=1) < 11_000


def test_reports_of_a_moment_ago_that_say_less_and_more_by_turns_are_no_sharing() -> None:
    assert reported(5000, 0.45, 0.55) == pytest.approx(10_000, rel=0.01)
