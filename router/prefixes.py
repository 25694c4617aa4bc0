"""Digests of how a prompt begins, up to certain points in it: equal digests, equal beginnings.

Pure. Two prompts of one tenant that begin alike have the digests of their common part in common, so what a target has
read before can be looked up without keeping the text. The same in every process, so that workers agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from zlib import crc32

import orjson

from router.body import PLAIN_FIELDS, Body, Chat, Completion

# Within a long message there is a digest each time so many more bytes have been read: about a thousand tokens.
STEP_BYTES = 4096
# Of a prompt that has more of them only the beginning can be found again; further nobody reads.
MOST_PREFIXES = 64
MOST_BYTES = MOST_PREFIXES * STEP_BYTES
LENGTH_BITS = 32
LENGTH = (1 << LENGTH_BITS) - 1
# Instructions, which many conversations share.
SYSTEM = frozenset({"system", "developer"})
ANSWER = "assistant"


def prefix_bytes(prefix: int) -> int:
    """How much of the prompt it covers: the lower half of the number; the upper half is a checksum (CRC-32)."""
    return prefix & LENGTH


def prefixes_of(body: Body) -> tuple[int, ...]:
    """The digest that names the conversation, then all of them, the longest last.

    A conversation is named by its beginning up to the end of what was said first that is no instruction. Of several
    prompts only the first counts. Empty for what is no prompt.
    """
    # The tenant's name goes first, so that nobody's prompts tell of those of somebody else; then what stands before all
    # messages in the prompt that an engine makes of them.
    start = (body.user or "").encode() + (orjson.dumps(body.tools) if body.tools else b"")
    if isinstance(body, Chat):
        return _of_messages(body.messages, crc32(start))
    if isinstance(body, Completion):
        found: list[int] = []
        _read(_first(body.prompt), crc32(start) << LENGTH_BITS, found)
        return (found[-1], *found) if found else ()
    return ()


def _of_messages(messages: Sequence[Mapping[str, Any]], checksum: int) -> tuple[int, ...]:
    found: list[int] = []
    here, conversation = checksum << LENGTH_BITS, None
    for message in messages:
        if len(found) >= MOST_PREFIXES:
            break
        here = _read(_told(message), here, found)
        role = message["role"]
        # An answer does not end a prompt, so none can be found by its end.
        if role == ANSWER:
            found.pop()
        if conversation is None and role not in SYSTEM:
            conversation = here
    return (here if conversation is None else conversation, *found[:MOST_PREFIXES])


def _read(text: bytes, here: int, found: list[int]) -> int:
    """Read on from `here`: adds a digest for each step within the text and one for its end, which is returned."""
    for start in range(0, min(len(text), MOST_BYTES), STEP_BYTES):
        piece = text if len(text) <= STEP_BYTES else text[start : start + STEP_BYTES]
        here = crc32(piece, here >> LENGTH_BITS) << LENGTH_BITS | (here & LENGTH) + len(piece)
        found.append(here)
    return here


def _told(message: Mapping[str, Any]) -> bytes:
    """Role and content, and whatever else there is: the same bytes for the same message."""
    content = message.get("content")
    if isinstance(content, str) and len(message) == PLAIN_FIELDS:
        return f"{message['role']}\n{content}\n".encode()
    return orjson.dumps(message)


def _first(prompt: str | Sequence[object]) -> bytes:
    """Token ids as text, which does as well as long as equal ones look alike."""
    if not isinstance(prompt, str) and prompt and isinstance(prompt[0], str):
        prompt = prompt[0]
    if isinstance(prompt, str):
        return prompt.encode()
    return orjson.dumps(prompt) if prompt else b""
