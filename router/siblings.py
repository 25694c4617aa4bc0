"""What the workers of one router tell each other of each target, so that counts and rests hold for all of them.

Pure but for the Protocol: a Row is what one worker knows, and nobody but that worker writes it. Times are those of
`time.monotonic()`, which is one clock for all processes of a host.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Protocol

import msgspec

NEVER_S = -math.inf


class Row(msgspec.Struct, frozen=True, array_like=True):
    """One worker's own numbers of one target.

    `oldest_sent_at_s` means something only where `unstarted` is above 0. `failures` counts the failures in a row that
    this worker knew of when it wrote its last one, those of its siblings included; it is 0 where it has seen none.
    `failed_at_s` and `succeeded_at_s` are the last moments of either, `cause` is that of the last failure.
    """

    requests: int = 0
    promised_tokens: int = 0
    unstarted: int = 0
    unstarted_tokens: int = 0
    oldest_sent_at_s: float = 0.0
    failures: int = 0
    failed_at_s: float = NEVER_S
    rest_until_s: float = NEVER_S
    succeeded_at_s: float = NEVER_S
    cause: str = ""


class Siblings(Protocol):
    """The other workers. Both calls are synchronous, take no lock and raise nothing: they are made in each request."""

    def publish(self, target: str, row: Row) -> None:
        """Show the siblings this worker's numbers of a target, in place of the last ones."""

    def others(self, target: str) -> Sequence[Row]:
        """What each living sibling last published of a target; a sibling that has nothing to say may be left out."""
        ...


class Rest(msgspec.Struct, frozen=True):
    """Failures of a target in a row, whichever workers saw them, and the end of the rest that follows them."""

    failures: int
    until_s: float
    cause: str


def rest_of(rows: Iterable[Row]) -> Rest | None:
    """The rest that all rows of a target together ask for; it may be over already. None: nothing failed of late.

    A success in any worker ends the rest in all of them, so only failures that are later than every success count.
    """
    rows = tuple(rows)
    succeeded_at_s = max((row.succeeded_at_s for row in rows), default=NEVER_S)
    failed = [row for row in rows if row.failures and row.failed_at_s > succeeded_at_s]
    if not failed:
        return None
    longest = max(failed, key=lambda row: row.rest_until_s)
    return Rest(max(row.failures for row in failed), longest.rest_until_s, longest.cause)
