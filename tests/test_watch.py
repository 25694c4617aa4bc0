"""The Watch: counts that always come back to zero, rests that grow and end, spill state, what is learned."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.snapshot import EngineState
from router.ask import Ask
from router.health.breaker import LONGEST_OPEN_S, LONGEST_PAUSE_S, MOST_FAILURES
from router.registry import Away
from router.routing.fleet import Fleet, InFlight, Pace, Target
from router.routing.passing import Money
from router.watch import Flight, Usage, Watch
from tests.specimens import ENGINE, ENVIRONMENT, IDLE, RULES, ask, snapshot

RICH = Money(10.0)


def watching(now_s: float = 0.0) -> Watch:
    watch = Watch(RULES, environment=ENVIRONMENT)
    watch.heard(snapshot(), now_s)
    return watch


def engine_in(fleet: Fleet) -> Target:
    found = fleet.named("local/smoke")
    assert found is not None
    return found


def take_off(watch: Watch, now_s: float = 0.0, streams: bool = True) -> Flight:
    return watch.start(ask(prompt_bytes=4000, max_tokens=100, stream=streams), engine_in(watch.view(now_s)), now_s)


def fail(watch: Watch, now_s: float, retry_after_s: float | None = None) -> None:
    flight = take_off(watch, now_s)
    watch.finish(flight, None, now_s)
    watch.failed(flight, "connect", retry_after_s, now_s)


def shut_s(watch: Watch, now_s: float) -> float:
    """How much longer the engine is passed over, to a tenth of a second."""
    return next(step / 10 for step in range(1000) if engine_in(watch.view(now_s + step / 10)).health.cause is None)


def test_nothing_is_known_before_the_first_snapshot() -> None:
    fleet = Watch(RULES, environment=ENVIRONMENT).view(0.0)
    assert not fleet.complete
    assert [target.name for target in fleet.targets] == ["cloud/nano"]


def test_a_request_in_flight_is_counted_until_it_ends() -> None:
    watch = watching()
    flight = take_off(watch, 1.0)
    assert engine_in(watch.view(3.0)).in_flight == InFlight(1, 1100, 1, 1000, 1.0)
    watch.first_token(flight, 3.0)
    assert engine_in(watch.view(4.0)).in_flight == InFlight(1, 1100)
    watch.finish(flight, None, 5.0)
    assert engine_in(watch.view(6.0)).in_flight == InFlight()


def test_an_answer_that_comes_whole_is_work_but_no_queue() -> None:
    watch = watching()
    take_off(watch, 0.0, streams=False)
    assert engine_in(watch.view(50.0)).in_flight == InFlight(1, 1100)


STEPS = st.lists(
    st.tuples(st.sampled_from(["start", "token", "finish", "learn", "fail"]), st.integers(0, 5)), max_size=40
)


def counted_anew(flying: Sequence[Flight]) -> InFlight:
    waiting = [flight for flight in flying if flight.streams and flight.first_token_at_s is None]
    return InFlight(
        len(flying),
        sum(flight.promised_tokens for flight in flying),
        len(waiting),
        sum(flight.prompt_tokens for flight in waiting),
        min((flight.sent_at_s for flight in waiting), default=math.inf),
    )


def step(watch: Watch, flying: list[Flight], kind: str, index: int, now_s: float) -> None:
    if kind == "start" or not flying:
        flying.append(take_off(watch, now_s, streams=index % 2 == 0))
        return
    flight = flying[index % len(flying)]
    if kind == "token":
        watch.first_token(flight, now_s)
        return
    flying.remove(flight)
    watch.finish(flight, Usage(1000, 50) if kind == "learn" else None, now_s)
    if kind == "fail":
        watch.failed(flight, "connect", None, now_s)


@given(STEPS)
def test_counts_are_right_at_every_step_and_end_at_zero(steps: Sequence[tuple[str, int]]) -> None:
    watch, flying = watching(), list[Flight]()
    for now_s, (kind, index) in enumerate(steps):
        step(watch, flying, kind, index, float(now_s))
        assert engine_in(watch.view(float(now_s))).in_flight == counted_anew(flying)
    for flight in list(flying):
        watch.finish(flight, None, 1000.0)
    assert engine_in(watch.view(1000.0)).in_flight == InFlight()


def test_a_flight_ends_once_however_often_it_is_said() -> None:
    watch = watching()
    flight, other = take_off(watch), take_off(watch)
    for _ in range(3):
        watch.first_token(flight, 1.0)
        watch.finish(flight, Usage(1000, 50), 2.0)
    engine = engine_in(watch.view(2.0))
    assert engine.in_flight == counted_anew([other])
    assert engine.pace.answers == 1


def test_new_rules_and_a_cloud_that_is_off_count_at_once() -> None:
    watch = watching()
    watch.cloud_off = {"cloud/nano": Away("no key")}
    assert [target.off for target in watch.view(0.0).targets] == [None, "no key"]
    watch.cloud_off = {}
    assert [target.off for target in watch.view(0.0).targets] == [None, None]
    flight = take_off(watch)
    watch.obey(RULES.model_copy(update={"clouds": {}}))
    assert [target.name for target in watch.view(0.0).targets] == ["local/smoke"]
    assert engine_in(watch.view(0.0)).in_flight == counted_anew([flight])


def test_rests_double_and_have_a_longest() -> None:
    watch, now_s, seen = watching(), 0.0, list[float]()
    for _ in range(7):
        fail(watch, now_s)
        seen.append(shut_s(watch, now_s))
        now_s += seen[-1]
    assert seen == [1.0, 2.0, 4.0, 8.0, LONGEST_OPEN_S, LONGEST_OPEN_S, LONGEST_OPEN_S]


def test_a_first_token_ends_the_rest_and_its_history() -> None:
    watch = watching()
    for _ in range(3):
        fail(watch, 0.0)
    assert engine_in(watch.view(0.1)).health.cause == "connect"
    watch.first_token(take_off(watch, 0.2), 0.3)
    assert engine_in(watch.view(0.4)).health.cause is None
    fail(watch, 1.0)
    assert shut_s(watch, 1.0) == 1.0


def test_requests_that_fail_together_are_one_failure() -> None:
    watch = watching()
    flights = [take_off(watch) for _ in range(20)]
    for flight in flights:
        watch.finish(flight, None, 1.0)
        watch.failed(flight, "connect", None, 1.0)
    assert shut_s(watch, 1.0) == 1.0


def test_a_target_rests_as_long_as_it_asks_for() -> None:
    watch = watching()
    fail(watch, 0.0, retry_after_s=7.0)
    assert shut_s(watch, 0.0) == 7.0
    fail(watch, 10.0, retry_after_s=3600.0)
    assert shut_s(watch, 10.0) == LONGEST_PAUSE_S


def test_a_stream_that_ends_as_it_should_ends_a_row_of_broken_ones_though_it_tells_no_usage() -> None:
    watch = watching()

    def stream(now_s: float) -> Flight:
        flight = take_off(watch, now_s)
        watch.first_token(flight, now_s)
        return flight

    for number in range(MOST_FAILURES):
        flight = stream(float(number))
        watch.failed(flight, "cut", None, number + 0.5)
        watch.finish(flight, None, number + 0.5)
    assert engine_in(watch.view(7.0)).health.cause == "cut"
    watch.finish(stream(7.0), None, 7.5, is_whole=True)
    assert engine_in(watch.view(7.5)).health.cause is None


def test_failing_for_days_is_no_error() -> None:
    watch = watching()
    for attempt in range(1200):
        fail(watch, attempt * 60.0)
    assert engine_in(watch.view(1199 * 60.0)).health.cause == "connect"


def test_an_engine_that_leaves_somebody_waiting_for_longer_than_the_promise_gets_nobody_else() -> None:
    watch = watching()
    flight = take_off(watch, 0.0)
    watch.heard(snapshot(), 2.5)
    assert watch.decide(ask(), RICH, 1.9).reason == "tier"
    assert watch.decide(ask(), RICH, 2.5).reason == "spill:queue"
    watch.first_token(flight, 2.6)
    assert watch.decide(ask(), RICH, 2.7).reason == "tier"


def test_a_snapshot_grows_old_and_then_counts_as_full() -> None:
    watch = watching()
    assert watch.decide(ask(), RICH, 1.0).reason == "tier"
    assert watch.decide(ask(), RICH, 3.0).reason == "spill:queue"
    assert engine_in(watch.view(3.0)).stale


def test_an_answer_teaches_the_pace_of_its_target() -> None:
    watch = watching()
    flight = take_off(watch, 0.0)
    watch.first_token(flight, 0.5)
    watch.finish(flight, Usage(1000, 101), 2.5)
    pace = engine_in(watch.view(3.0)).pace
    assert (pace.answers, pace.bytes_per_token, pace.answer_tokens) == (1, 4.0, 101.0)
    assert pace.stream_tokens_per_s == pytest.approx(50.0)


@pytest.mark.parametrize(
    ("usage", "spoke"), [(None, True), (Usage(1000, 50), False)], ids=["no usage", "no first token"]
)
def test_a_broken_answer_teaches_nothing(usage: Usage | None, spoke: bool) -> None:
    watch = watching()
    flight = take_off(watch)
    if spoke:
        watch.first_token(flight, 0.5)
    watch.finish(flight, usage, 2.0)
    assert engine_in(watch.view(3.0)).pace == Pace()


def test_only_a_full_engine_teaches_how_fast_it_frees() -> None:
    watch = watching()
    idle = take_off(watch, 0.0)
    crowd = [take_off(watch, 0.0) for _ in range(12)]
    for flight in (idle, *crowd):
        watch.first_token(flight, 0.5)
    watch.finish(idle, Usage(1000, 100), 1.0)
    assert engine_in(watch.view(1.0)).pace.freed_tokens_per_s is None
    late = [flight for flight in crowd if flight.was_full]
    assert 3 <= len(late) < 12
    for second, flight in enumerate(late, start=2):
        watch.finish(flight, Usage(1000, 100), float(second))
    rate = engine_in(watch.view(10.0)).pace.freed_tokens_per_s
    assert rate is not None
    assert 1100 <= rate < 2000


def test_an_engine_that_is_gone_leaves_no_trouble() -> None:
    watch = watching()
    flight = take_off(watch)
    watch.heard(snapshot(replace(ENGINE, name="new", state=EngineState.LOADING, load=None)), 1.0)
    assert watch.view(1.0).named("local/smoke") is None
    watch.first_token(flight, 1.0)
    watch.finish(flight, Usage(10, 10), 2.0)
    watch.heard(snapshot(replace(ENGINE, load=IDLE)), 3.0)
    assert engine_in(watch.view(3.0)).in_flight == InFlight()


def test_a_tier_that_an_edit_removed_does_not_break_the_requests_that_have_it() -> None:
    watch = watching()
    target = engine_in(watch.view(0.0))
    watch.obey(RULES.model_copy(update={"tiers": {"bulk": RULES.tiers["bulk"]}}))
    watch.finish(watch.start(ask(tier="standard"), target, 1.0), None, 2.0)
    assert engine_in(watch.view(3.0)).in_flight == InFlight()


def test_the_watch_tells_what_it_sees() -> None:
    watch = watching()
    take_off(watch)
    assert repr(watch) == "<Watch engines=1 flights=1 <Pools >>"


@pytest.mark.parametrize("asked", [ask(tier="bulk"), ask(local_only=True)], ids=["a local tier", "local-only"])
def test_who_may_not_spill_goes_to_an_engine_of_which_nothing_was_heard_for_long(asked: Ask) -> None:
    decision = watching().decide(asked, RICH, 30.0)
    assert (decision.refusal, [target.name for target in decision.targets]) == (None, ["local/smoke"])


def test_what_changes_for_those_who_wait_is_told_and_nothing_else() -> None:
    watch, told = watching(), list[str]()
    watch.on_change = lambda: told.append("news")
    watch.heard(snapshot(replace(ENGINE, load=IDLE, in_state_s=9.0)), 1.0)
    assert told == []
    watch.heard(snapshot(replace(ENGINE, state=EngineState.LOADING, progress="1 of 8")), 1.0)
    assert told == ["news"]
    watch.heard(snapshot(replace(ENGINE, state=EngineState.LOADING, progress="2 of 8")), 1.0)
    assert told == ["news"]
    watch.cloud_off = {"cloud/nano": Away("no key")}
    watch.heard(snapshot(), 1.0)
    assert told == ["news"] * 3
