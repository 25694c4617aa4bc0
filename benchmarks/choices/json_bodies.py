"""The bodies that the JSON libraries are timed on: a short chat, a long one of many turns, a chunk of a stream."""

import json

OPTIONS = {"max_tokens": 128, "temperature": 0.7, "stream": True, "stream_options": {"include_usage": True}}
SYSTEM = {"role": "system", "content": "You are a helpful assistant."}
# Letters beyond ASCII and escapes, as prose and code have them: both take the slower ways through a parser.
TURN = 'She said "no" to the café.\n\tif x < 1:\n\t\treturn "naïve"\n' + "lorem ipsum dolor sit amet " * 90


def chat(turns: list[dict[str, str]]) -> bytes:
    return json.dumps({"model": "tiny", "messages": [SYSTEM, *turns], **OPTIONS}, ensure_ascii=False).encode()


SMALL = chat([{"role": "user", "content": "lorem " * 115}])
LARGE = chat([{"role": "user" if turn % 2 == 0 else "assistant", "content": TURN} for turn in range(39)])
CHUNK = json.dumps(
    {
        "id": "chatcmpl-8f0e4c1d2b3a49f5",
        "object": "chat.completion.chunk",
        "created": 1763630000,
        "model": "tiny",
        "choices": [{"index": 0, "delta": {"content": " w0042"}, "logprobs": None, "finish_reason": None}],
        "usage": None,
    },
    separators=(",", ":"),
).encode()
