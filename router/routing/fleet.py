"""Everywhere a request can run, as one immutable view: local engines and cloud deployments with load and price.

Pure: a snapshot, its age and the router's own counts go in. The own count of tokens in flight is exact and
immediate; what engines report corrects it and is never trusted when it is old.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from enum import StrEnum

import msgspec
from msgspec.structs import replace

from engines.snapshot import EngineState, EngineView, Load, ModelView, Snapshot
from ground.prices import Listed
from router.ask import BYTES_PER_TOKEN
from router.clouds.kinds import NO_FIELDS, ONE_ANSWER, drops_of
from router.health.verdict import WELL, Verdict
from router.quotas.room import UNBOUNDED, Room
from router.registry import TEXT, Away, Deployment, Price, deployments, only_embeds
from router.routing.off import why_off
from router.routing.seats import Seats
from router.tables.rules import Rules

# A report older than this says nothing about now: the engine counts as full (field practice is 0.2 to 2 s).
STALE_S = 2.0
# The kind of an engine that runs elsewhere and reports no load, so none can be old.
EXTERNAL = "url"
OLLAMA = "ollama"
# Waits are divided by it.
LEAST_WEIGHT = 0.01


class Place(StrEnum):
    LOCAL = "local"
    CLOUD = "cloud"


class InFlight(msgspec.Struct, frozen=True):
    """What this router, all its workers together, has sent to one target and not seen finished.

    `promised_tokens` counts prompt and expected answer of all of them; `unstarted_tokens` the prompts that gave no
    token yet, the oldest of which was sent at `oldest_sent_at_s` (infinite: there is none). A moment and not a wait, so
    that it stays true while nothing happens there.
    """

    requests: int = 0
    promised_tokens: int = 0
    unstarted: int = 0
    unstarted_tokens: int = 0
    oldest_sent_at_s: float = math.inf


class Pace(msgspec.Struct, frozen=True):
    """What this router has learned of one target from the answers that passed through it (`router.routing.pace`).

    The medians of the time to first token and between two tokens are None until an answer has shown them.
    """

    answers: int = 0
    bytes_per_token: float = BYTES_PER_TOKEN
    answer_tokens: float = 256.0
    prefill_tokens_per_s: float = 4000.0
    stream_tokens_per_s: float = 30.0
    freed_tokens_per_s: float | None = None
    ttft_p50_s: float | None = None
    tpot_p50_s: float | None = None


class Target(msgspec.Struct, frozen=True):
    """Anywhere an Ask can run. `off` says why it cannot take requests now; None means that it can.

    `starting`: it is on its way, or sleeps and comes when it is wanted. `returns_as` is the model by which an engine is
    wanted that serves again after its end or its sleep; None where nobody promises that. `health` says whether it is
    passed over while another can serve, because it failed of late. `report_age_s` is how old its load was when its
    snapshot was taken; None for what reports no load, of which none can be old. `slots`: so many requests it serves at
    once, the others queue; None where memory decides. `max_num_seqs` are decoded together, `max_num_batched_tokens`
    computed in one step, where that is known. `weight` is below 1 while it is slowed down. `key` is what its
    counts are kept under: a replaced engine hands its name on while its last requests still run. `size` is the class of
    its model, `provider` whose limits hold for it, `preference` its share among its like where a tier weighs them.
    `only_embeds`: it makes vectors and no text. `drops` are fields that it does not obey, as `n`: it gives one answer.
    """

    name: str
    place: Place
    models: frozenset[str]
    served_name: str
    url: str | None
    context_tokens: int
    capabilities: frozenset[str]
    off: str | None = None
    starting: bool = False
    price: Price | None = None
    in_flight: InFlight = InFlight()
    pace: Pace = Pace()
    load: Load | None = None
    report_age_s: float | None = None
    stale: bool = False
    key: str = ""
    kind: str = ""
    returns_as: str | None = None
    slots: int | None = None
    weight: float = 1.0
    key_env: str | None = None
    size: str | None = None
    provider: str = ""
    preference: float = 1.0
    only_embeds: bool = False
    drops: frozenset[str] = NO_FIELDS
    health: Verdict = WELL
    room: Room = UNBOUNDED
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None

    def prompt_tokens(self, prompt_bytes: int) -> float:
        """Estimated, by this target's own bytes a token."""
        return prompt_bytes / self.pace.bytes_per_token


