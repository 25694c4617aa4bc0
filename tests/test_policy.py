"""Where a request goes and why: every reason, every refusal, and the laws that hold whatever the fleet looks like."""

from __future__ import annotations

import pytest
from hypothesis import given
from msgspec.structs import replace

from router.ask import Ask, Endpoint, read_ask
from router.errors import ApiError
from router.health.verdict import Verdict
from router.routing.fleet import Fleet, InFlight, Place, Target
from router.routing.gate import Decision
from router.routing.passing import Money, reserved_usd
from router.routing.policy import choose
from tests.gates import through
from tests.specimens import CLOUD, ILL, KEYLESS, LOCAL, RULES, Situation, ask, busy, cloud, local, situations

RICH, POOR = Money(left_usd=10.0), Money(left_usd=0.0)
FULL = busy(promised_tokens=20_000)
JAMMED = busy(promised_tokens=200_000)
STARTING = local(off="loading", starting=True)
DEAD = local(off="failed: it exited with 1")
OTHER = replace(LOCAL, name="local/other", models=frozenset({"other"}))
FIXED = ("tier", "task", "pinned", "privacy", "budget", "spill:ttft", "spill:kv", "spill:queue", "spill:starting")


def decide(asked: Ask, *targets: Target, money: Money = RICH) -> Decision:
    return through(choose(asked, Fleet(targets), RULES, money))


def names(decision: Decision) -> list[str]:
    return [target.name for target in decision.targets]


def refusal(asked: Ask, *targets: Target, money: Money = RICH, complete: bool = True) -> ApiError:
    decision = through(choose(asked, Fleet(targets, complete), RULES, money))
    assert decision.targets == ()
    assert decision.refusal is not None
    return decision.refusal


@pytest.mark.parametrize(
    ("asked", "fleet", "money", "reason", "order"),
    [
        pytest.param(ask(), (LOCAL, CLOUD), RICH, "tier", "local cloud", id="an idle engine serves its tier"),
        pytest.param(ask(how="task", task="t"), (LOCAL, CLOUD), RICH, "task", "local cloud", id="a task says so"),
        pytest.param(
            ask(how="pinned", model="smoke"), (LOCAL, CLOUD), RICH, "pinned", "local cloud", id="a pinned model"
        ),
        pytest.param(
            ask(how="pinned", model="other"), (LOCAL, OTHER), RICH, "pinned", "other", id="the pinned model only"
        ),
        pytest.param(ask(tier="premium"), (LOCAL, CLOUD), RICH, "tier", "cloud local", id="premium prefers the cloud"),
        pytest.param(ask(tier="bulk"), (LOCAL, CLOUD), RICH, "tier", "local", id="bulk stays at home"),
        pytest.param(ask(tier="bulk"), (FULL, CLOUD), RICH, "tier", "local", id="bulk waits at home when it is full"),
        pytest.param(
            ask(tier="homely"), (FULL, CLOUD), RICH, "tier", "local cloud", id="a tier that may not spill waits"
        ),
        pytest.param(
            ask(), (busy(unstarted_tokens=20_000), CLOUD), RICH, "spill:ttft", "cloud local", id="long prefill"
        ),
        pytest.param(ask(), (FULL, CLOUD), RICH, "spill:kv", "cloud local", id="no room for its tokens"),
        pytest.param(
            ask(), (busy(oldest_sent_at_s=-3.0), CLOUD), RICH, "spill:queue", "cloud local", id="a queue that waits"
        ),
        pytest.param(
            ask(), (local(stale=True), CLOUD), RICH, "spill:queue", "cloud local", id="old news count as full"
        ),
        pytest.param(ask(deadline_s=1.0), (LOCAL, CLOUD), RICH, "spill:deadline", "cloud local", id="a deadline"),
        pytest.param(ask(), (STARTING, CLOUD), RICH, "spill:starting", "cloud", id="an engine that is starting"),
        pytest.param(ask(), (DEAD, CLOUD), RICH, "fallback:off", "cloud", id="an engine that is dead"),
        pytest.param(ask(), (local(health=ILL), CLOUD), RICH, "fallback:503", "cloud local", id="an engine that rests"),
        pytest.param(ask(tier="premium"), (LOCAL, KEYLESS), RICH, "fallback:off", "local", id="a cloud without a key"),
        pytest.param(
            ask(tier="premium"),
            (LOCAL, cloud(health=Verdict("500"))),
            RICH,
            "fallback:500",
            "local cloud",
            id="a cloud that rests",
        ),
        pytest.param(ask(local_only=True), (LOCAL, CLOUD), RICH, "privacy", "local", id="local-only stays"),
        pytest.param(
            ask(local_only=True), (FULL, CLOUD), RICH, "privacy", "local", id="local-only waits when it is full"
        ),
        pytest.param(
            ask(tier="premium"), (LOCAL, CLOUD), POOR, "budget", "local", id="no money for the preferred cloud"
        ),
        pytest.param(ask(), (FULL, CLOUD), POOR, "budget", "local", id="no money for the spill"),
        pytest.param(ask(), (LOCAL, CLOUD), POOR, "tier", "local", id="no money needed"),
        pytest.param(ask(max_usd=1e-9), (FULL, CLOUD), RICH, "budget", "local", id="the client's own bound on money"),
    ],
)
def test_the_reason_says_why_it_runs_there(
    asked: Ask, fleet: tuple[Target, ...], money: Money, reason: str, order: str
) -> None:
    decision = decide(asked, *fleet, money=money)
    assert decision.refusal is None
    assert decision.reason == reason
    short = {"local/smoke": "local", "cloud/nano": "cloud", "local/other": "other"}
    assert " ".join(short[name] for name in names(decision)) == order


