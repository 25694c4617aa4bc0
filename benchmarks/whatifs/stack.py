"""What stack.toml, the lock and the plan say, and with it to which model of ours a request of the ledger belongs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.price import Price
from benchmarks.whatifs.place import Place, places_in
from benchmarks.whatifs.row import CLOUD, LOCAL, Block, Row
from engines.snapshot import models_from_json
from ground.prices import PRICES
from router.registry import Deployment, deployments
from router.tables.read import load_rules
from router.tables.rules import Rules
from router.tables.table import ConfigError

# Why a request that engines of ours come first for went to a cloud all the same.
SPILLED = ("spill:", "fallback:")


@dataclass(frozen=True, slots=True)
class Stack:
    """`clouds` by name, as they are resolved; `places` are the engines of the plan, none where nobody said."""

    rules: Rules
    clouds: Mapping[str, Deployment]
    places: tuple[Place, ...]

    def model_of(self, each: Row | Block) -> str | None:
        """Whose engines served it, or would have were there room. None: it was never theirs."""
        name = each.target
        if name.startswith(LOCAL):
            engine = name.removeprefix(LOCAL)
            return next((place.model for place in self.places if place.name == engine), each.model)
        tier = self.rules.tiers.get(each.tier)
        if not name.startswith(CLOUD) or not each.reason.startswith(SPILLED):
            return None
        if tier is not None and not tier.order[0].startswith("local"):
            return None
        cloud = self.clouds.get(name.removeprefix(CLOUD))
        return None if cloud is None else next((model for model in self.wanted if model in cloud.serves), None)

    @property
    def wanted(self) -> tuple[str, ...]:
        """The models that are to run here."""
        elsewhere = (name for server in self.rules.external.values() for name in server.models or {})
        return tuple(dict.fromkeys((*self.rules.models, *(place.model for place in self.places), *elsewhere)))

    def shared(self, model: str) -> list[str]:
        """In words: what was spilled of others, and counts as this model's, since the ledger does not tell whose."""
        found = []
        for cloud in self.clouds.values():
            served = [each for each in self.wanted if each in cloud.serves]
            if served[1:] and served[0] == model:
                found.append(f"{cloud.name} stands in for {', '.join(served)} alike; what it served counts here")
        return found

    def twin_of(self, model: str) -> tuple[str, Price] | None:
        """The cloud that serves in its place, with what it asks. None: there is none, or nobody knows its price."""
        for cloud in self.clouds.values():
            if model in cloud.serves and cloud.price is not None:
                return cloud.name, Price(cloud.price.input_usd_per_mtok, cloud.price.output_usd_per_mtok)
        return None

    def places_of(self, model: str) -> Sequence[Place]:
        """Its engines that can run at once."""
        found = [place for place in self.places if place.model == model]
        return [place for place in found if not place.is_alternate] or found[:1]


def stack_in(config: Path, models: str, plan: str) -> Stack:
    """`models` and `plan` as JSON. Raises ValueError with a sentence."""
    try:
        rules = load_rules(config)
    except ConfigError as error:
        raise ValueError(str(error)) from error
    resolved = deployments(rules, models_from_json(models), PRICES, os.environ)
    return Stack(rules, {each.name: each for each in resolved}, places_in(plan))
