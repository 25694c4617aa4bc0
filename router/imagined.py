"""The Fleet as stack.toml would have it, whatever runs now: every model has an engine that is ready and idle.

Pure. Costs are reckoned with it, and a route is explained by it where no router runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from msgspec.structs import replace

from engines.snapshot import EngineState, EngineView, HostView, ModelView, Snapshot
from ground.prices import PRICES, Listed
from router.health.verdict import WELL
from router.quotas.room import UNBOUNDED
from router.routing.fleet import EXTERNAL, Counts, Fleet, InFlight, Place, Target, merge
from router.tables.rules import Rules

# Where nobody says what a local model can or how much it reads, neither is a reason against it.
UNKNOWN_CONTEXT_TOKENS = 1_000_000
ANYTHING = ("chat", "completion", "embeddings", "tools", "vision", "json_schema", "reasoning", "audio")


def imagined(
    rules: Rules, models: Sequence[ModelView], environment: Mapping[str, str], prices: Mapping[str, Listed] = PRICES
) -> Fleet:
    """An engine for each model that is wanted here, and all clouds. `models` are the facts of the lock. A cloud without
    a key is off here too."""
    return merge(_planned(rules, models), 0.0, rules, Counts(environment=environment, prices=prices))


def whole(fleet: Fleet, rules: Rules) -> Fleet:
    """The Fleet with an engine for each wanted model that has none yet."""
    there = {name for target in fleet.targets if target.place is Place.LOCAL for name in target.models}
    expected = imagined(rules.model_copy(update={"clouds": {}}), (), {}).targets
    missing = [each for each in expected if there.isdisjoint(each.models)]
    return Fleet((*missing, *fleet.targets), fleet.complete, fleet.models, fleet.now_s) if missing else fleet


def at_rest(fleet: Fleet) -> Fleet:
    """Every target as if it could serve now and had nothing to do."""
    return replace(fleet, targets=tuple(map(_idle, fleet.targets)), complete=True)


def _idle(target: Target) -> Target:
    return replace(
        target,
        off=None,
        starting=False,
        in_flight=InFlight(),
        load=None,
        stale=False,
        weight=1.0,
        health=WELL,
        room=UNBOUNDED,
    )


def _planned(rules: Rules, models: Sequence[ModelView]) -> Snapshot:
    """As the supervisor would give it, were all engines ready."""
    known = {model.name: model for model in models}
    wanted = list(_wanted(rules, known))
    engines = tuple(_ready(*each) for each in wanted)
    facts = tuple(known.get(name) or ModelView(name, tokens, ANYTHING, None) for name, _, tokens in wanted)
    return Snapshot(0, 0, engines, facts, (), HostView(0, 0))


def _wanted(rules: Rules, known: Mapping[str, ModelView]) -> Iterator[tuple[str, str, int]]:
    """(name, kind of engine, context in tokens) of each local model."""
    for name, model in rules.models.items():
        locked = known[name].context_tokens if name in known else UNKNOWN_CONTEXT_TOKENS
        yield name, "vllm", model.context_tokens or locked
    for server in rules.external.values():
        for name in server.models or ():
            yield name, EXTERNAL, UNKNOWN_CONTEXT_TOKENS


def _ready(model: str, kind: str, context_tokens: int) -> EngineView:
    return EngineView(
        name=model,
        model=model,
        kind=kind,
        state=EngineState.READY,
        url="",
        device="",
        context_tokens=context_tokens,
        pid=None,
        in_state_s=0.0,
        restarts=0,
        last_error=None,
        load=None,
    )
