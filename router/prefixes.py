"""Digests of how a prompt begins, up to certain points in it: equal digests, equal beginnings.

Pure. Two prompts of one tenant that begin alike have the digests of their common part in common, so what a target has
read before can be looked up without keeping the text. A digest never leaves the process.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from zlib import crc32

import orjson

# Within a long message there is a digest each time so many more bytes have been read: about a thousand tokens.
STEP_BYTES = 4096
# Of a prompt that is longer than so many steps only the beginning can be found again.
MOST_PREFIXES = 64
LENGTH_BITS = 32
LENGTH = (1 << LENGTH_BITS) - 1


def prefix_bytes(prefix: int) -> int:
    """How much of the prompt it covers: the lower half of the number; the upper half is a checksum (CRC-32)."""
    return prefix & LENGTH


def chat_prefixes(messages: Sequence[Mapping[str, Any]], tenant: str | None) -> tuple[int, ...]:
    """Of a chat: up to the end of each message and some points within, the longest last."""
    return _prefixes([_told(message) for message in messages], tenant)


def prompt_prefixes(prompt: str | Sequence[object], tenant: str | None) -> tuple[int, ...]:
    """Of a completion. Of several prompts only the first counts, because each may have another home."""
    if not isinstance(prompt, str):
        prompt = prompt[0] if prompt and isinstance(prompt[0], str) else str(prompt)
    return _prefixes([prompt.encode()], tenant)


def _prefixes(texts: Sequence[bytes], tenant: str | None) -> tuple[int, ...]:
    # The tenant's name goes first, so that nobody's prompts steer, or tell of, those of somebody else.
    checksum = crc32((tenant or "").encode())
    length = 0
    found: list[int] = []
    for text in texts:
        for piece in _pieces(text):
            checksum = crc32(piece, checksum)
            length += len(piece)
            found.append(checksum << LENGTH_BITS | min(length, LENGTH))
        if len(found) >= MOST_PREFIXES:
            break
    return tuple(found[:MOST_PREFIXES])


def _pieces(text: bytes) -> Iterator[bytes] | tuple[bytes]:
    if len(text) <= STEP_BYTES:
        return (text,)
    return (text[start : start + STEP_BYTES] for start in range(0, len(text), STEP_BYTES))


def _told(message: Mapping[str, Any]) -> bytes:
    """Role and content, and whatever else there is, as bytes that are the same for the same message."""
    content = message.get("content")
    if isinstance(content, str) and len(message) == PLAIN_FIELDS:
        return f"{message['role']}\n{content}\n".encode()
    return orjson.dumps(message)


# Most messages have nothing but these two.
PLAIN_FIELDS = 2
