"""`[presets.NAME]`: which models do which work. `active_preset` names the one that counts."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from router.tables.table import Name, Table


def _listed(value: object) -> object:
    return (value,) if isinstance(value, str) else value


# One model, or several of which the next serves when the one before it cannot.
Models = Annotated[tuple[str, ...], BeforeValidator(_listed), Field(min_length=1)]


class Preset(Table):
    """The models of each task; `default` are those of the tasks that it does not name. `about` is for people."""

    about: str = ""
    default: Models | None = None
    tasks: dict[Name, Models] = {}
