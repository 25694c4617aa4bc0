# /// script
# requires-python = ">=3.11"
# dependencies = ["msgspec==0.22.0", "orjson==3.13.0", "pydantic==2.14.3"]
# ///
"""Times what a router may do with JSON: the parse of a request for routing, its re-encoding, the parse of a chunk.

    PYTHONPATH=. uv run benchmarks/choices/json_decoders.py

Prints a Markdown table of CPU microseconds a call, the least of REPEATS series.
"""

import json
import sys
import timeit
from collections.abc import Callable
from importlib.metadata import version
from time import process_time
from typing import Any

import msgspec
import orjson
from pydantic import BaseModel

from benchmarks.choices.json_bodies import CHUNK, LARGE, SMALL

REPEATS = 7
SERIES_S = 0.05
Step = Callable[[bytes], object]


class Options(msgspec.Struct, frozen=True):
    include_usage: bool = False


class Message(msgspec.Struct, frozen=True):
    role: str
    content: str | list[dict[str, Any]] | None = None


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """What routing needs; msgspec skips every other field without making an object of it."""

    model: str
    messages: list[Message]
    user: str | None = None
    stream: bool = False
    stream_options: Options | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: int | None = None
    metadata: dict[str, Any] | None = None


class AskUnread(msgspec.Struct, frozen=True, kw_only=True):
    """The same with the messages checked as JSON but left as bytes: their size is what routing counts."""

    model: str
    messages: msgspec.Raw
    user: str | None = None
    stream: bool = False
    stream_options: Options | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: int | None = None
    metadata: dict[str, Any] | None = None


class Choice(msgspec.Struct, frozen=True):
    finish_reason: str | None = None


class Usage(msgspec.Struct, frozen=True):
    prompt_tokens: int
    completion_tokens: int = 0


class Chunk(msgspec.Struct, frozen=True):
    choices: list[Choice]
    usage: Usage | None = None


class PydanticOptions(BaseModel):
    include_usage: bool = False


class PydanticMessage(BaseModel):
    role: str
    content: str | list[dict[str, Any]] | None = None


class PydanticAsk(BaseModel):
    model: str
    messages: list[PydanticMessage]
    user: str | None = None
    stream: bool = False
    stream_options: PydanticOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: int | None = None
    metadata: dict[str, Any] | None = None


class PydanticChoice(BaseModel):
    finish_reason: str | None = None


class PydanticUsage(BaseModel):
    prompt_tokens: int
    completion_tokens: int = 0


class PydanticChunk(BaseModel):
    choices: list[PydanticChoice]
    usage: PydanticUsage | None = None


read_ask = msgspec.json.Decoder(Ask).decode
read_ask_unread = msgspec.json.Decoder(AskUnread).decode
read_chunk = msgspec.json.Decoder(Chunk).decode
read_anything = msgspec.json.Decoder().decode
read_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
write = msgspec.json.Encoder().encode


# The model's name is what a router may have to change in a body.
def renamed_by_orjson(body: bytes) -> bytes:
    fields = orjson.loads(body)
    fields["model"] = "other"
    return orjson.dumps(fields)


def renamed_by_msgspec(body: bytes) -> bytes:
    fields = read_anything(body)
    fields["model"] = "other"
    return write(fields)


def renamed_among_raw_fields(body: bytes) -> bytes:
    fields = read_fields(body)
    fields["model"] = msgspec.Raw(b'"other"')
    return write(fields)


# A chunk in which no choice ends needs no parse.
def unfinished(chunk: bytes) -> bool:
    return b'"finish_reason":null' in chunk


# The field stands near the end of a chunk.
def unfinished_from_the_end(chunk: bytes) -> bool:
    return chunk.rfind(b'"finish_reason":null') >= 0


STEPS: list[tuple[str, Step | None, Step | None]] = [
    ("json.loads", json.loads, json.loads),
    ("orjson.loads", orjson.loads, orjson.loads),
    ("msgspec, untyped", read_anything, read_anything),
    ("msgspec, Struct of what routing needs", read_ask, read_chunk),
    ("msgspec, the same with the messages left as bytes", read_ask_unread, None),
    ("pydantic, model of what routing needs", PydanticAsk.model_validate_json, PydanticChunk.model_validate_json),
    ("orjson.loads, model renamed, orjson.dumps", renamed_by_orjson, None),
    ("msgspec untyped, model renamed, encode", renamed_by_msgspec, None),
    ("msgspec dict of raw fields, model renamed, encode", renamed_among_raw_fields, None),
    ('no parse, a search for "finish_reason":null', None, unfinished),
    ("no parse, the same search from the end (rfind)", None, unfinished_from_the_end),
]


def cpu_us(step: Step | None, body: bytes) -> str:
    if step is None:
        return ""
    timer = timeit.Timer(lambda: step(body), timer=process_time)
    calls, taken_s = timer.autorange()
    calls = max(1, int(calls * SERIES_S / taken_s))
    return format(min(timer.repeat(REPEATS, calls)) / calls * 1e6, ".2f")


def main() -> None:
    named = ", ".join(f"{name} {version(name)}" for name in ("orjson", "msgspec", "pydantic"))
    print(f"Python {sys.version.split()[0]}, {named}; CPU microseconds a call\n")
    print(f"| step | chat, {len(SMALL)} B | chat, {len(LARGE)} B | chunk, {len(CHUNK)} B |\n|---|---|---|---|")
    for name, request_step, chunk_step in STEPS:
        times = (cpu_us(request_step, SMALL), cpu_us(request_step, LARGE), cpu_us(chunk_step, CHUNK))
        print(f"| {name} | " + " | ".join(times) + " |")


if __name__ == "__main__":
    main()
