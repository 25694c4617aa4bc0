"""What stands in the record of an engine's process for the supervisor after this one. Pure."""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass

import msgspec

from engines.plan import EnginePlan

MARK_BYTES = 8


@dataclass(frozen=True, slots=True)
class Note:
    """One run of an engine: the plan as it runs, and `because` of what it differs from the planned one; its port and
    the name that only this run answers to."""

    instance: str
    port: int
    mark: str
    plan: EnginePlan
    because: str = ""

    def to_json(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"))


def read(text: str) -> Note | None:
    """What `Note.to_json` wrote; None for anything else, such as the note of another version."""
    try:
        return msgspec.convert(json.loads(text), Note)
    except ValueError:
        return None


def fresh_mark(plan: EnginePlan) -> str:
    """A name for one run, which no other server can know."""
    return f"{plan.model}@{secrets.token_hex(MARK_BYTES)}"
