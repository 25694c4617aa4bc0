"""What a router tells the supervisor: who is in flight at which engine, exact while engines change their names."""

from __future__ import annotations

from dataclasses import replace

from engines.snapshot import EngineState, EngineUse, Report
from router.flight import Flight
from router.routing.fleet import InFlight, Target
from router.watch import Usage, Watch
from tests.specimens import ENGINE, ENVIRONMENT, RULES, ask, snapshot

OLD, NEW = ENGINE.url, "http://127.0.0.1:9000"


def watching() -> Watch:
    watch = Watch(RULES, environment=ENVIRONMENT)
    watch.heard(snapshot(), 0.0)
    return watch


def target(watch: Watch, name: str = "local/smoke") -> Target:
    found = watch.view(0.0).named(name)
    assert found is not None
    return found


def take_off(watch: Watch, now_s: float, streams: bool = True, prompt_bytes: int = 4000) -> Flight:
    return watch.start(ask(prompt_bytes=prompt_bytes, max_tokens=100, stream=streams), target(watch), now_s)


def swapped(watch: Watch, now_s: float) -> None:
    """The engine was replaced: a new one has its name."""
    old = replace(ENGINE, name="smoke~old", state=EngineState.DRAINING)
    watch.heard(snapshot(replace(ENGINE, url=NEW), old), now_s)


def test_a_router_that_heard_nothing_has_nothing_to_say() -> None:
    assert Watch(RULES, environment=ENVIRONMENT).report(1.0) == Report(0, {}, {})


def test_a_report_names_the_snapshot_that_it_answers() -> None:
    watch = watching()
    watch.heard(replace(snapshot(), sequence=7), 1.0)
    assert watch.report(1.0).sequence == 7


def test_flights_are_told_by_the_url_of_their_engine() -> None:
    watch = watching()
    take_off(watch, 1.0, prompt_bytes=400)
    spoken = take_off(watch, 2.0, prompt_bytes=40_000)
    assert watch.report(3.0).uses == {OLD: EngineUse(2, 2, 10_000, 2.0)}
    watch.first_token(spoken, 3.0)
    assert watch.report(4.0).uses == {OLD: EngineUse(2, 1, 100, 3.0)}
    watch.finish(spoken, None, 5.0)
    assert watch.report(5.0).uses == {OLD: EngineUse(1, 1, 100, 4.0)}


def test_an_answer_that_comes_whole_has_not_begun_before_it_ends() -> None:
    watch = watching()
    flight = take_off(watch, 1.0, streams=False)
    assert watch.report(3.0).uses == {OLD: EngineUse(1, 1, 1000, 2.0)}
    watch.first_token(flight, 3.0)
    watch.finish(flight, Usage(1000, 5), 3.0)
    assert watch.report(3.0).uses == {}


def test_nothing_is_told_of_clouds() -> None:
    watch = watching()
    watch.start(ask(), target(watch, "cloud/nano"), 1.0)
    assert watch.report(2.0).uses == {}


def test_two_models_of_one_server_are_one_use() -> None:
    watch = Watch(RULES, environment=ENVIRONMENT)
    watch.heard(snapshot(ENGINE, replace(ENGINE, name="other", model="other")), 0.0)
    watch.start(ask(prompt_bytes=4000), target(watch), 1.0)
    watch.start(ask(prompt_bytes=400), target(watch, "local/other"), 0.5)
    assert watch.report(2.0).uses == {OLD: EngineUse(2, 2, 1000, 1.5)}


def test_flights_stay_with_their_engine_when_another_takes_its_name() -> None:
    watch = watching()
    before = take_off(watch, 1.0)
    swapped(watch, 2.0)
    after = take_off(watch, 2.0)
    assert {url: use.in_flight for url, use in watch.report(3.0).uses.items()} == {OLD: 1, NEW: 1}
    assert target(watch).in_flight.requests == 1
    watch.finish(before, Usage(1000, 50), 4.0)
    assert {url: use.in_flight for url, use in watch.report(4.0).uses.items()} == {NEW: 1}
    watch.finish(after, None, 5.0)
    assert target(watch).in_flight == InFlight()


def test_an_engine_that_is_gone_is_told_of_until_its_last_request_ends() -> None:
    watch = watching()
    flight = take_off(watch, 1.0)
    watch.heard(snapshot(replace(ENGINE, name="other", url=NEW)), 2.0)
    watch.heard(snapshot(replace(ENGINE, name="other", url=NEW)), 3.0)
    assert watch.report(3.0).uses[OLD].in_flight == 1
    watch.finish(flight, None, 4.0)
    assert watch.report(4.0).uses == {}


def test_who_takes_a_name_over_goes_on_with_what_was_learned() -> None:
    watch = watching()
    flight = take_off(watch, 1.0)
    watch.first_token(flight, 1.5)
    watch.finish(flight, Usage(500, 50), 2.0)
    swapped(watch, 2.0)
    assert target(watch).pace.bytes_per_token == 8.0


def test_an_engine_that_is_ready_again_does_not_rest_for_what_its_last_run_did() -> None:
    watch = watching()
    for _ in range(3):
        flight = take_off(watch, 1.0)
        watch.finish(flight, None, 1.0)
        watch.failed(flight, "connect", None, 1.0)
    assert target(watch).health.cause == "connect"
    watch.heard(snapshot(replace(ENGINE, state=EngineState.LOADING)), 1.1)
    watch.heard(snapshot(), 1.2)
    assert target(watch).health.cause is None


def test_a_sleeping_model_is_wanted_once_in_a_report() -> None:
    watch = watching()
    watch.want("smoke")
    watch.want("smoke")
    assert watch.report(1.0).wanted == {"smoke": 2}
    assert watch.report(1.0).wanted == {}


def test_whoever_drains_has_left_for_those_who_decided_before() -> None:
    watch = watching()
    old = target(watch)
    assert not watch.has_left(old)
    swapped(watch, 1.0)
    assert watch.has_left(old)
    assert not watch.has_left(target(watch))
