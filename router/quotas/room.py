"""What a provider's limits leave, as the Fleet shows it."""

from __future__ import annotations

import msgspec


class Room(msgspec.Struct, frozen=True):
    """`ready_in_s`: until one more request of usual size fits; 0 now, infinite if it never will. `why` is the window
    that is full, in words. `left_share`, of 1, is what is left of the fullest window; `is_free`: nothing is paid
    there."""

    ready_in_s: float = 0.0
    why: str = ""
    left_share: float = 1.0
    is_free: bool = False


UNBOUNDED = Room()
