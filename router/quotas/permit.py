"""What a request holds of a provider's limits while it runs."""

from __future__ import annotations

import msgspec

from router.quotas.meter import Need


class Key(msgspec.Struct, frozen=True):
    """`id` tells keys apart without holding them; `env` is the variable that does."""

    id: str
    env: str


class Permit(msgspec.Struct, frozen=True, eq=False):
    """Leave to ask `deployment` once with `key`. `need` is what was taken from the windows, until it is known what it
    used; `name` that of its hold on one of the places at once."""

    provider: str
    deployment: str
    key: Key
    need: Need
    name: str