class Fleet(msgspec.Struct, frozen=True):
    """All targets at one moment. `complete` is False until the engines have been heard of. `models` are wanted here,
    also those of which no engine is known yet. `now_s` is the moment, of the clock that `InFlight` goes by. `where` are
    the seats of the targets of each model, if anybody has looked for them already; `plain_tokens` the length of text
    that any of them may serve, 0 if nobody has looked."""

    targets: tuple[Target, ...]
    complete: bool = True
    models: frozenset[str] = frozenset()
    now_s: float = 0.0
    where: Mapping[str | None, Seats] | None = None
    plain_tokens: int = 0

    def serves(self, model: str) -> bool:
        if self.where is not None:
            return model in self.where
        return any([model in target.models for target in self.targets])

    def model_names(self) -> frozenset[str]:
        return frozenset(name for target in self.targets for name in target.models)

    def named(self, name: str) -> Target | None:
        return next((target for target in self.targets if target.name == name), None)


class Counts(msgspec.Struct, frozen=True):
    """The router's own knowledge of each target by name."""

    in_flight: Mapping[str, InFlight] = {}
    pace: Mapping[str, Pace] = {}
    health: Mapping[str, Verdict] = {}
    cloud_off: Mapping[str, Away] = {}
    environment: Mapping[str, str] = {}
    prices: Mapping[str, Listed] = {}


def merge(snapshot: Snapshot | None, snapshot_age_s: float, rules: Rules, counts: Counts) -> Fleet:
    """The Fleet: the engines of the snapshot, and the clouds of the rules with what the lock says of them."""
    deployed = deployments(rules, snapshot.models if snapshot else (), counts.prices, counts.environment)
    return Fleet(
        tuple(
            as_seen(
                target,
                counts.in_flight.get(target.name, IDLE),
                counts.pace.get(target.name, UNKNOWN),
                counts.health.get(target.name, WELL),
                snapshot_age_s,
            )
            for target in standing(snapshot, rules, deployed, counts.cloud_off, counts.environment)
        ),
        complete=snapshot is not None,
        models=wanted_models(snapshot),
    )


IDLE = InFlight()
UNKNOWN = Pace()


def standing(
    snapshot: Snapshot | None,
    rules: Rules,
    deployed: Sequence[Deployment],
    cloud_off: Mapping[str, Away],
    environment: Mapping[str, str],
) -> tuple[Target, ...]:
    """All targets without what changes from one request to the next. `environment` has the keys of external engines,
    `cloud_off` what keeps a cloud that is on by the rules from serving now."""
    engines = snapshot.engines if snapshot else ()
    models = {model.name: model for model in snapshot.models} if snapshot else {}
    sizes = {name: model.size for name, model in rules.models.items()}
    local = [_local(each, models.get(each.model), sizes.get(each.model), environment) for each in engines]
    return (*local, *(_cloud(each, cloud_off) for each in deployed))


def wanted_models(snapshot: Snapshot | None) -> frozenset[str]:
    return frozenset(model.name for model in snapshot.models) if snapshot else frozenset()


def as_seen(
    target: Target, in_flight: InFlight, pace: Pace, health: Verdict, snapshot_age_s: float, room: Room = UNBOUNDED
) -> Target:
    """A standing target with what is known of it now."""
    stale = target.report_age_s is not None and target.report_age_s + snapshot_age_s > STALE_S
    return replace(target, in_flight=in_flight, pace=pace, health=health, stale=stale, room=room)


