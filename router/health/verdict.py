"""What the rest of the router hears of a target's health."""

from __future__ import annotations

import msgspec


class Verdict(msgspec.Struct, frozen=True):
    """`cause` is why it is passed over while another can serve; None: it is not.

    `share`, of 1, is how much of its usual traffic it may have while it comes back. `probes`: so many requests may try
    it now though it is passed over otherwise.
    """

    cause: str | None = None
    share: float = 1.0
    probes: int = 0


WELL = Verdict()
