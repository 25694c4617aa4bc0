"""Splits: some tenants are served by another model instead, and both parts can be told apart in the ledger. Pure."""

from __future__ import annotations

import msgspec

from router.ask import PINNED, Ask
from router.comparing.share import is_among
from router.routing.condition import holds
from router.tables.rules import Rules

# In the ledger's column `arm`, after the name of the split or shadow.
CONTROL, TRIAL = "/control", "/trial"


class Arm(msgspec.Struct, frozen=True):
    """In which part of a split a request is. `model` serves it instead; None where it is served as without a split."""

    label: str
    model: str | None = None


def split_of(ask: Ask, rules: Rules, at_unix_s: float) -> Arm | None:
    """The arm in the first split whose condition holds; None where none does.

    A tenant stays in its arm. Requests that name no tenant have nobody to stay with and are split one by one. A
    request that names its model itself is left alone, unless the split is one of that very model.
    """
    for name, split in rules.splits.items():
        if (ask.how == PINNED and not split.models) or not holds(split, ask, at_unix_s):
            continue
        if is_among(split.percent, name, ask.tenant or ask.request_id):
            return Arm(name + TRIAL, split.model)
        return Arm(name + CONTROL)
    return None