def test_the_engine_with_the_least_promised_work_goes_first() -> None:
    second = replace(LOCAL, name="local/second", in_flight=InFlight(promised_tokens=5))
    first = replace(LOCAL, name="local/first", in_flight=InFlight(promised_tokens=4))
    assert names(decide(ask(tier="bulk"), second, first)) == ["local/first", "local/second"]


def test_no_spill_while_another_engine_has_room() -> None:
    old_news = local(stale=True)
    roomy = replace(LOCAL, name="local/roomy", in_flight=InFlight(promised_tokens=100))
    decision = decide(ask(), old_news, roomy, CLOUD)
    assert (names(decision)[0], decision.reason) == ("local/roomy", "tier")


def test_a_spill_does_not_go_to_a_cloud_that_rests() -> None:
    decision = decide(ask(), FULL, cloud(health=Verdict("429")))
    assert names(decision)[0] == "local/smoke"
    assert decision.reason == "fallback:429"


def test_a_tier_that_names_one_target_uses_that_one() -> None:
    tier = RULES.tiers["standard"].model_copy(update={"order": ("local/other",)})
    rules = RULES.model_copy(update={"tiers": {"standard": tier}})
    assert names(choose(ask(), Fleet((LOCAL, OTHER, CLOUD)), rules, RICH)) == ["local/other"]


def test_an_unknown_model_is_404_with_the_names_that_exist() -> None:
    error = refusal(ask(requested="gpt-9", model="gpt-9", how="pinned"), LOCAL, OTHER)
    assert (error.status, error.code, error.param) == (404, "model_not_found", "model")
    assert [word for word in ("gpt-9", "other", "smoke", "auto") if word not in error.message] == []


def test_a_model_that_nobody_asked_for_and_nobody_serves_is_named_with_who_names_it() -> None:
    error = refusal(ask(requested="auto", model="ghost", how="task", task="coding"), LOCAL)
    assert "the model 'ghost', which stack.toml names for the task 'coding', does not exist" in error.message


@pytest.mark.parametrize("model", [None, "smoke"], ids=["any model", "a model nobody has reported yet"])
def test_before_the_engines_were_heard_of_it_is_503(model: str | None) -> None:
    error = refusal(ask(model=model), complete=False)
    assert (error.status, error.retry_after_s) == (503, 5.0)
    assert "starting" in error.message


@pytest.mark.parametrize("asked", [ask(tier="bulk"), ask(local_only=True)], ids=["a local tier", "local-only"])
def test_engines_not_heard_of_yet_are_not_a_mistake_of_the_user(asked: Ask) -> None:
    error = refusal(asked, CLOUD, complete=False)
    assert error.status == 503
    assert error.retry_after_s is not None
    assert "starting" in error.message


def test_a_prompt_that_fits_nowhere_is_400_with_the_sizes() -> None:
    error = refusal(ask(prompt_bytes=8 * 300_000), LOCAL, CLOUD)
    assert (error.status, error.code, error.param) == (400, "context_length_exceeded", "messages")
    assert [size for size in ("300000", "4096", "272000") if size not in error.message] == []


def test_a_prompt_too_long_for_the_engine_goes_where_it_fits() -> None:
    assert names(decide(ask(prompt_bytes=8 * 5000), LOCAL, CLOUD)) == ["cloud/nano"]


def test_a_capability_that_nobody_has_is_400_and_named() -> None:
    error = refusal(ask(needs=frozenset({"tools"})), LOCAL)
    assert (error.status, error.code) == (400, "unsupported_capability")
    assert "tools" in error.message
    assert "local/smoke" in error.message


def test_a_capability_goes_where_it_exists() -> None:
    assert names(decide(ask(needs=frozenset({"tools"})), LOCAL, CLOUD)) == ["cloud/nano"]


def test_local_only_without_an_engine_is_503_and_nothing_is_sent() -> None:
    error = refusal(ask(local_only=True), CLOUD)
    assert (error.status, error.code, error.param) == (503, "no_local_target", "privacy")
    assert error.retry_after_s is not None


