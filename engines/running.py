"""Which engines of a home run now, by the records of their processes: under a supervisor, or while none lives."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from engines.home import last_plan
from engines.life import note
from engines.plan import EnginePlan
from engines.processes.record import Record, read_records


def living_records(home: Path) -> tuple[Record, ...]:
    """Those whose keeper lives. Who started it, and whether that one lives, is no matter."""
    return tuple(record for record in read_records(home) if record.keeper.lives())


def running_engines(home: Path, living: Sequence[Record]) -> tuple[EnginePlan, ...]:
    """The plans as they run, both of an engine that takes over from another. Where a record says nothing of its plan,
    it is that of the plan before under its name."""
    plan = last_plan(home)
    planned = {engine.name: engine for engine in (plan.engines if plan else ())}
    found = []
    for record in living:
        noted = note.read(record.note)
        engine = noted.plan if noted else planned.get(record.name)
        if engine is not None and record.ended is None:
            found.append(engine)
    return tuple(found)
