"""What a trace or a distribution says of one request before there is a prompt: when, how long, what it shares. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple


class Segment(NamedTuple):
    """The leading `tokens` of a prompt that all prompts naming the same `key` at the same place share."""

    key: str
    tokens: int


@dataclass(frozen=True, slots=True)
class Shape:
    """`input_tokens` are the whole prompt, template and shared segments included; `segments` come first, in order.
    0 of them: the trace does not say. `text` is a prompt that the trace itself brings; it is sent as it is.
    """

    at_s: float
    input_tokens: int
    output_tokens: int | None = None
    segments: tuple[Segment, ...] = ()
    tier: str = ""
    task: str = ""
    tenant: str = ""
    text: str = ""


def fitted(shapes: Iterable[Shape], context_tokens: int, room_share: float = 1.0) -> Iterator[Shape]:
    """No longer than a model's context: first the prompt is cut, to 1 token at least, then the answer.

    Prompts take `room_share` of what the answer leaves: less than 1 where their tokens are only guessed. Cut prompts
    keep their leading segments, so they share relatively more than the trace says.
    """
    for shape in shapes:
        output = min(shape.output_tokens or 1, context_tokens - 1)
        room = max(int((context_tokens - output) * room_share), 1)
        if shape.input_tokens <= room:
            yield shape
        else:
            yield replace(shape, input_tokens=room, output_tokens=shape.output_tokens and output)
