"""Checking a TOML table against what it should be: every fault is named with its file, table and key.

The values are checked by pydantic; knows nothing of what the tables mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from engines.tables import TableError, place, unknown_key

T = TypeVar("T")

WORDS = {
    "missing": "is missing",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "string_type": "must be text in quotes",
    "bool_type": "must be true or false",
    "tuple_type": "must be a list",
    "dataclass_type": "must be a table",
    "dataclass_exact_type": "must be a table",
}


def check_table(kind: TypeAdapter[T], raw: object, path: Path, table: str, known: Iterable[str]) -> T:
    """`raw` as a T. `known` are the keys to suggest for a misspelt one. Raises TableError naming every fault."""
    try:
        return kind.validate_python(raw)
    except ValidationError as error:
        faults = [_fault(each, path, table, known) for each in error.errors()]
        raise TableError("\n".join(faults)) from error


def _fault(error: Mapping[str, Any], path: Path, table: str, known: Iterable[str]) -> str:
    *inside, key = [str(part) for part in error["loc"]] or [""]
    if key.isdigit() and inside:
        key = f"{inside.pop()}[{key}]"
    table = ".".join([table, *inside]) if table else ".".join(inside)
    if error["type"] == "unexpected_keyword_argument":
        return unknown_key(path, table, key, known)
    words = WORDS.get(error["type"]) or _lower(error["msg"])
    found = "" if error["type"] == "missing" else f" (found: {error['input']!r})"
    return f"{path}: {place(table, key)} {words}{found}."


def _lower(message: str) -> str:
    return message.removeprefix("Input ").removeprefix("Value error, ").replace("should be", "must be")
