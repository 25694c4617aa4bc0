"""Requests that offer another protocol (`upgrade`) are answered in HTTP/1.1, which everyone knows who offers one."""

from __future__ import annotations

from collections.abc import Sequence

OFFER = frozenset({b"connection", b"upgrade"})


def without_offer(line: bytes, fields: Sequence[tuple[bytes, bytes]], rest: bytes) -> bytes:
    """The request again, as if nothing had been offered: its first line, its header without the offer, and the rest.

    httptools leaves the body of such a request out, as if what follows the head were the other protocol already. But
    Java's client, for one, offers HTTP/2 with each first request, and sends the body in this protocol, as it must.
    """
    kept = b"".join([b"%b: %b\r\n" % field for field in fields if field[0] not in OFFER])
    return b"%b\r\n%b\r\n%b" % (line, kept, rest)
