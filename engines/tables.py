"""Reading TOML tables, and the sentences for what is wrong in one: file, table, key and how to mend it.

Knows TOML; nothing of what the tables mean.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from engines.errors import SpillwayError


class TableError(SpillwayError, ValueError):
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
