"""Specimens for tests of the router: an Ask, a Target, a Snapshot, as plain as can be, changed by keyword.

Pure values only. The local engine is idle and the cloud has a key and a price unless a test says otherwise.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from hypothesis import strategies as st
from msgspec import structs
from msgspec.structs import replace

from engines.snapshot import EngineState, EngineView, HostView, Load, ModelView, Snapshot, Twin
from router.ask import Ask, Endpoint, read_ask
from router.health.verdict import WELL, Verdict
from router.outcome import Outcome
from router.registry import Price
from router.routing.fleet import Fleet, InFlight, Pace, Place, Target
from router.routing.passing import Money
from router.tables.read import parse_rules
from router.tables.rules import Rules

RULES = parse_rules(
    {
        "tiers": {
            "bulk": {"ttft_target_s": 20.0, "order": ["local"], "may_spill": False},
            "standard": {"ttft_target_s": 2.0, "order": ["local", "cloud"]},
            "premium": {"ttft_target_s": 1.0, "order": ["cloud", "local"]},
            "homely": {"ttft_target_s": 2.0, "order": ["local", "cloud"], "may_spill": False},
            "airy": {"ttft_target_s": 2.0, "order": ["cloud"]},
        },
        "tasks": {"classification": {"tier": "bulk"}, "coding": {"tier": "premium", "model": "smoke"}},
        "clouds": {"nano": {"model": "openai/gpt-5-nano", "key_env": "NANO_KEY"}},
    },
    "specimen.toml",
)

# Where the specimens' cloud finds its key.
ENVIRONMENT = {"NANO_KEY": "sk-nano"}

IDLE = Load(
    running=0,
    waiting=0,
    kv_used_fraction=0.0,
    kv_capacity_tokens=10_000,
    prompt_tokens_total=0,
    generation_tokens_total=0,
    preemptions_total=0,
    age_s=0.1,
)

ASK = replace(
    read_ask(
        b'{"model":"auto","messages":[{"role":"user","content":"Where am I?"}],"stream":true}',
        {"x-request-id": "req-1"},
        Endpoint.CHAT,
        RULES,
    ),
    prompt_bytes=40,
)

LOCAL = Target(
    name="local/smoke",
    place=Place.LOCAL,
    models=frozenset({"smoke"}),
    served_name="smoke",
    url="http://127.0.0.1:8000",
    context_tokens=4096,
    capabilities=frozenset({"chat", "completion"}),
    price=Price(0.0, 0.0),
    load=IDLE,
)

CLOUD = Target(
    name="cloud/nano",
    place=Place.CLOUD,
    models=frozenset({"smoke"}),
    served_name="openai/gpt-5-nano",
    url=None,
    context_tokens=272_000,
    capabilities=frozenset({"chat", "tools", "vision", "json_schema"}),
    price=Price(0.05, 0.4),
)

KEYLESS = replace(CLOUD, off="the variable NANO_KEY is not set")

ENGINE = EngineView(
    name="smoke",
    model="smoke",
    kind="vllm",
    state=EngineState.READY,
    url="http://127.0.0.1:8000",
    device="cpu",
    context_tokens=4096,
    pid=1,
    in_state_s=1.0,
    restarts=0,
    last_error=None,
    load=IDLE,
)

TWIN = Twin("nano", 272_000, ("chat", "tools"), 0.05, 0.4, "litellm")
MODEL = ModelView("smoke", 4096, ("chat", "completion"), TWIN)

OUTCOME = Outcome(
    request_id="req-1",
    at_unix_s=1000.0,
    target="local/smoke",
    model="smoke",
    tier="standard",
    task=None,
    tenant=None,
    feature=None,
    reason="tier",
    attempts=1,
    status=200,
    error=None,
    prompt_tokens=10,
    completion_tokens=20,
    usd=0.0,
    ttft_s=0.1,
    e2e_s=1.0,
)


def ask(**changes: Any) -> Ask:
    return replace(ASK, **changes)


def load(**changes: Any) -> Load:
    return dataclasses.replace(IDLE, **changes)


def local(**changes: Any) -> Target:
    return replace(LOCAL, **changes)


def cloud(**changes: Any) -> Target:
    return replace(CLOUD, **changes)


def busy(**changes: Any) -> Target:
    """The local target with this much of ours in flight."""
    return replace(LOCAL, in_flight=InFlight(**changes))


def snapshot(*engines: EngineView, models: tuple[ModelView, ...] = (MODEL,)) -> Snapshot:
    return Snapshot(1, 1, engines or (ENGINE,), models, (), HostView(0, 0))


def outcome(**changes: Any) -> Outcome:
    return structs.replace(OUTCOME, **changes)


MAYBE_CAUSE = st.sampled_from([None, None, None, "429", "connect"])
ILL = Verdict("503", 0.0)
HEALTH = st.sampled_from([WELL, WELL, WELL, ILL, Verdict("500", 0.0, 1), Verdict(None, 0.5, 0, "connect")])
LOADS = st.none() | st.builds(load, kv_used_fraction=st.floats(0, 1), waiting=st.integers(0, 5))
SMOKE, ELSE = frozenset({"smoke"}), frozenset({"else"})
FLIGHTS = st.builds(
    InFlight,
    promised_tokens=st.sampled_from([0, 500, 20_000, 10**6]),
    unstarted_tokens=st.sampled_from([0, 20_000]),
    oldest_sent_at_s=st.sampled_from([math.inf, 0.0, -1.5, -3.0, -100.0]),
)
LOCALS = st.builds(
    local,
    models=st.sampled_from([SMOKE, SMOKE, SMOKE, ELSE]),
    off=MAYBE_CAUSE,
    starting=st.booleans(),
    health=HEALTH,
    stale=st.sampled_from([False, False, True]),
    load=LOADS,
    in_flight=FLIGHTS,
)
CLOUDS = st.builds(cloud, off=MAYBE_CAUSE, health=HEALTH, pace=st.builds(Pace, bytes_per_token=st.floats(1, 8)))
ASKS = st.builds(
    ask,
    tier=st.sampled_from(sorted(RULES.tiers)),
    how=st.sampled_from(["tier", "task", "pinned"]),
    model=st.sampled_from([None, None, "smoke", "smoke", "else", "nowhere"]),
    prompt_bytes=st.sampled_from([0, 40, 400, 4000, 10_000, 10**7]),
    max_tokens=st.none() | st.integers(1, 10_000),
    needs=st.sampled_from([frozenset(), frozenset(), frozenset(), frozenset({"tools"})]),
    local_only=st.booleans(),
    deadline_s=st.none() | st.sampled_from([0.001, 1.0, 100.0]),
    max_usd=st.sampled_from([None, None, 1e-9, 1.0]),
)


# Everything that a decision is made of, as `choose` takes it.
Situation = tuple[Ask, Fleet, Rules, Money]


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    locals_ = [
        replace(each, name=f"local/{i}")
        for i, each in enumerate(draw(st.lists(LOCALS, max_size=3) | st.lists(LOCALS, min_size=1, max_size=2)))
    ]
    clouds = [replace(each, name=f"cloud/{i}") for i, each in enumerate(draw(st.lists(CLOUDS, max_size=2)))]
    money = Money(draw(st.sampled_from([10.0, 10.0, 0.001, 0.0, -1.0])))
    return draw(ASKS), Fleet((*locals_, *clouds), draw(st.booleans())), RULES, money
