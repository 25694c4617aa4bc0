"""One request that has to be placed, and what was decided about it. Values."""

from __future__ import annotations

from collections.abc import Hashable
from enum import StrEnum

import msgspec

from router.spilling.sample import Sample
from router.spilling.worth import Price, Worth


class Want(msgspec.Struct, frozen=True, eq=False):
    """`ttft_s` is promised from `arrived_s` on, `due_s` the moment at which it ends. `price` is that of its twin; None
    where it may not spill. `worth` is reckoned with `price`, or with nothing saved."""

    key: Hashable
    arrived_s: float
    prompt_tokens: int
    ttft_s: float
    tpot_s: float
    lengths: Sample
    worth: Worth
    price: Price | None = None

    @property
    def due_s(self) -> float:
        return self.arrived_s + self.ttft_s

    @property
    def may_spill(self) -> bool:
        return self.price is not None


class Why(StrEnum):
    """The word of a decision: it fits; or what it was spilled for."""

    FITS = "tier"
    TTFT = "spill:ttft"
    KV = "spill:kv"
    LATE = "late"


class Placed(msgspec.Struct, frozen=True):
    """`engine` by its number; None: the cloud."""

    want: Want
    engine: int | None
    why: Why
