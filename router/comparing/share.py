"""Who belongs to a part of all: the same answer in every process, after every restart, and for as long as the part
does not shrink."""

from __future__ import annotations

from hashlib import blake2b

# Bytes of the digest that are looked at: shares are exact to 100 / 2**64 percent.
DIGEST_BYTES = 8
WHOLE = 1 << (8 * DIGEST_BYTES)


def is_among(percent: float, salt: str, name: str) -> bool:
    """Whether `name` is one of `percent` of all names.

    `salt` is the name of the experiment: who takes part in one says nothing about who takes part in another. Whoever
    is among 5 percent is among 20 percent too, so a part that grows keeps those who were in it.
    """
    digest = blake2b(f"{salt}\0{name}".encode(errors="replace"), digest_size=DIGEST_BYTES).digest()
    return int.from_bytes(digest) * 100.0 < percent * WHOLE
