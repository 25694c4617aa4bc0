"""Records of engines that seem to run: each under the keeper that the test itself is."""

from __future__ import annotations

import json
import os
from pathlib import Path

from engines.life.note import Note
from engines.plan import EnginePlan
from engines.processes.record import ProcessId, record_path, records_folder


def noted(home: Path, *plans: EnginePlan) -> None:
    """The second of two with one name is the one that takes over."""
    records_folder(home).mkdir(exist_ok=True)
    keeper = ProcessId.of(os.getpid())
    assert keeper
    for number, plan in enumerate(plans, 1):
        name = plan.name if number == 1 else f"{plan.name}~{number}"
        written = {
            "name": name,
            "keeper": [keeper.pid, keeper.ticks],
            "child": [0, None],
            "scratch": None,
            "note": Note(name, 1, "", plan).to_json(),
        }
        record_path(home, name).write_text(json.dumps(written))