def plain_tokens(targets: Sequence[Target]) -> int:
    """Text of no more tokens than this, prompt and answer together, is no reason to look closely at any target."""
    if any([target.kind == OLLAMA or target.only_embeds for target in targets]):
        return 0
    return min([target.context_tokens for target in targets], default=0)


def _local(engine: EngineView, model: ModelView | None, size: str | None, environment: Mapping[str, str]) -> Target:
    state, is_wanted = engine.state, model is not None
    capabilities = frozenset(model.capabilities) if model else TEXT
    return Target(
        name=f"local/{engine.name}",
        place=Place.LOCAL,
        # While it is being replaced an engine has a name that nobody may ask for.
        models=frozenset({engine.model} if REPLACED in engine.name else {engine.model, engine.name}),
        served_name=engine.served_name or engine.model,
        url=engine.url,
        context_tokens=engine.context_tokens,
        capabilities=capabilities,
        off=why_off(engine, environment),
        starting=state in STARTING or (state is EngineState.DRAINING and is_wanted),
        price=Price(0.0, 0.0),
        load=engine.load,
        report_age_s=engine.load.age_s if engine.load else None if engine.kind == EXTERNAL else 0.0,
        key=f"local/{engine.name} {engine.url}",
        kind=engine.kind,
        returns_as=engine.model if _returns(engine, is_wanted) else None,
        slots=engine.slots,
        weight=max(engine.weight, LEAST_WEIGHT),
        key_env=engine.key_env,
        size=size,
        only_embeds=only_embeds(capabilities),
        # Ollama 0.33: its /v1 reads no `n` and one prompt alone.
        drops=ONE_ANSWER if engine.kind == OLLAMA else NO_FIELDS,
        max_num_seqs=engine.max_num_seqs,
        max_num_batched_tokens=engine.max_num_batched_tokens,
    )


# In the name of an engine that replaces another or is replaced; no model may have it in its own.
REPLACED = "~"
_S = EngineState
# `spill:starting` promises an engine that comes up as it should. One that failed is none of these: who goes elsewhere
# because of it has the reason `fallback:off`, though it is waited for alike by those who can go nowhere else.
STARTING = frozenset({_S.PLANNED, _S.DOWNLOADING, _S.LAUNCHING, _S.LOADING, _S.WARMING, _S.SLEEPING})
# One that failed to start as often in a row is not waited for.
MOST_FAILED_STARTS = 2


def _returns(engine: EngineView, is_wanted: bool) -> bool:
    """Whether it serves again by itself or because it is wanted, should it not serve now. One that drains does if its
    model is wanted still: it goes to sleep, or another takes its place."""
    if engine.kind == EXTERNAL:
        # Nobody here starts it; before it was asked for the first time it may well be there.
        return engine.state in STARTING
    if engine.state is _S.FAILED:
        return engine.failed_starts < MOST_FAILED_STARTS
    if engine.state is _S.QUARANTINED:
        return engine.is_awaited
    if engine.state is _S.DRAINING:
        return is_wanted
    return engine.state is _S.READY or engine.state in STARTING


def _cloud(deployment: Deployment, cloud_off: Mapping[str, Away]) -> Target:
    full = f"cloud/{deployment.name}"
    away = None if deployment.off else cloud_off.get(full)
    speed = deployment.output_tokens_per_s
    return Target(
        name=full,
        place=Place.CLOUD,
        models=deployment.serves,
        served_name=deployment.model,
        url=deployment.base_url,
        context_tokens=deployment.context_tokens,
        capabilities=deployment.capabilities,
        off=deployment.off or (away.why if away else None),
        starting=away is not None and away.is_coming,
        price=deployment.price,
        pace=UNKNOWN if speed is None else Pace(stream_tokens_per_s=speed),
        key=full,
        size=deployment.size,
        provider=deployment.provider,
        preference=deployment.weight,
        only_embeds=only_embeds(deployment.capabilities),
        drops=drops_of(deployment.kind, deployment.model),
    )
