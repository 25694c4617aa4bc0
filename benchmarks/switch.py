"""A switch tells the stand-in cloud or the fake engine how to misbehave, and for how many requests.

Pure. It must not know what a mode does; the servers name their own modes.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, fields, replace
from typing import Any

OK = "ok"


class SwitchError(ValueError):
    """A switch that names no known mode, or a value that cannot be."""


@dataclass(frozen=True, slots=True)
class Switch:
    """`for_requests` None lasts until changed. `after` counts chunks or tokens, whichever the mode speaks of."""

    mode: str = OK
    for_requests: int | None = None
    after: int = 3
    seconds: float = 1.0
    exit_code: int = 1

    def take(self) -> tuple[Switch, Switch]:
        """The switch that holds for the next request, and the one that is left after it."""
        if self.for_requests is None:
            return self, self
        if self.for_requests <= 1:
            return self, Switch()
        return self, replace(self, for_requests=self.for_requests - 1)


def read_switch(body: bytes, modes: Collection[str]) -> Switch:
    """Read the JSON of `POST /_switch`. Raises SwitchError with a sentence."""
    try:
        raw = json.loads(body)
    except ValueError as error:
        raise SwitchError(f"The switch is not JSON: {error}.") from error
    if not isinstance(raw, dict):
        raise SwitchError('The switch must be a JSON object such as {"mode": "ok"}.')
    known = {each.name for each in fields(Switch)}
    if unknown := sorted(raw.keys() - known):
        raise SwitchError(f"The switch has no key {unknown[0]!r}; it has {', '.join(sorted(known))}.")
    if raw.get("mode") not in modes:
        raise SwitchError(f"The switch has no mode {raw.get('mode')!r}; it has {', '.join(sorted(modes))}.")
    return Switch(**{name: _number(name, value) for name, value in raw.items()})


def _number(name: str, value: Any) -> Any:
    if name == "mode" or (name == "for_requests" and value is None):
        return value
    allowed = (int, float) if name == "seconds" else (int,)
    smallest = 1 if name == "for_requests" else 0
    if isinstance(value, bool) or not isinstance(value, allowed) or value < smallest:
        raise SwitchError(f"{name} must be a number of at least {smallest}, not {value!r}.")
    return value
