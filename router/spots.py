"""Where models run by what stack.toml says, before anybody knows how that is: what `router.gaps` looks for holes in.

Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from engines.snapshot import ModelView
from router.registry import Deployment, is_turned_off, provider_of
from router.tables.cloud import Cloud
from router.tables.provider import Provider
from router.tables.rules import Rules

LOCAL, CLOUD = "local", "cloud"


class Spot(msgspec.Struct, frozen=True):
    """Somewhere a model runs, before anybody knows how it does. `engines` matches the names that its engines can have;
    `capabilities` is None where nobody has said what it can, `off` why it is off on purpose, None if it is not."""

    name: str
    place: str
    engines: str
    models: frozenset[str]
    size: str | None
    capabilities: frozenset[str] | None
    off: str | None = None


class Situation(msgspec.Struct, frozen=True):
    """All that the checks look at. `is_open`: engines serve models here of which the tables do not tell."""

    rules: Rules
    spots: tuple[Spot, ...]
    by_model: Mapping[str, list[Spot]]
    deployed: tuple[Deployment, ...]
    environment: Mapping[str, str]
    is_open: bool

    def where(self, model: str) -> list[Spot]:
        return self.by_model.get(model, [])


def situation_of(
    rules: Rules,
    models: Sequence[ModelView],
    deployed: tuple[Deployment, ...],
    environment: Mapping[str, str],
    is_open: bool,
) -> Situation:
    """`models` are what is known of local ones."""
    spots = (*_local_spots(rules, models), *_cloud_spots(rules, deployed))
    by_model: dict[str, list[Spot]] = {}
    for spot in spots:
        for model in spot.models:
            by_model.setdefault(model, []).append(spot)
    return Situation(rules, spots, by_model, deployed, environment, is_open)


def _local_spots(rules: Rules, models: Sequence[ModelView]) -> Iterator[Spot]:
    can = {model.name: frozenset(model.capabilities) for model in models}
    for name, model in rules.models.items():
        # Its replicas are called name-2, name-3 ...
        engines = rf"{re.escape(name)}(-\d+)?"
        yield Spot(f"local/{name}", LOCAL, engines, frozenset({name}), model.size, can.get(name))
    for name, server in rules.external.items():
        engines = rf"{re.escape(name)}(-.+)?"
        yield Spot(f"local/{name}", LOCAL, engines, frozenset(server.models or ()), None, None)


def _cloud_spots(rules: Rules, deployed: Sequence[Deployment]) -> Iterator[Spot]:
    for each in deployed:
        cloud = rules.clouds[each.name]
        # Who has no price and has not said to be off is complained of elsewhere.
        off = each.off if may_be_off(cloud, provider_of(cloud, rules)) else None
        engines = re.escape(each.name)
        yield Spot(f"cloud/{each.name}", CLOUD, engines, each.serves, each.size, each.capabilities, off)


def may_be_off(cloud: Cloud, provider: Provider | None) -> bool:
    """By an explicit word."""
    return is_turned_off(cloud, provider) or cloud.optional or (provider is not None and provider.optional)


def inside(order: Sequence[str], spots: Iterable[Spot]) -> list[Spot]:
    """Those that an order allows."""
    return [spot for spot in spots if any(_names(place, spot) for place in order)]


def _names(place: str, spot: Spot) -> bool:
    kind, _, engine = place.partition("/")
    return kind == spot.place and (not engine or re.fullmatch(spot.engines, engine) is not None)


def may_be_elsewhere(situation: Situation, order: Sequence[str]) -> bool:
    """Whether an engine that no table tells of may serve."""
    return situation.is_open and any(place.startswith(LOCAL) for place in order)
