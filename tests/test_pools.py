"""Before engines: who is placed at once, who waits for room, who goes to the cloud, and that no room is lost."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence

import pytest
from msgspec.structs import replace

from engines.snapshot import EngineState, EngineView
from router.ask import Ask
from router.pools import LINE
from router.routing.fleet import Place
from router.routing.gate import Decision
from router.routing.passing import Money
from router.siblings import Row
from router.spilling.speeds import TOLD
from router.tables.rules import Rules
from router.ticket import Ticket, settled
from router.wants import Arrival
from router.watch import Flight, Usage, Watch
from tests.specimens import ENGINE, ENVIRONMENT, IDLE, RULES, ask, snapshot

RICH, POOR = Money(left_usd=10.0), Money(left_usd=0.0)
# The engine has room for 10,000 tokens: a prompt of 6,000 leaves none for another one. Nobody but a patient tier waits
# for that.
LARGE = ask(prompt_bytes=24_000, model="smoke")


class Others:
    """Siblings that have published this, and hear what is said."""

    def __init__(self, **rows: Row) -> None:
        self.rows = rows
        self.said: dict[str, Row] = {}

    def publish(self, target: str, row: Row) -> None:
        self.said[target] = row

    def others(self, target: str) -> Sequence[Row]:
        return [row for name, row in self.rows.items() if target.startswith(name.replace("_", "/"))]

    def news(self) -> Collection[str] | None:
        return None


def watching(*engines: EngineView, rules: Rules = RULES, others: Others | None = None) -> Watch:
    watch = Watch(rules, others, environment=ENVIRONMENT)
    watch.heard(snapshot(*engines), 0.0)
    return watch


def promising(share: float) -> Rules:
    """For so many requests of the tier that most have."""
    strict = RULES.tiers["standard"].model_copy(update={"promise_share": share})
    return RULES.model_copy(update={"tiers": {**RULES.tiers, "standard": strict}})


def arrival(watch: Watch, asked: Ask, now_s: float, money: Money = RICH) -> tuple[Decision, Arrival]:
    decision = watch.decide(asked, money, now_s)
    assert decision.gate is not None
    return decision, Arrival(asked, decision.gate, now_s, now_s)


def placed(watch: Watch, asked: Ask, now_s: float, money: Money = RICH) -> tuple[Decision, Ticket]:
    """Its ticket, and the Decision as it stands after that."""
    decision, came = arrival(watch, asked, now_s, money)
    ticket = watch.pools.arrive(came)
    watch.pools.decide(ticket.model, now_s)
    return (decision if ticket.placed is None else settled(decision, ticket, now_s)), ticket


def sent(watch: Watch, asked: Ask, now_s: float) -> Flight:
    decision, ticket = placed(watch, asked, now_s)
    return watch.start(asked, decision.targets[0], now_s, ticket)


def done(watch: Watch, flight: Flight, now_s: float) -> None:
    watch.first_token(flight, now_s)
    watch.finish(flight, Usage(6000, 100), now_s, is_whole=True)


def test_whoever_finds_room_is_placed_at_once() -> None:
    decision, ticket = placed(watching(), LARGE, 0.0)
    assert ticket.placed is not None
    assert (decision.targets[0].name, decision.reason, decision.gate) == ("local/smoke", "tier", None)


def test_whoever_finds_none_and_may_not_spill_waits_until_somebody_has_ended() -> None:
    watch, patient = watching(), replace(LARGE, tier="bulk")
    first = sent(watch, patient, 0.0)
    watch.first_token(first, 1.0)
    _, ticket = placed(watch, patient, 1.0)
    assert ticket.placed is None
    assert watch.pools.decide(ticket.model, 2.0) == []
    watch.finish(first, Usage(6000, 100), 3.0, is_whole=True)
    assert watch.pools.decide(ticket.model, 3.0) == [ticket]


def test_whoever_finds_none_in_time_goes_to_its_twin_for_a_reason() -> None:
    watch = watching()
    watch.first_token(sent(watch, LARGE, 0.0), 1.0)
    decision, _ = placed(watch, LARGE, 1.0)
    assert (decision.targets[0].name, decision.reason) == ("cloud/nano", "spill:kv")


def test_whoever_has_no_money_for_its_twin_waits() -> None:
    watch = watching()
    first = sent(watch, LARGE, 0.0)
    watch.first_token(first, 1.0)
    _, ticket = placed(watch, LARGE, 1.0, POOR)
    assert ticket.placed is None


def test_whoever_has_waited_beyond_its_promise_for_want_of_money_says_so() -> None:
    watch = watching()
    first = sent(watch, LARGE, 0.0)
    watch.first_token(first, 1.0)
    decision, came = arrival(watch, LARGE, 1.0, POOR)
    ticket = watch.pools.arrive(came)
    watch.heard(snapshot(), 9.0)
    watch.finish(first, Usage(6000, 100), 9.0, is_whole=True)
    assert watch.pools.decide(ticket.model, 9.0) == [ticket]
    assert settled(decision, ticket, 9.0).reason == "budget"


def test_a_place_that_nobody_takes_is_free_again() -> None:
    watch, patient = watching(), replace(LARGE, tier="bulk")
    _, unused = placed(watch, patient, 0.0)
    _, waiting = placed(watch, patient, 0.1)
    assert waiting.placed is None
    watch.pools.withdraw(unused, 0.2)
    assert watch.pools.decide(waiting.model, 0.2) == [waiting]


def test_a_place_that_was_taken_is_not_given_away() -> None:
    watch, patient = watching(), replace(LARGE, tier="bulk")
    decision, ticket = placed(watch, patient, 0.0)
    watch.start(patient, decision.targets[0], 0.0, ticket)
    watch.pools.withdraw(ticket, 0.1)
    _, waiting = placed(watch, patient, 0.2)
    assert waiting.placed is None


def test_whoever_leaves_the_line_holds_nobody_up() -> None:
    watch, patient = watching(), replace(LARGE, tier="bulk")
    first = sent(watch, patient, 0.0)
    watch.first_token(first, 1.0)
    _, gone = placed(watch, patient, 1.0)
    _, next_one = placed(watch, patient, 1.1)
    watch.pools.withdraw(gone, 1.2)
    watch.finish(first, Usage(6000, 100), 2.0, is_whole=True)
    assert watch.pools.decide(next_one.model, 2.0) == [next_one]


def test_a_flight_that_no_sluice_has_placed_takes_room_all_the_same() -> None:
    watch, patient = watching(), replace(LARGE, tier="bulk")
    target = watch.view(0.0).targets[0]
    flight = watch.start(LARGE, target, 0.0)
    watch.first_token(flight, 1.0)
    _, waiting = placed(watch, patient, 1.0)
    assert waiting.placed is None
    watch.finish(flight, None, 2.0)
    assert watch.pools.decide(waiting.model, 2.0) == [waiting]


def test_whoever_would_wait_too_long_is_turned_away_with_a_time() -> None:
    rules = RULES.model_copy(update={"limits": RULES.limits.model_copy(update={"max_wait_s": 0.1})})
    tiers = {"bulk": RULES.tiers["bulk"].model_copy(update={"ttft_target_s": 0.1})}
    watch = watching(rules=rules.model_copy(update={"tiers": rules.tiers | tiers}))
    asked = replace(LARGE, tier="bulk")
    for number in range(TOLD):
        flight = sent(watch, asked, number * 2.0)
        watch.first_token(flight, number * 2.0 + 1.0)
        watch.finish(flight, None, number * 2.0 + 1.5)
    watch.first_token(sent(watch, asked, 100.0), 101.0)
    decision, _ = placed(watch, asked, 101.0)
    assert decision.refusal is not None
    assert (decision.refusal.status, decision.refusal.code) == (429, "saturated")
    assert (decision.refusal.retry_after_s or 0) > 0


def test_what_would_become_of_one_is_told_and_nothing_is_kept_of_it() -> None:
    watch = watching()
    decision, came = arrival(watch, LARGE, 0.0)
    assert watch.pools.expect(came, decision).targets[0].name == "local/smoke"
    assert watch.pools.expect(came, decision).targets[0].name == "local/smoke"
    watch.first_token(sent(watch, LARGE, 0.0), 1.0)
    assert watch.pools.expect(came, decision).targets[0].name == "cloud/nano"


def test_what_other_workers_have_there_takes_room_too() -> None:
    others = Others(local_smoke=Row(requests=1, promised_tokens=6000, kv_tokens=6000))
    _, ticket = placed(watching(others=others), replace(LARGE, tier="bulk"), 0.0)
    assert ticket.placed is None


def test_a_worker_shows_the_others_its_line() -> None:
    others = Others()
    watch = watching(others=others)
    watch.first_token(sent(watch, replace(LARGE, tier="bulk"), 0.0), 1.0)
    placed(watch, replace(LARGE, tier="bulk"), 1.0)
    assert (others.said[f"{LINE}smoke"].requests, others.said[f"{LINE}smoke"].unstarted_tokens) == (1, 6000)


def test_an_engine_that_has_come_back_holds_nothing_of_its_last_run() -> None:
    watch, patient = watching(), replace(LARGE, tier="bulk")
    watch.first_token(sent(watch, patient, 0.0), 1.0)
    watch.heard(snapshot(dataclasses.replace(ENGINE, state=EngineState.FAILED, load=None)), 2.0)
    watch.heard(snapshot(dataclasses.replace(ENGINE, load=IDLE)), 3.0)
    _, ticket = placed(watch, patient, 3.0)
    assert ticket.placed is not None


@pytest.mark.parametrize(("ttft_s", "kept"), [(1.9, 1.0), (2.1, 0.0)], ids=["in time", "late"])
def test_a_promise_is_judged_by_the_first_token(ttft_s: float, kept: float) -> None:
    watch = watching()
    watch.first_token(sent(watch, LARGE, 0.0), ttft_s)
    assert dict(watch.pools.kept_shares())["standard"] == pytest.approx(kept)


def test_a_tier_that_promises_more_of_its_requests_is_careful_sooner() -> None:
    usual, strict = watching(), watching(rules=promising(0.999))
    for watch in (usual, strict):
        watch.first_token(sent(watch, LARGE, 0.0), 2.1)
    assert usual.pools.misses_of("standard").used() < strict.pools.misses_of("standard").used()


def test_an_edit_of_the_share_counts_at_once_and_forgets_no_miss() -> None:
    watch = watching()
    watch.first_token(sent(watch, LARGE, 0.0), 2.1)
    misses = watch.pools.misses_of("standard")
    used = misses.used()
    watch.obey(promising(0.999))
    assert watch.pools.misses_of("standard") is misses
    assert misses.used() == pytest.approx(10 * used)
    assert dict(watch.pools.kept_shares())["standard"] == 0.0
    # Nobody has asked for this tier yet.
    assert watch.pools.misses_of("bulk").share == 0.99


def test_the_promise_of_a_tier_that_an_edit_removed_stays_until_another_is_given() -> None:
    watch = watching(rules=promising(0.999))
    assert watch.pools.misses_of("standard").share == 0.999
    watch.obey(RULES.model_copy(update={"tiers": {"bulk": RULES.tiers["bulk"]}}))
    assert watch.pools.misses_of("standard").share == 0.999
    watch.obey(RULES)
    assert watch.pools.misses_of("standard").share == 0.99


def test_a_first_token_is_compared_with_what_was_predicted_of_it() -> None:
    watch = watching()
    watch.first_token(sent(watch, LARGE, 0.0), 1.9)
    ((name, errors),) = watch.pools.errors()
    assert (name, errors.count) == ("local/smoke", 1)
    assert errors.p50_s is not None


def test_the_lengths_of_answers_are_learned_wherever_they_came_from() -> None:
    watch = watching()
    cloud = next(each for each in watch.view(0.0).targets if each.place is Place.CLOUD)
    for _ in range(200):
        flight = watch.start(LARGE, cloud, 0.0)
        watch.first_token(flight, 0.5)
        watch.finish(flight, Usage(6000, 700), 1.0, is_whole=True)
    _, came = arrival(watch, LARGE, 1.0)
    ticket = watch.pools.arrive(came)
    (decided,) = watch.pools.decide(ticket.model, 1.0)
    assert decided.placed is not None
    assert 500 < decided.placed.want.lengths.mean < 900
