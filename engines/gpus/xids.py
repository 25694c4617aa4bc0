"""What a critical error that the driver reports of a GPU (an Xid) means, and which of them close a GPU. Pure.

Sources: NVIDIA, "Xid Errors" (catalogue of Xids and their immediate actions) and "GPU Debug Guidelines". Most Xids are
the fault of a program, or are told again by the driver's recovery action, which is followed before this table.
"""

from __future__ import annotations

from dataclasses import dataclass

# The same event for all Xids; the newer kinds of events carry no Xid.
XID = "xid"


@dataclass(frozen=True, slots=True)
class XidEvent:
    """One event of a whole card. `at_s` by time.monotonic(). `kind` is "xid", or words for an event of another kind,
    which has no Xid."""

    uuid: str
    xid: int | None
    at_s: float
    kind: str = XID


@dataclass(frozen=True, slots=True)
class Xid:
    """`closes`: nothing may run on the GPU until it is reset, or long nothing has come after."""

    words: str
    closes: bool = False


XIDS = {
    13: Xid("a program made the compute engine fail"),
    31: Xid("a program touched memory that is not its own (MMU fault)"),
    43: Xid("a program's channel stopped"),
    45: Xid("a program's channels were cleaned up after another error"),
    46: Xid("the GPU stopped processing", closes=True),
    48: Xid("an error of two bits in its memory that ECC cannot mend", closes=True),
    63: Xid("a faulty row of its memory was marked for replacement"),
    64: Xid("a faulty row of its memory could not be marked for replacement"),
    74: Xid("an NVLink error"),
    79: Xid("the GPU fell off the bus", closes=True),
    92: Xid("many errors of one bit in its memory, which ECC mended"),
    94: Xid("an uncorrectable memory error that only one program met (contained)"),
    95: Xid("an uncorrectable memory error that any program may have met (uncontained)", closes=True),
    119: Xid("its system processor (GSP) did not answer", closes=True),
    120: Xid("its system processor (GSP) failed", closes=True),
    154: Xid("the driver changed the recovery action that it asks for"),
}


def words(event: XidEvent) -> str:
    """The event for a log: "Xid 79 (the GPU fell off the bus)"."""
    if event.xid is None:
        return event.kind
    known = XIDS.get(event.xid)
    return f"Xid {event.xid} ({known.words if known else 'see the list of Xid errors by NVIDIA'})"


def closes(event: XidEvent) -> bool:
    """Whether nothing may run on the GPU after it."""
    known = XIDS.get(event.xid or 0)
    return known is not None and known.closes
