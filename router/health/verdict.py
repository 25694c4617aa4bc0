"""What the rest of the router hears of a target's health."""

from __future__ import annotations

from zlib import crc32

import msgspec


class Verdict(msgspec.Struct, frozen=True):
    """`cause` is why it is passed over while another can serve; None: it is not.

    `share`, of 1, is how much of its usual traffic it may have while it comes back from `was`. `probes`: so many
    requests may try it now though it is passed over otherwise.
    """

    cause: str | None = None
    share: float = 1.0
    probes: int = 0
    was: str = ""


# Of all that are well: to be compared by identity, which costs nothing.
WELL = Verdict()


def lot_of(request_id: str) -> float:
    """A number in [0, 1) that is even over requests and the same for one request each time."""
    return crc32(request_id.encode()) / 2**32


def passed_over(verdict: Verdict, lot: float) -> str | None:
    """Why a request with this lot goes elsewhere, if it can; None: it may go there."""
    if verdict.cause is not None:
        return None if verdict.probes > 0 else verdict.cause
    return None if lot < verdict.share else verdict.was
