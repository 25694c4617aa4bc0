"""Every place where a model runs in a cloud, with all that is known of it: the one answer to "who serves X, and how".

Pure: tables of stack.toml, facts of the lock, a price list and an environment in, values out. Provider and their names
of models exist nowhere else. Local places are engines, which the Snapshot names.
"""

from __future__ import annotations

import msgspec


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
