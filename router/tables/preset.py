"""`[presets.NAME]`: which models do which work. `active_preset` names the one that counts."""

from __future__ import annotations

from router.tables.table import Name, Names, Table


class Preset(Table):
    """The models of each task, of which the next serves when the one before it cannot.

    `default` are those of the tasks that it does not name. `about` is for people.
    """

    about: str = ""
    default: Names | None = None
    tasks: dict[Name, Names] = {}
