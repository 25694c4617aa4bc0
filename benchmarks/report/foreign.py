"""Reads JSON that other programs wrote: a number where it should be, or a sentence that says where it is not. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, TypeAlias

Record: TypeAlias = dict[str, Any]
# What another tool calls a failure is only text: one word for all of them.
FAILED = "unknown"


def number(record: Record, key: str) -> float | None:
    """A finite number, or None where there is none."""
    value = record.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def needed(record: Record, key: str, name: str) -> float:
    """A number that the report cannot do without. Raises ValueError that names file and key."""
    value = number(record, key)
    if value is None:
        raise ValueError(f"{name}: {key!r} is missing or no number. Is the file whole?")
    return value


def part(record: Record, *keys: str) -> Record:
    """The object below those keys; empty where there is none."""
    found: Any = record
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def records(value: Any) -> Iterator[Record]:
    """The objects of a list."""
    yield from (each for each in (value if isinstance(value, list) else ()) if isinstance(each, dict))


def column(record: Record, key: str) -> list[Any]:
    """A list, empty where there is none."""
    value = record.get(key)
    return value if isinstance(value, list) else []
