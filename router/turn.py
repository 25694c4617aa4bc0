"""One try at one target. A value."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import msgspec

from router.routing.fleet import Target


class Turn(msgspec.Struct, frozen=True):
    """One try: at which of the targets, why there, and the how many-th it is. `is_last`: nobody is left after it. Where
    its provider's limits are reached it waits, or not."""

    targets: Sequence[Target]
    at: int
    reason: str
    attempt: int
    waits_for_leave: bool = True

    @property
    def target(self) -> Target:
        return self.targets[self.at]

    @property
    def is_last(self) -> bool:
        return next(islice(self.targets, self.at + 1, None), None) is None
