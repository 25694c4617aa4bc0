"""Who may stand in: no cloud takes a request whose answer it would spoil while an engine here can serve it."""

from __future__ import annotations

import importlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from router.ask import Ask, Endpoint, read_ask
from router.because import Moment
from router.clouds.kinds import FIELDS, KINDS, drops_of
from router.explain import Seen, explain
from router.routing.fleet import Fleet, Target
from router.routing.gate import Decision
from router.routing.passing import Money
from router.routing.policy import choose
from router.spilling import parity
from router.tables.rules import Rules
from router.verbs.__main__ import main
from tests.gates import through
from tests.routers import HELLO
from tests.specimens import CLOUD, LOCAL, RULES, ask, busy, cloud, local

RICH = Money(10.0)
FULL = busy(requests=50, unstarted=50, unstarted_tokens=10**6, promised_tokens=10**6, oldest_sent_at_s=0.0)
PLAIN = cloud(name="cloud/plain", drops=frozenset({"logprobs", "top_logprobs", "seed"}))
MOST, A_FEW = 80, 4
WANTS = frozenset({"logprobs"})


def chosen(asked: Ask, *targets: Target, rules: Rules = RULES) -> Decision:
    return through(choose(asked, Fleet(targets), rules, RICH))


def names(decision: Decision) -> list[str]:
    return [target.name for target in decision.targets]


def read(**fields: Any) -> Ask:
    body = {"model": "auto", "messages": HELLO} | fields
    return read_ask(json.dumps(body).encode(), {}, Endpoint.CHAT, RULES)


@pytest.mark.parametrize(
    ("fields", "relies"),
    [
        ({}, set()),
        ({"logprobs": True, "top_logprobs": 2}, {"logprobs", "top_logprobs"}),
        ({"seed": 0}, {"seed"}),
        ({"logit_bias": {"42": -100}, "stop": ["."]}, {"logit_bias", "stop"}),
        ({"logprobs": False, "seed": None, "logit_bias": {}, "stop": []}, set()),
    ],
)
def test_a_request_relies_on_the_fields_that_it_gives(fields: dict[str, Any], relies: set[str]) -> None:
    assert read(**fields).relies == relies


def test_a_twin_that_leaves_out_a_field_takes_no_spill_whatever_the_load() -> None:
    assert names(chosen(ask(), FULL, PLAIN))[0] == "cloud/plain"
    decision = chosen(ask(relies=WANTS), FULL, PLAIN)
    assert "cloud/plain" not in names(decision)
    assert "cloud/plain: obeys_fields no" in decision.considered()
    # Another one that obeys it does.
    assert names(chosen(ask(relies=WANTS), FULL, PLAIN, CLOUD))[0] == CLOUD.name


def test_nor_does_it_when_the_engine_is_off_or_asleep() -> None:
    off = local(off="failed: it is broken")
    assert names(chosen(ask(), off, PLAIN)) == ["cloud/plain"]
    decision = chosen(ask(relies=WANTS), off, PLAIN)
    assert names(decision) == []
    assert decision.refusal is not None
    assert decision.refusal.status == 503


def test_a_tier_that_prefers_clouds_stays_here_with_what_only_an_engine_obeys() -> None:
    assert names(chosen(ask(tier="premium"), LOCAL, PLAIN))[0] == "cloud/plain"
    assert names(chosen(ask(tier="premium", relies=WANTS), LOCAL, PLAIN)) == [LOCAL.name]


def test_where_no_engine_can_serve_it_a_cloud_does_as_its_provider_does() -> None:
    only_there = cloud(name="cloud/plain", models=frozenset({"far"}), drops=PLAIN.drops)
    assert names(chosen(ask(model="far", how="pinned", relies=WANTS), LOCAL, only_there)) == ["cloud/plain"]
    blind = ask(relies=WANTS, needs=frozenset({"vision"}))
    seeing = cloud(name="cloud/plain", drops=PLAIN.drops, capabilities=frozenset({"chat", "vision"}))
    assert names(chosen(blind, LOCAL, seeing)) == ["cloud/plain"]


WHY = [
    pytest.param(ask(local_only=True), {}, "keeps_privacy: the request is local-only", id="privacy"),
    pytest.param(
        ask(needs=frozenset({"vision"})),
        {"capabilities": frozenset({"chat"})},
        "is_capable: it has no vision",
        id="capability",
    ),
    pytest.param(
        ask(answers=3), {"drops": frozenset({"n"})}, "gives_several: it gives one answer, 3 are", id="answers"
    ),
    pytest.param(
        ask(relies=frozenset({"seed", "stop"})),
        {"drops": frozenset({"seed", "n"})},
        "obeys_fields: it would leave out seed",
        id="a field",
    ),
    pytest.param(ask(prompt_bytes=2000), {"context_tokens": 100}, "its context is 100", id="context"),
    pytest.param(
        ask(), {"capabilities": frozenset({"embeddings"}), "only_embeds": True}, "makes vectors and no text", id="text"
    ),
]


@pytest.mark.parametrize(("asked", "twin", "words"), WHY)
def test_every_lack_is_told_by_the_same_judge_that_forbids(asked: Ask, twin: dict[str, Any], words: str) -> None:
    home = local(context_tokens=10**7, capabilities=frozenset({"chat", "completion", "vision"}))
    target = cloud(**twin)
    lacking = parity.lack(asked, target, has_home=True)
    assert lacking is not None
    found = explain(asked, Fleet((home, target)), RULES, Moment(RICH))
    assert found.target == home.name
    seen: Seen = next(each for each in found.targets if each.target == target.name)
    assert seen.why == f"{lacking.name}: {lacking.words(asked, target)}"
    assert words in seen.why
    assert parity.lack(ask(), cloud(), has_home=True) is None


def test_the_verb_says_what_a_twin_lacks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, request = tmp_path / "stack.toml", tmp_path / "request.json"
    path.write_text(
        "[endpoint]\nport = 1\n[tiers.standard]\nttft_target_s = 2.0\n[models.tiny]\ntwin = 'claude'\n"
        "[clouds.claude]\nmodel = 'anthropic/claude-haiku-4-5'\nkey_env = 'CLAUDE_KEY'\n"
    )
    request.write_text(json.dumps({"model": "tiny", "messages": HELLO, "logprobs": True}))
    assert main(["route", "--config", str(path), "--file", str(request), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["target"] == "local/tiny"
    why = {seen["target"]: seen["why"] for seen in found["targets"]}
    assert why["cloud/claude"] == "obeys_fields: it would leave out logprobs"


def test_what_is_left_out_is_what_litellm_leaves_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of chat models that its table has of each kind; by their names only OpenAI's differ."""
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    monkeypatch.setenv("LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS", "True")
    sdk = importlib.import_module("litellm")
    looked: Counter[str] = Counter()
    for name, row in sdk.model_cost.items():
        kind = str(row.get("litellm_provider"))
        if kind not in KINDS or row.get("mode") != "chat" or looked[kind] == (MOST if kind == "openai" else A_FEW):
            continue
        model = name.removeprefix(f"{kind}/")
        takes = sdk.get_supported_openai_params(model=model, custom_llm_provider=kind) or ()
        left_out, said = FIELDS.difference(takes), drops_of(kind, f"{kind}/{model}")
        # Of models that reason it may say too much, which costs a spill and no answer.
        assert said >= left_out, name
        assert said == left_out or kind == "openai", name
        looked[kind] += 1
    assert len(looked) >= 7
    assert drops_of("openai", "openai/gpt-4o") == frozenset()
