"""What the workers of one router tell each other of each target, so that counts and breakers hold for all of them.

Pure but for the Protocol: a Row is what one worker knows, and nobody but that worker writes it. Times are those of
`time.monotonic()`, which is one clock for all processes of a host.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

import msgspec

from router.health.breaker import UNPROVED, Proof, Trouble


class Row(msgspec.Struct, frozen=True, array_like=True):
    """One worker's own numbers of one target, and what it has seen go wrong there.

    `oldest_sent_at_s` means something only where `unstarted` is above 0. `kv_tokens` are held by those who have begun.
    """

    requests: int = 0
    promised_tokens: int = 0
    unstarted: int = 0
    unstarted_tokens: int = 0
    oldest_sent_at_s: float = 0.0
    proof: Proof = UNPROVED
    trouble: Trouble | None = None
    kv_tokens: int = 0


class Siblings(Protocol):
    """The other workers. All calls are synchronous, take no lock and raise nothing: they are made in each request."""

    def publish(self, target: str, row: Row) -> None:
        """Show the siblings this worker's numbers of a target, in place of the last ones."""

    def others(self, target: str) -> Sequence[Row]:
        """What each living sibling last published of a target; a sibling that has nothing to say may be left out."""
        ...

    def news(self) -> Collection[str] | None:
        """Targets of which something was published since this was called last; None: any may be, so ask of all."""
        ...
