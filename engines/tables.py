"""Reading TOML tables strictly: every error names the file, the table, the key and how to mend it.

Knows pydantic and TOML; nothing of what the tables mean.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

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


class TableError(ValueError):
    """A file that cannot be used as it is. The message is one or two plain sentences."""


def read_toml(path: Path) -> dict[str, Any]:
    """The file's tables. Raises TableError when there is no such file or it is not TOML, with the line."""
    try:
        text = path.read_text(encoding="utf-8")
        return tomllib.loads(text)
    except FileNotFoundError:
        raise TableError(f"{path} is missing.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise TableError(f"{path} cannot be read: {error}.") from error
    except tomllib.TOMLDecodeError as error:
        said = str(error).replace("end of document", f"the end, line {len(text.splitlines())}")
        raise TableError(f"{path} is not valid TOML: {said}.") from error


def named_variables(table: Mapping[str, Any]) -> Iterator[str]:
    """The environment variables that a stack.toml names, one or a list of them at a time."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from named_variables(value)
        elif key.endswith("_env"):
            yield from (each for each in (value if isinstance(value, list) else [value]) if isinstance(each, str))


def check_table(kind: TypeAdapter[T], raw: object, path: Path, table: str, known: Iterable[str]) -> T:
    """`raw` as a T. `known` are the keys to suggest for a misspelt one. Raises TableError naming every fault."""
    try:
        return kind.validate_python(raw)
    except ValidationError as error:
        faults = [_fault(each, path, table, known) for each in error.errors()]
        raise TableError("\n".join(faults)) from error


def unknown_key(path: Path, table: str, key: str, known: Iterable[str]) -> str:
    """The sentence for a key or table that does not exist, with the nearest one that does."""
    known = sorted(known)
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known are: {', '.join(known)}."
    return f"{path}: {place(table, key)} is unknown; {hint}"


def place(table: str, key: str) -> str:
    """How messages name a key: `[models.smoke] context_tokens`; a table itself is `[models.smoke]`."""
    if not table:
        return key
    return f"[{table}] {key}" if key else f"[{table}]"


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
