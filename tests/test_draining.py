"""When an engine that is to end has finished what it serves, moment by moment."""

from dataclasses import replace

import pytest

from engines.life.draining import STILL_S, Drain, Seen, is_drained
from engines.snapshot import EngineUse, Load

DRAIN = Drain(began_s=100.0, limit_s=60.0, sequence=8)
IDLE = Load(0, 0, 0.0, 8192, 0, 0, 0, age_s=0.1)
BUSY = replace(IDLE, running=1)
DONE = Seen(has_heard=True, use=EngineUse(), load=IDLE, still_s=0.0)


def test_one_that_everybody_knows_of_and_nobody_uses_may_end_at_once() -> None:
    assert is_drained(DRAIN, DONE, 101.0)


def test_a_router_that_has_not_heard_may_still_send_something() -> None:
    assert not is_drained(DRAIN, replace(DONE, has_heard=False), 101.0)


def test_what_routers_have_in_flight_is_waited_for() -> None:
    assert not is_drained(DRAIN, replace(DONE, use=EngineUse(in_flight=1)), 159.9)


@pytest.mark.parametrize("waiting", [replace(BUSY, running=1), replace(IDLE, waiting=1)])
def test_what_the_engine_itself_says_it_has_is_waited_for_while_it_gets_on(waiting: Load) -> None:
    assert not is_drained(DRAIN, replace(DONE, load=waiting, still_s=STILL_S - 0.1), 130.0)
    assert is_drained(DRAIN, replace(DONE, load=waiting, still_s=STILL_S), 130.0)


def test_what_the_engine_said_before_the_drain_began_is_not_enough() -> None:
    early = replace(IDLE, age_s=2.0)
    assert not is_drained(DRAIN, replace(DONE, load=early), 101.0)
    assert is_drained(DRAIN, replace(DONE, load=early), 102.5)


def test_an_engine_that_tells_nothing_is_believed_by_its_routers() -> None:
    assert is_drained(DRAIN, replace(DONE, load=None), 100.1)


def test_the_limit_ends_the_wait_whatever_is_in_flight() -> None:
    stuck = Seen(has_heard=False, use=EngineUse(in_flight=3), load=BUSY, still_s=0.0)
    assert not is_drained(DRAIN, stuck, 159.9)
    assert is_drained(DRAIN, stuck, 160.0)
    assert is_drained(replace(DRAIN, limit_s=0.0), stuck, 100.0)
