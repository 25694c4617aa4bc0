"""Every place where a model runs in a cloud, with all that is known of it: the one answer to "who serves X, and how".

Pure: tables of stack.toml, facts of the lock, a price list and an environment in, values out. Provider and their names
of models exist nowhere else. Local places are engines, which the Snapshot names.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from engines.snapshot import ModelView, Twin
from ground.prices import Listed
from router.clouds.kinds import is_somebody_elses, kind_of
from router.tables.cloud import Cloud
from router.tables.keys import engine_key
from router.tables.provider import Provider
from router.tables.quota import Quota as Bounds
from router.tables.rules import Rules

# A context that nobody stated: what nearly every cloud model of today takes.
CLOUD_CONTEXT_TOKENS = 128_000
TEXT = frozenset({"chat", "completion"})
EMBEDDINGS = "embeddings"
NO_PRICE = "no price: set input_usd_per_mtok and output_usd_per_mtok in its table"


class Price(msgspec.Struct, frozen=True):
    """Dollars per million tokens."""

    input_usd_per_mtok: float
    output_usd_per_mtok: float

    def usd(self, prompt_tokens: float, completion_tokens: float) -> float:
        return (prompt_tokens * self.input_usd_per_mtok + completion_tokens * self.output_usd_per_mtok) / 1e6


class Quota(msgspec.Struct, frozen=True):
    """Bounds of one key, as stack.toml or the provider's usual terms say. None: none known."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    requests_per_day: int | None = None
    tokens_per_day: int | None = None
    concurrent: int | None = None
    day_zone: str = "UTC"


class Deployment(msgspec.Struct, frozen=True):
    """One `[clouds.NAME]`, resolved. `kind` is the wire format (litellm's name of the provider), `provider` the pool of
    keys that it draws from, `key_envs` the variables that hold them. `off`: why it cannot be used, None if it can.

    `own` bounds this deployment alone, `pool` all deployments of its provider together, each for one key.
    """

    name: str
    provider: str
    kind: str
    model: str
    serves: frozenset[str]
    context_tokens: int
    capabilities: frozenset[str]
    price: Price | None
    key_envs: tuple[str, ...]
    base_url: str | None = None
    size: str | None = None
    output_tokens_per_s: float | None = None
    weight: float = 1.0
    own: Quota = Quota()
    pool: Quota = Quota()
    off: str | None = None


class Away(msgspec.Struct, frozen=True):
    """What keeps a deployment that is on by the rules from serving now. `is_coming`: it will serve by itself."""

    why: str
    is_coming: bool = False


class Known(msgspec.Struct, frozen=True):
    """What others than its own table say of a cloud: models.lock (the first model whose twin it is) and the price list.

    `serves` are all models whose place it is. What was locked for another `model` than its table names now is nothing.
    """

    serves: frozenset[str]
    twin: Twin | None = None
    listed: Listed | None = None


def known_of(name: str, cloud: Cloud, rules: Rules, models: Sequence[ModelView], prices: Mapping[str, Listed]) -> Known:
    twins = {model.name: model.twin for model in models if model.twin is not None and model.twin.deployment == name}
    named = (model for model, local in rules.models.items() if local.twin == name)
    # Of a server that only speaks OpenAI's format the list knows nothing, whatever its models are called.
    listed = None if is_somebody_elses(cloud.kind, base_url_of(cloud, rules)) else prices.get(cloud.model)
    locked = (twin for twin in twins.values() if twin.model in {"", cloud.model})
    return Known(frozenset({*cloud.serves, *twins, *named}), next(locked, None), listed)


def price_of(cloud: Cloud, known: Known) -> Price | None:
    """Each side from the first who says it; a price half known is unknown."""
    price_in = _first("input_usd_per_mtok", cloud, known)
    price_out = _first("output_usd_per_mtok", cloud, known)
    return None if price_in is None or price_out is None else Price(price_in, price_out)


def only_embeds(capabilities: frozenset[str]) -> bool:
    """Whether it makes vectors and no text. Who says nothing of either makes text."""
    return EMBEDDINGS in capabilities and capabilities.isdisjoint(TEXT)


