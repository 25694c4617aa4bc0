"""HTTP chunks (RFC 9112, 7.1) that can travel on as they came: the engine's framing is the client's framing.

Pure. A vLLM stream brings one token as one event as one chunk, some 230 bytes, thousands of times a second. Parsing
such a chunk and framing it again would cost more than all else that is done for it here, so what is recognised as plain
passes through untouched. Whatever is not surely plain is not: it takes the long way through the parser.
"""

from __future__ import annotations

# Every plain event says once that it is not the last one. In a JSON string each quote has a backslash, so no text that
# a model writes can look like this.
REASON = b'"finish_reason":'
GOES_ON = REASON + b"null"
EVENT_START = b"data: {"
EVENT_END = b"\n\n\r\n"
# Sizes as HTTP writes them, and nothing else that `int` would take for one (`+e6`, `0xe6`, `e_6`).
SIZES = {size_line % size: size for size in range(1, 4096) for size_line in (b"%x\r\n", b"%X\r\n")}


def plain_chunks(data: bytes) -> int:
    """How many chunks `data` has if it is nothing but whole chunks, each one plain content event; 0 otherwise.

    `data` must begin where a chunk begins.
    """
    position, count, length = 0, 0, len(data)
    while position < length:
        start = data.find(b"\n", position) + 1
        size = SIZES.get(data[position:start])
        if size is None or not data.startswith(EVENT_START, start):
            return 0
        end = start + size
        # One event of one line in the chunk: its first line feed is its end, and that of the chunk.
        if data.find(b"\n", start) != end - 2 or not data.startswith(EVENT_END, end - 2):
            return 0
        # From the end, for there the reason stands; and the only one, of the only choice.
        said = data.rfind(REASON, start, end)
        if said < 0 or not data.startswith(GOES_ON, said) or data.find(REASON, start, said) >= 0:
            return 0
        position, count = end + 2, count + 1
    return count if position == length else 0


def framed(body: bytes) -> bytes:
    """`body` as one chunk. Must not be empty: an empty chunk would end the message."""
    return b"%x\r\n%b\r\n" % (len(body), body)


LAST_CHUNK = b"0\r\n\r\n"