def test_a_tier_whose_places_do_not_exist_is_503() -> None:
    error = refusal(ask(tier="bulk"), CLOUD)
    assert error.status == 503
    assert "bulk" in error.message
    assert "cloud/nano" in error.message


def test_nobody_up_is_503_with_each_why() -> None:
    error = refusal(ask(), DEAD, KEYLESS)
    assert (error.status, error.retry_after_s) == (503, 5.0)
    assert "local/smoke: failed: it exited with 1" in error.message
    assert "cloud/nano: the variable NANO_KEY is not set" in error.message


@pytest.mark.parametrize("asked", [ask(tier="bulk"), ask(local_only=True)], ids=["a tier that waits", "local-only"])
def test_a_wait_that_is_too_long_is_429_with_retry_after(asked: Ask) -> None:
    error = refusal(asked, JAMMED, CLOUD)
    assert (error.status, error.code) == (429, "saturated")
    assert 30 < (error.retry_after_s or 0) < 60
    assert "local/smoke" in error.message


@pytest.mark.parametrize(
    ("asked", "reason"), [(ask(tier="bulk"), "tier"), (ask(local_only=True), "privacy")], ids=["a tier", "local-only"]
)
def test_a_refusal_of_what_may_not_spill_does_not_talk_of_spilling(asked: Ask, reason: str) -> None:
    assert decide(asked, JAMMED, CLOUD).reason == reason


def test_a_tier_that_may_not_spill_falls_back_when_its_engine_is_not_there() -> None:
    assert decide(ask(tier="homely"), STARTING, CLOUD).reason.startswith("fallback:")


def test_a_promise_longer_than_the_longest_wait_is_kept() -> None:
    patient = RULES.tiers["bulk"].model_copy(update={"ttft_target_s": 600.0})
    rules = RULES.model_copy(update={"tiers": {"bulk": patient}})
    assert names(choose(ask(tier="bulk"), Fleet((JAMMED,)), rules, RICH)) == ["local/smoke"]


@pytest.mark.parametrize(
    ("asked", "money"),
    [
        pytest.param(ask(tier="airy"), POOR, id="the day's"),
        pytest.param(ask(tier="airy", max_usd=1e-9), RICH, id="its own"),
    ],
)
def test_a_request_over_the_budget_is_429(asked: Ask, money: Money) -> None:
    error = refusal(asked, LOCAL, CLOUD, money=money)
    assert (error.status, error.code) == (429, "budget_exceeded")
    assert "cloud/nano" in error.message


def test_a_reservation_is_the_most_that_the_answer_can_cost() -> None:
    assert reserved_usd(ask(max_tokens=1000), CLOUD) == pytest.approx((40 * 0.05 + 1000 * 0.4) / 1e6)
    assert reserved_usd(ask(), CLOUD) > reserved_usd(ask(max_tokens=1000), CLOUD)


def test_every_answer_to_every_prompt_is_paid_for() -> None:
    body = b'{"model":"auto","prompt":["What?","Where?"],"n":3,"max_tokens":1000}'
    assert reserved_usd(read_ask(body, {}, Endpoint.COMPLETION, RULES), CLOUD) >= 6 * 1000 * 0.4 / 1e6


@given(situations())
def test_what_holds_for_every_decision(situation: Situation) -> None:
    asked, money = situation[0], situation[3]
    decision = through(choose(*situation))
    assert (decision.refusal is None) == bool(decision.targets)
    assert all(target.off is None for target in decision.targets)
    assert len(set(names(decision))) == len(decision.targets)
    assert decision.reason in FIXED or decision.reason.startswith(("fallback:", "spill:deadline"))
    clouds = [target for target in decision.targets if target.place is Place.CLOUD]
    assert all(reserved_usd(asked, target) <= min(money.left_usd, asked.max_usd or 10.0) for target in clouds)


@given(situations())
def test_local_only_never_gets_a_cloud(situation: Situation) -> None:
    private = replace(situation[0], local_only=True)
    decision = through(choose(private, *situation[1:]))
    assert all(target.place is Place.LOCAL for target in decision.targets)
    assert not decision.reason.startswith("spill:")


@given(situations())
def test_a_tier_that_may_not_spill_never_does(situation: Situation) -> None:
    decision = through(choose(*situation))
    if not RULES.tiers[situation[0].tier].may_spill:
        assert not decision.reason.startswith("spill:")


@given(situations())
def test_the_same_situation_gives_the_same_decision(situation: Situation) -> None:
    first, second = through(choose(*situation)), through(choose(*situation))
    assert replace(first, refusal=None) == replace(second, refusal=None)
    assert (first.refusal and first.refusal.message) == (second.refusal and second.refusal.message)
