"""Prompts from a file: one a line of text, or a column of JSON lines or CSV, gzipped or not. Reads files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from benchmarks.workload.records import Record, form_of, lines_in, records_in

P = TypeVar("P")
COLUMNS = ("prompt", "question", "text", "turns", "messages")
TEXT = ("txt", "text")


def prompts_in(path: Path) -> list[str]:
    """All of them, in the file's order; blank ones are left out. Raises ValueError with a sentence.

    Of `turns` the first is taken. `messages` (each with `content`) become one text, up to the last of a user: what the
    harness sends is one message.
    """
    if form_of(path) in TEXT:
        found = [line for _, line in lines_in(path)]
    else:
        found = [text for text in map(_prompt_of, records_in(path)) if text]
    if not found:
        raise ValueError(f"{path}: there is no prompt in it; write one a line")
    return found


def cycled(prompts: Sequence[P], rng: Random) -> Iterator[P]:
    """Without end: all of them in random order, then all of them in another."""
    while True:
        yield from rng.sample(prompts, len(prompts))


def _prompt_of(record: Record) -> str:
    column = next((name for name in COLUMNS if name in record.values), None)
    if column is None:
        names = ", ".join(record.values) or "none"
        raise ValueError(f"{record.where}: no column {' or '.join(COLUMNS)} (there is {names}); rename one of them")
    value = record.values[column]
    if column == "turns" and isinstance(value, list) and value:
        value = value[0]
    if column == "messages" and isinstance(value, list):
        value = _conversation(value)
    if not isinstance(value, str):
        raise ValueError(f"{record.where}: column {column} must be text, not {value!r:.80}")
    return value.strip()


def _conversation(messages: list[Any]) -> str | None:
    """None where it is not a list of messages with text."""
    if not all(isinstance(each, dict) and isinstance(each.get("content"), str) for each in messages):
        return None
    last = max((number for number, each in enumerate(messages) if each.get("role") == "user"), default=-1)
    return "\n\n".join(each["content"] for each in messages[: last + 1])
