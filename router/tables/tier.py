"""`[tiers.NAME]`: a promise and a preference."""

from __future__ import annotations

from pydantic import Field, model_validator

from router.tables.strategy import Weights
from router.tables.table import Flag, Number, Seconds, Table

PLACES = frozenset({"local", "cloud"})


class Tier(Table):
    """A promise (time to first token, and time per token after it, both for `promise_share` of the requests) and a
    preference (order of targets; may it leave for the cloud).

    Among targets of the same rank in `order` the `strategy` decides. `fallbacks` are models that serve when none of the
    model's own targets does, `emergency` those for when these fail too; a model's own chain goes before them.
    """

    ttft_target_s: Seconds
    tpot_target_s: Seconds = 0.1
    promise_share: Number = 0.99
    order: tuple[str, ...] = Field(("local", "cloud"), min_length=1)
    may_spill: Flag = True
    strategy: Weights = {}
    fallbacks: tuple[str, ...] = ()
    emergency: tuple[str, ...] = ()

    @property
    def spends(self) -> bool:
        """Whether it may spill, or would rather be in a cloud, and its order names one."""
        names_one = any(place.startswith("cloud") for place in self.order)
        return names_one and (self.may_spill or self.order[0].startswith("cloud"))

    @model_validator(mode="after")
    def _known_places(self) -> Tier:
        require_places(self.order)
        return self


def require_places(order: tuple[str, ...]) -> None:
    """Raises ValueError for what cannot stand in an order."""
    for place in order:
        if place not in PLACES and not place.startswith(("local/", "cloud/")):
            raise ValueError(f'order has "{place}": use "local", "cloud", "local/<engine>" or "cloud/<deployment>"')
