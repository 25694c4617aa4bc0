"""HTTP chunks (RFC 9112, 7.1) that can travel on as they came: the engine's framing is the client's framing.

Pure. A vLLM stream brings one token as one event as one chunk, some 230 bytes, thousands of times a second. Parsing
such a chunk and framing it again would cost more than all else that is done for it here, so what is recognised as plain
passes through untouched. Whatever is not surely plain is not: it takes the long way through the parser.
"""

from __future__ import annotations

# Every plain event says that it is not the last one. In a JSON string each quote has a backslash, so no text that a
# model writes can look like these.
GOES_ON = b'"finish_reason":null'
FINISHED = b'"finish_reason":"'
EVENT_START = b"data: {"
EVENT_END = b"\n\n\r\n"
# Sizes as HTTP writes them, and nothing else that `int` would take for one (`+e6`, `0xe6`, `e_6`).
SIZES = {size_line % size: size for size in range(1, 4096) for size_line in (b"%x\r\n", b"%X\r\n")}


def plain_chunks(data: bytes) -> int:
    """How many chunks `data` has if it is nothing but whole chunks, each one plain content event; 0 otherwise.

    `data` must begin where a chunk begins.
    """
    if FINISHED in data or not data.endswith(EVENT_END):
        return 0
    position, count, length = 0, 0, len(data)
    while position < length:
        start = data.find(b"\n", position) + 1
        size = SIZES.get(data[position:start])
        # One event in the chunk: it starts as one, and its end is the first blank line and the end of the chunk.
        if size is None or not data.startswith(EVENT_START, start):
            return 0
        end = start + size
        if data.find(b"\n\n", start) != end - 2 or data.find(GOES_ON, start, end) < 0:
            return 0
        position, count = end + 2, count + 1
        if not data.startswith(b"\r\n", end):
            return 0
    return count if position == length else 0


def framed(body: bytes) -> bytes:
    """`body` as one chunk. Must not be empty: an empty chunk would end the message."""
    return b"%x\r\n%b\r\n" % (len(body), body)


LAST_CHUNK = b"0\r\n\r\n"
