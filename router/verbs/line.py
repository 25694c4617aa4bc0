"""The one line of stack.toml that chooses the preset: changed in place, whole or not at all, every comment kept."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import tomlkit

from router.verbs.given import VerbError

KEY = "active_preset"


def with_preset(text: str, name: str) -> str:
    """The text with this preset active. Only that line differs; without one, it becomes the first. Raises VerbError."""
    document = tomlkit.parse(text)
    if KEY in document:
        document[KEY] = name
        changed = tomlkit.dumps(document)
    else:
        changed = f'{KEY} = "{name}"\n\n{text}'
    # What was written is read again: nothing else may have changed.
    if tomllib.loads(changed) != tomllib.loads(text) | {KEY: name}:
        raise VerbError(f'the line cannot be changed safely; write {KEY} = "{name}" into the file yourself')
    return changed


def write_whole(path: Path, before: str, after: str) -> None:
    """Put `after` in the place of `before` at once, with the file's own rights. Raises VerbError when somebody else has
    written meanwhile, or when the folder cannot be written."""
    # Behind a link lies the file that is meant.
    path = path.resolve()
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with partial.open("w", encoding="utf-8", newline="") as file:
            file.write(after)
            file.flush()
            os.fsync(file.fileno())
        partial.chmod(path.stat().st_mode)
        if read_exactly(path) != before:
            raise VerbError(f"{path} was changed by somebody else at this very moment; try again")
        partial.replace(path)
    except OSError as error:
        raise VerbError(f"{path}: cannot be written ({error.strerror})") from error
    finally:
        partial.unlink(missing_ok=True)


def read_exactly(path: Path) -> str:
    """With its own line ends. Raises OSError, UnicodeDecodeError."""
    with path.open(encoding="utf-8", newline="") as file:
        return file.read()
