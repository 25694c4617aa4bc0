"""What counts for one Ask: the promise of its tier, and the order and weights that its route or its task may change."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from router.ask import Ask
from router.routing.fleet import Place, Target
from router.tables.rules import Rules
from router.tables.strategy import Weights

# Members of an enumeration are slow to look up in it.
LOCAL = Place.LOCAL


class Terms(msgspec.Struct, frozen=True):
    """`order` and `weights` as in the tables; `max_wait_s` is the longest wait for local room before a refusal."""

    tier: str
    order: Sequence[str]
    weights: Weights
    ttft_target_s: float
    may_spill: bool
    max_wait_s: float

    def position(self, target: Target) -> int:
        """Where the order first names the target or its place; its length if nowhere."""
        here = (target.place, target.name)
        for index, place in enumerate(self.order):
            if place in here:
                return index
        return len(self.order)

    @property
    def prefers_engines(self) -> bool:
        return self.order[0].startswith(LOCAL)

    @property
    def uses_engines(self) -> bool:
        return any([place.startswith(LOCAL) for place in self.order])


def terms_of(ask: Ask, rules: Rules) -> Terms:
    tier = rules.tiers[ask.tier]
    return Terms(
        ask.tier,
        ask.order or tier.order,
        tier.strategy if ask.strategy is None else ask.strategy,
        tier.ttft_target_s,
        tier.may_spill,
        rules.limits.max_wait_s,
    )
