"""The bytes of the stub engine's answers, made once: vLLM's chunk shapes and headers around numbered tokens.

Pure. A Script is what goes over the wire for one answer, in the writes that it is to be made in. It must not know
sockets or time. Like vLLM under uvicorn, every server-sent event is one HTTP chunk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from benchmarks.numbered import PROMPT_TOKENS, word
from benchmarks.tamper import Tamper, spoiled
from benchmarks.wire import DONE, Json, Kind, Usage, encoded, error_json, event

CREATED = 1_763_630_000
ID = "8f0e4c1d2b3a49f5"
# A constant date: an answer's bytes are made once.
SERVER = b"date: Thu, 20 Nov 2025 09:00:00 GMT\r\nserver: uvicorn\r\n"
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\n%bcontent-type: text/event-stream; charset=utf-8\r\n"
    b"x-request-id: stub-0001\r\ntransfer-encoding: chunked\r\n\r\n" % SERVER
)
END = b"0\r\n\r\n"
SCRIPTS_KEPT = 256


@dataclass(frozen=True, slots=True)
class Wanted:
    """The answer that a request asks for. `events_per_write` is 1 where the stream is paced."""

    kind: Kind
    model: str
    tokens: int
    stream: bool = False
    include_usage: bool = False
    tamper: Tamper = Tamper.NONE
    events_per_write: int = 1


@dataclass(frozen=True, slots=True)
class Script:
    """What to write, write by write; `hangs_up` closes the connection after the last. `tokens` counts the answer's."""

    writes: tuple[bytes, ...]
    tokens: int
    hangs_up: bool = False


@lru_cache(SCRIPTS_KEPT)
def script(wanted: Wanted) -> Script:
    """The answer as bytes."""
    if wanted.tamper is Tamper.REFUSED:
        refusal = error_json("The engine is currently busy, please retry later.", "Service Unavailable", 503)
        return Script((whole(encoded(refusal), b"503 Service Unavailable"),), 0)
    return _streamed(wanted) if wanted.stream else _whole(wanted)


def whole(body: bytes, status: bytes = b"200 OK", content_type: bytes = b"application/json") -> bytes:
    """An answer with a length."""
    head = b"HTTP/1.1 %b\r\n%bcontent-length: %d\r\ncontent-type: %b\r\n\r\n"
    return head % (status, SERVER, len(body), content_type) + body


def _streamed(wanted: Wanted) -> Script:
    chunks = [framed(each) for each in _events(wanted)]
    end = b"" if wanted.tamper is Tamper.NO_END else END
    # The headers and the role go with the first token, and everything that ends the answer with the last, so that a
    # paced stream is exactly one write a token.
    first = 2 if wanted.kind is Kind.CHAT else 1
    last = first + wanted.tokens - 2
    if last < first:
        writes = [b"".join((STREAM_HEAD, *chunks, end))]
    else:
        middle = _grouped(chunks[first:last], wanted.events_per_write)
        writes = [b"".join((STREAM_HEAD, *chunks[:first])), *middle, b"".join((*chunks[last:], end))]
    if wanted.tamper is Tamper.CUT:
        return Script(tuple(writes[: len(writes) // 2]), wanted.tokens, hangs_up=True)
    return Script(tuple(writes), wanted.tokens, hangs_up=wanted.tamper is Tamper.NO_END)


def _grouped(chunks: Sequence[bytes], size: int) -> list[bytes]:
    return [b"".join(chunks[at : at + size]) for at in range(0, len(chunks), size)]


def framed(body: bytes) -> bytes:
    """One HTTP chunk."""
    return b"%x\r\n%b\r\n" % (len(body), body)


def _events(wanted: Wanted) -> list[bytes]:
    numbers = spoiled(wanted.tamper, wanted.tokens)
    finish = None if wanted.tamper is Tamper.NO_FINISH else "length"
    made = [event(_chunk(wanted, word(each), None)) for each in numbers[:-1]]
    made.append(event(_chunk(wanted, word(numbers[-1]), finish)))
    if wanted.kind is Kind.CHAT:
        choice: Json = {"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": None}
        opening = _head(wanted) | {"choices": [choice | {"finish_reason": None}], "prompt_token_ids": None}
        made.insert(0, event(opening))
    if wanted.include_usage:
        made.append(event(_head(wanted) | {"choices": [], "usage": _usage(wanted).as_json()}))
    return made if wanted.tamper is Tamper.NO_DONE else [*made, DONE]


def _chunk(wanted: Wanted, said: str, finish: str | None) -> Json:
    if wanted.kind is Kind.CHAT:
        stop = {} if finish is None else {"stop_reason": None}
        choice: Json = {"index": 0, "delta": {"content": said}, "logprobs": None, "finish_reason": finish}
        return _head(wanted) | {"choices": [choice | stop | {"token_ids": None}]}
    choice = {"index": 0, "text": said, "logprobs": None, "finish_reason": finish, "stop_reason": None}
    return _head(wanted) | {"choices": [choice | {"prompt_token_ids": None, "token_ids": None}], "usage": None}


def _whole(wanted: Wanted) -> Script:
    said = "".join(word(each) for each in spoiled(wanted.tamper, wanted.tokens))
    message = {"role": "assistant", "content": said, "refusal": None, "annotations": None, "audio": None}
    answer: Json = {"message": message | {"function_call": None, "reasoning": None}}
    finish = None if wanted.tamper is Tamper.NO_FINISH else "length"
    choice = {"index": 0} | (answer if wanted.kind is Kind.CHAT else {"text": said})
    choice |= {"logprobs": None, "finish_reason": finish, "stop_reason": None, "token_ids": None}
    extra: Json = {"prompt_logprobs": None, "prompt_token_ids": None, "kv_transfer_params": None}
    usage = {} if wanted.tamper is Tamper.NO_USAGE else {"usage": _usage(wanted).as_json()}
    body = whole(encoded(_head(wanted) | {"choices": [choice]} | usage | extra))
    cut = wanted.tamper is Tamper.CUT
    return Script((body[: len(body) * 2 // 3] if cut else body,), wanted.tokens, hangs_up=cut)


def _head(wanted: Wanted) -> Json:
    chat = "chat.completion.chunk" if wanted.stream else "chat.completion"
    is_chat = wanted.kind is Kind.CHAT
    return {
        "id": f"{'chatcmpl' if is_chat else 'cmpl'}-{ID}",
        "object": chat if is_chat else "text_completion",
        "created": CREATED,
        "model": wanted.model,
    }


def _usage(wanted: Wanted) -> Usage:
    return Usage(PROMPT_TOKENS, wanted.tokens)
