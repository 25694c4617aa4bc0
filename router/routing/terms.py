"""What counts for one Ask: the promise of its tier, and the order and weights that its route or its task may change."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import msgspec

from router.ask import Ask
from router.routing.fleet import Place, Target
from router.tables.rules import Rules
from router.tables.strategy import Weights

# Members of an enumeration are slow to look up in it.
LOCAL = Place.LOCAL
PLACES = (Place.LOCAL.value, Place.CLOUD.value)


class Terms(msgspec.Struct, frozen=True):
    """`order` and `weights` as in the tables; `max_wait_s` is the longest wait for local room before a refusal,
    `now_s` the moment of the Fleet.

    `local_at`, `cloud_at` and `named_at` are where the order first names each place and each target.
    """

    tier: str
    order: tuple[str, ...]
    weights: Weights
    ttft_target_s: float
    tpot_target_s: float
    may_spill: bool
    max_wait_s: float
    now_s: float
    local_at: int
    cloud_at: int
    named_at: Mapping[str, int]

    def position(self, target: Target) -> int:
        """Where the order first names the target or its place; its length if nowhere."""
        at = self.local_at if target.place is LOCAL else self.cloud_at
        return min(at, self.named_at.get(target.name, at)) if self.named_at else at

    @property
    def prefers_engines(self) -> bool:
        return self.order[0].startswith(LOCAL)

    @property
    def uses_engines(self) -> bool:
        return any([place.startswith(LOCAL) for place in self.order])


def terms_of(ask: Ask, rules: Rules, now_s: float, stretch: float = 1.0) -> Terms:
    """`stretch`: the promise is so many times as long, because money is short."""
    tier = rules.tiers[ask.tier]
    order = ask.order or tier.order
    return Terms(
        ask.tier,
        order,
        tier.strategy if ask.strategy is None else ask.strategy,
        tier.ttft_target_s * stretch,
        tier.tpot_target_s,
        tier.may_spill,
        rules.limits.max_wait_s,
        now_s,
        *_places(order),
    )


@lru_cache(maxsize=256)
def _places(order: tuple[str, ...]) -> tuple[int, int, Mapping[str, int]]:
    named = {name: at for at, name in reversed(list(enumerate(order))) if name not in PLACES}
    local_at, cloud_at = (order.index(place) if place in order else len(order) for place in PLACES)
    return local_at, cloud_at, named
