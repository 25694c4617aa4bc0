"""Where a request goes when models stand in for each other: groups, their order, the reason, and who hears no."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from router.ask import Ask
from router.errors import ApiError
from router.health.verdict import WELL, Verdict
from router.routing.fleet import Fleet, InFlight, Target
from router.routing.gate import Decision
from router.routing.groups import chain_of, groups_of
from router.routing.policy import choose
from router.tables.read import parse_rules
from router.tables.rules import Rules
from tests.gates import through
from tests.specimens import CLOUD, LOCAL, ask
from tests.test_policy import RICH, names

CLOUDS = {name: {"model": f"openai/{name}", "key_env": "KEY", "serves": [name]} for name in ("big", "mid", "tiny")}
CHAINS = {"big": {"fallbacks": ["mid"], "emergency": ["tiny"]}}


def obeying(chains: Any = CHAINS, **tier: Any) -> Rules:
    tiers = {"standard": {"ttft_target_s": 2.0, **tier}, "bulk": {"ttft_target_s": 9.0, "order": ["local"]}}
    return parse_rules({"tiers": tiers, "clouds": CLOUDS, "chains": chains}, "chains.toml")


RULES = obeying()
HOME = obeying(may_spill=False)


def engine(model: str, **changes: Any) -> Target:
    return replace(LOCAL, name=f"local/{model}", models=frozenset({model}), **changes)


def cloud(model: str, **changes: Any) -> Target:
    return replace(CLOUD, name=f"cloud/{model}", models=frozenset({model}), **changes)


def pinned(model: str, **changes: Any) -> Ask:
    return ask(model=model, requested=model, how="pinned", **changes)


BIG = pinned("big")
IDLE = InFlight()
JAMMED = InFlight(promised_tokens=15_000)
OVERRUN = InFlight(promised_tokens=200_000)


def decide(asked: Ask, *targets: Target, rules: Rules = RULES) -> Decision:
    return through(choose(asked, Fleet(targets), rules, RICH))


def refusal(asked: Ask, *targets: Target, fleet: Fleet | None = None, rules: Rules = RULES) -> ApiError:
    decision = through(choose(asked, fleet or Fleet(targets), rules, RICH))
    assert decision.targets == ()
    assert decision.refusal is not None
    return decision.refusal


@pytest.mark.parametrize(
    ("targets", "order", "reason"),
    [
        pytest.param(
            [engine("tiny"), cloud("mid"), engine("mid"), cloud("big"), engine("big")],
            "local/big cloud/big local/mid cloud/mid local/tiny",
            "pinned",
            id="the whole of one model before the next, each in the order of the tier",
        ),
        pytest.param(
            [engine("big", off="failed"), engine("mid")], "local/mid", "fallback:off", id="nobody of the first is up"
        ),
        pytest.param(
            [engine("big", off="loading", starting=True), engine("mid")], "local/mid", "spill:starting", id="it starts"
        ),
        pytest.param([engine("tiny")], "local/tiny", "fallback:off", id="only one for an emergency is there"),
        pytest.param(
            [engine("big", health=Verdict("503")), cloud("mid")],
            "cloud/mid local/big",
            "fallback:503",
            id="the first failed of late",
        ),
        pytest.param(
            [engine("big", in_flight=JAMMED), engine("mid")],
            "local/mid local/big",
            "spill:kv",
            id="the first would break the promise, and another engine keeps it",
        ),
        pytest.param(
            [engine("big", in_flight=JAMMED), engine("mid", in_flight=JAMMED), cloud("tiny")],
            "cloud/tiny local/big local/mid",
            "spill:kv",
            id="nobody spills to an engine that would break the promise too",
        ),
        pytest.param(
            [engine("big", context_tokens=4), cloud("mid")],
            "cloud/mid",
            "escalate:context",
            id="the prompt is too long",
        ),
        pytest.param([engine("big"), engine("else")], "local/big", "pinned", id="who is not of the chain is not asked"),
    ],
)
def test_a_model_that_stands_in_serves_when_those_before_it_cannot(
    targets: list[Target], order: str, reason: str
) -> None:
    decision = decide(BIG, *targets)
    assert (" ".join(names(decision)), decision.reason) == (order, reason)


def test_a_model_that_cannot_do_it_hands_on_to_one_that_can() -> None:
    decision = decide(pinned("big", needs=frozenset({"vision"})), engine("big"), cloud("mid"))
    assert (names(decision), decision.reason) == (["cloud/mid"], "fallback:capability")


def test_a_longer_context_of_the_same_model_is_an_escalation_too() -> None:
    decision = decide(pinned("big", prompt_bytes=8 * 5000), engine("big"), cloud("big"))
    assert (names(decision), decision.reason) == (["cloud/big"], "escalate:context")


def test_a_target_that_serves_two_models_of_the_chain_is_tried_once() -> None:
    both = engine("big", in_flight=InFlight(promised_tokens=5))
    both = replace(both, models=frozenset({"big", "mid"}))
    assert names(decide(BIG, both, engine("mid"))) == ["local/big", "local/mid"]


def test_the_models_of_a_preset_are_a_chain() -> None:
    asked = ask(how="task", task="writing", model="mid", stand_ins=("tiny",))
    decision = decide(asked, engine("tiny"), engine("mid", off="failed"), engine("big"), rules=obeying({}))
    assert (names(decision), decision.reason) == (["local/tiny"], "fallback:off")


def test_private_work_is_done_by_a_model_at_home_that_stands_in() -> None:
    decision = decide(pinned("big", local_only=True), cloud("big"), engine("mid"))
    assert (names(decision), decision.reason) == (["local/mid"], "privacy")


def test_a_tier_that_may_not_spill_waits_for_its_model() -> None:
    decision = decide(BIG, engine("big", in_flight=JAMMED), engine("mid"), cloud("tiny"), rules=HOME)
    assert (names(decision)[0], decision.reason) == ("local/big", "pinned")


def test_a_tier_that_may_not_spill_goes_to_another_engine_rather_than_refuse() -> None:
    decision = decide(BIG, engine("big", in_flight=OVERRUN), cloud("big"), engine("mid"), rules=HOME)
    assert (names(decision)[0], decision.reason) == ("local/mid", "fallback:saturated")


def test_a_model_that_sleeps_is_wanted_while_another_stands_in_for_it() -> None:
    asleep = engine("big", off="sleeping", starting=True, returns_as="big")
    decision = decide(BIG, asleep, engine("mid"))
    assert (names(decision), decision.asleep, decision.prefers_it) == (["local/mid"], "big", True)


ANY = obeying({}, fallbacks=["mid"], emergency=["tiny"])


def test_where_any_model_will_do_those_that_stand_in_come_last() -> None:
    decision = decide(ask(), engine("tiny"), engine("mid"), cloud("big"), engine("else"), rules=ANY)
    assert names(decision) == ["local/else", "cloud/big", "local/mid", "local/tiny"]


def test_a_task_prefers_a_class_of_models_and_takes_another_if_need_be() -> None:
    small, large = engine("small", size="small"), cloud("large", size="large")
    wishes = ask(how="task", task="writing", size="large")
    assert names(decide(wishes, small, large)) == ["cloud/large", "local/small"]
    assert names(decide(wishes, small)) == ["local/small"]


def test_nobody_stands_in_for_a_model_that_does_not_exist() -> None:
    error = refusal(pinned("nope"), engine("mid"), rules=ANY)
    assert (error.status, error.code) == (404, "model_not_found")
    there = decide(pinned("else"), engine("else", off="failed"), engine("mid"), rules=ANY)
    assert names(there) == ["local/mid"]


@pytest.mark.parametrize(
    ("asked", "targets", "param", "words"),
    [
        pytest.param(
            pinned("else", local_only=True),
            [cloud("else")],
            "privacy",
            ["cloud/else", "local-only"],
            id="a cloud's model",
        ),
        pytest.param(
            pinned("else", tier="bulk"), [cloud("else")], "model", ["cloud/else", "'bulk'"], id="a tier without clouds"
        ),
        pytest.param(
            ask(local_only=True), [cloud("big"), engine("mid")], "privacy", ["'standard'"], id="a tier of clouds alone"
        ),
    ],
)
def test_hints_that_cannot_both_be_kept_are_400(
    asked: Ask, targets: list[Target], param: str, words: list[str]
) -> None:
    rules = obeying(order=["cloud"]) if asked.model is None else RULES
    error = refusal(asked, *targets, rules=rules)
    assert (error.status, error.code, error.param) == (400, "conflicting_hints", param)
    assert [word for word in words if word not in error.message] == []


def test_a_model_that_will_be_served_at_home_is_no_conflict() -> None:
    fleet = Fleet((cloud("else"),), models=frozenset({"else"}))
    assert refusal(pinned("else", local_only=True), fleet=fleet).status == 503
    assert refusal(pinned("else", tier="bulk"), fleet=fleet).status == 503


def test_a_decision_can_say_what_became_of_all_the_others() -> None:
    needing = pinned("big", needs=frozenset({"tools"}))
    decision = decide(needing, engine("big"), cloud("mid"), engine("else"))
    assert decision.considered() == ["local/else: serves_model no", "local/big: is_capable no"]


MODELS = st.sampled_from(["big", "mid", "tiny", "else"])
CROWDS = st.lists(
    st.one_of(
        st.builds(
            engine, MODELS, off=st.sampled_from([None, None, "failed"]), in_flight=st.sampled_from([IDLE, JAMMED])
        ),
        st.builds(cloud, MODELS, health=st.sampled_from([WELL, WELL, Verdict("503")])),
    ),
    max_size=8,
    unique_by=lambda target: target.name,
)


@given(crowd=CROWDS, asked=st.sampled_from([BIG, pinned("mid"), pinned("big", local_only=True), ask()]))
def test_nobody_stands_in_while_somebody_before_can(crowd: list[Target], asked: Ask) -> None:
    decision = decide(asked, *crowd)
    groups = groups_of(asked, Fleet(tuple(crowd)), chain_of(asked, Fleet(tuple(crowd)), RULES), RULES)
    depth = {target.name: number for number, group in enumerate(groups) for part in group for target in part}
    assert all(target.name in depth and target.off is None for target in decision.targets)
    able = [target for target in decision.targets if target.health is WELL and target.in_flight is not JAMMED]
    if able:
        assert decision.targets[0] in able
        assert depth[decision.targets[0].name] == min(depth[target.name] for target in able)
