"""One request that has to be placed, and what was decided about it. Values."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from enum import StrEnum
from types import MappingProxyType

import msgspec

from router.spilling.sample import Sample
from router.spilling.stay import Stay
from router.spilling.twin import Twin
from router.spilling.worth import Price, Worth

NOTHING_CACHED: Mapping[Hashable, int] = MappingProxyType({})


class Want(msgspec.Struct, frozen=True, eq=False):
    """`ttft_s` and `tpot_s` are promised by `tier`, the first from `arrived_s` on. `price` is that of its twin, and
    `twin` how soon that gives a first token; no price: it may not spill. `worth` is reckoned with `price`, or with
    nothing saved.

    `engines` may serve it, all of them where none is named: the first with room where it `keeps_order`, or else the one
    with the least to read. `cached` prompt tokens are expected in an engine's prefix cache. Its first token must come
    by `latest_s` for its own deadline, and it waits `patience_s` at most, from `arrived_s` on. Where it not
    `shows_first` its answer comes whole: nobody sees when it begins, and nobody judges that."""

    key: Hashable
    arrived_s: float
    prompt_tokens: int
    ttft_s: float
    tpot_s: float
    lengths: Sample
    worth: Worth
    price: Price | None = None
    tier: str = ""
    twin: Twin | None = None
    engines: tuple[Hashable, ...] = ()
    keeps_order: bool = False
    cached: Mapping[Hashable, int] = NOTHING_CACHED
    latest_s: float = math.inf
    patience_s: float = math.inf
    shows_first: bool = True

    @property
    def promised_s(self) -> float:
        """The moment at which the promise of its tier ends."""
        return self.arrived_s + self.ttft_s

    @property
    def due_s(self) -> float:
        """When its first token has to be there."""
        return min(self.arrived_s + self.ttft_s, self.latest_s)

    @property
    def has_deadline(self) -> bool:
        """Its own, before the promise ends."""
        return self.latest_s < self.arrived_s + self.ttft_s

    @property
    def may_spill(self) -> bool:
        return self.price is not None

    @property
    def fresh_tokens(self) -> int:
        """Of its prompt, what has to be read where most of it is cached."""
        return self.prompt_tokens - max(self.cached.values()) if self.cached else self.prompt_tokens


class Why(StrEnum):
    """The word of a decision: it fits; what it was spilled for; served though late; or not served at all."""

    FITS = "tier"
    TTFT = "spill:ttft"
    KV = "spill:kv"
    QUEUE = "spill:queue"
    DEADLINE = "spill:deadline"
    LATE = "late"
    REFUSED = "refused"


class Placed(msgspec.Struct, frozen=True):
    """`engine` by its key; None: the cloud, or nowhere where it is refused. `stay` is its place there. Its first token
    is expected `expected_ttft_s` after the decision, as it would be where it is refused: infinite if nobody
    knows. A cloud that is silent for `again_s` is asked a second time."""

    want: Want
    engine: Hashable | None
    why: Why
    stay: Stay | None
    expected_ttft_s: float
    again_s: float = math.inf