def capabilities_of(cloud: Cloud, known: Known) -> frozenset[str] | None:
    """None: nobody says what it can."""
    capabilities: Collection[str] | None = _first("capabilities", cloud, known)
    return None if capabilities is None else frozenset(capabilities)


def pool_of(cloud: Cloud) -> str:
    """The pool of keys that it draws from: that of a `[providers]` table, or the variable of its own key."""
    return cloud.key_env or cloud.provider or cloud.kind


def provider_of(cloud: Cloud, rules: Rules) -> Provider | None:
    return None if cloud.key_env else rules.providers.get(pool_of(cloud))


def is_turned_off(cloud: Cloud, provider: Provider | None) -> bool:
    return cloud.off or (provider is not None and provider.off)


def base_url_of(cloud: Cloud, rules: Rules) -> str | None:
    provider = provider_of(cloud, rules)
    return cloud.base_url or (provider.base_url if provider else None)


def key_envs_of(cloud: Cloud, rules: Rules) -> tuple[str, ...]:
    provider = provider_of(cloud, rules)
    return (cloud.key_env,) if cloud.key_env else provider.key_env if provider else ()


def deployments(
    rules: Rules, models: Sequence[ModelView], prices: Mapping[str, Listed], environment: Mapping[str, str]
) -> tuple[Deployment, ...]:
    """All clouds of the rules, in their order. What stack.toml says goes before what `models` have locked, and that
    before the price list."""
    return tuple(
        _deployment(name, cloud, rules, known_of(name, cloud, rules, models, prices), environment)
        for name, cloud in rules.clouds.items()
    )


def _deployment(name: str, cloud: Cloud, rules: Rules, known: Known, environment: Mapping[str, str]) -> Deployment:
    provider, base_url, key_envs = provider_of(cloud, rules), base_url_of(cloud, rules), key_envs_of(cloud, rules)
    zone = (provider.day_zone if provider else None) or kind_of(cloud.kind, base_url).day_zone
    price, capabilities = price_of(cloud, known), capabilities_of(cloud, known)
    return Deployment(
        name=name,
        provider=pool_of(cloud),
        kind=cloud.kind,
        model=cloud.model,
        serves=known.serves,
        context_tokens=_first("context_tokens", cloud, known) or CLOUD_CONTEXT_TOKENS,
        capabilities=TEXT if capabilities is None else capabilities,
        price=price,
        key_envs=key_envs,
        base_url=base_url,
        size=cloud.size,
        output_tokens_per_s=cloud.output_tokens_per_s,
        weight=cloud.weight,
        own=_quota(cloud, zone),
        pool=Quota(day_zone=zone) if provider is None else _quota(provider, zone),
        off=_why_off(cloud, provider, key_envs, environment) or (NO_PRICE if price is None else None),
    )


def _first(fact: str, cloud: Cloud, known: Known) -> Any:
    """What stack.toml says of it, else the lock, else the price list."""
    said = (getattr(each, fact) for each in (cloud, known.twin, known.listed) if each is not None)
    return next((value for value in said if value is not None), None)


def _quota(table: Bounds, day_zone: str) -> Quota:
    return Quota(
        table.requests_per_minute,
        table.tokens_per_minute,
        table.requests_per_day,
        table.tokens_per_day,
        table.concurrent,
        table.day_zone or day_zone,
    )


def _why_off(
    cloud: Cloud, provider: Provider | None, key_envs: Sequence[str], environment: Mapping[str, str]
) -> str | None:
    if is_turned_off(cloud, provider):
        return "off = true in stack.toml"
    if any(engine_key(key_env, environment) for key_env in key_envs):
        return None
    return missing_keys(key_envs)


def missing_keys(key_envs: Sequence[str]) -> str:
    """In words; none of them is set."""
    if not key_envs:
        return "no variable is named that holds its key"
    if len(key_envs) == 1:
        return f"the variable {key_envs[0]} is not set"
    return f"none of the variables {', '.join(key_envs)} is set"
