"""Finds out how long a prompt is, where that decides who can serve it; of most requests it takes no look at all."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Any

from msgspec.structs import replace

from router.ask import Ask
from router.body import UNCOUNTED
from router.counter import Counter
from router.errand import in_task
from router.length import Length, counted_length, estimated_length
from router.routing.fleet import Target
from router.routing.groups import chain_of
from router.routing.tokens import is_open
from router.served import Doors

# Of the text by the tokenizer in the file of this path; None where nobody can tell.
Count = Callable[[str, str], Awaitable[int | None]]
# Vocabularies of more models than this are not asked about one prompt.
MOST_COUNTS = 4


async def measured(doors: Doors, ask: Ask) -> Ask:
    """The Ask with its lengths, if one who could serve it has a context that is close to it. Raises ApiError 400."""
    watch, contexts = doors.watch, doors.watch.contexts
    chain = chain_of(ask, watch.view(time.monotonic()), watch.rules)
    targets = [each for each in contexts.targets if not chain or not each.models.isdisjoint(chain)]
    return await measured_for(targets, ask, contexts.tokenizers, partial(_counted, doors.counter))


async def _counted(counter: Counter, path: str, text: str) -> int | None:
    return await in_task(counter.count(path, text))


async def measured_for(targets: Iterable[Target], ask: Ask, tokenizers: Mapping[str, str], count: Count) -> Ask:
    """`tokenizers` has the file of each model's tokenizer that is at hand. Lengths that were counted stand before the
    estimate, which counts for all other models."""
    close = [target for target in targets if is_open(ask, target)]
    if not close:
        return ask
    text, ids, messages = _prompt_of(ask.body)
    estimate = _more(estimated_length(text, messages), ids)
    ask = replace(ask, lengths=(estimate,))
    counted = []
    for path, models in _still_open(ask, close, tokenizers).items():
        tokens = await count(path, text)
        if tokens is not None:
            counted.append(_more(counted_length(tokens, messages, frozenset(models)), ids))
    return replace(ask, lengths=(*counted, estimate)) if counted else ask


def _still_open(ask: Ask, targets: Iterable[Target], tokenizers: Mapping[str, str]) -> dict[str, list[str]]:
    """The models of those that the estimate leaves open, by the file of their tokenizer."""
    found: dict[str, list[str]] = {}
    for target in targets:
        if not is_open(ask, target):
            continue
        for model in sorted(target.models & tokenizers.keys()):
            path = tokenizers[model]
            if path in found or len(found) < MOST_COUNTS:
                found.setdefault(path, []).append(model)
    return found


def _more(length: Length, tokens: int) -> Length:
    return replace(length, least=length.least + tokens, most=length.most + tokens) if tokens else length


def _prompt_of(body: Mapping[str, Any]) -> tuple[str, int, int]:
    """(text, tokens that the client has made itself, messages) of what a model will read."""
    pieces: list[str] = []
    ids = 0
    for field in ("messages", "prompt", "input", "tools"):
        ids += _gather(body.get(field), pieces)
    messages = body.get("messages")
    return "\n".join(pieces), ids, len(messages) if isinstance(messages, list) else 1


def _gather(value: Any, pieces: list[str]) -> int:
    """Texts at any depth go to `pieces`; how many numbers there are, each of which is a token."""
    if isinstance(value, str):
        pieces.append(value)
        return 0
    if isinstance(value, list):
        return sum([_gather(each, pieces) for each in value])
    if isinstance(value, dict):
        return sum([_gather(each, pieces) for key, each in value.items() if key not in UNCOUNTED])
    return int(isinstance(value, int | float))
