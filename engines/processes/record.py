"""What a keeper writes down of itself and its child, so that the next supervisor, or `spillway down`, finds them.

Every process is named by its pid and the tick at which it started, so that nothing is ever signalled by a bare pid.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from engines.processes.orphans import start_ticks, tell, unlink


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A pid and the tick at which it started: together they name one process for good."""

    pid: int
    ticks: int

    @classmethod
    def of(cls, pid: int) -> Self | None:
        """The process that has this pid now; None if there is none."""
        ticks = start_ticks(pid)
        return None if ticks is None else cls(pid, ticks)

    def lives(self) -> bool:
        """Whether that very process still runs (a zombie does not)."""
        return start_ticks(self.pid) == self.ticks

    def tell(self, number: int) -> None:
        """Send a signal, unless the process is gone."""
        if self.lives():
            tell(self.pid, number)


@dataclass(frozen=True, slots=True)
class Record:
    """One keeper and its child; the keeper's pid is the session of all that came of it.

    `note` is what the starter wanted remembered, `grace_s` what the child is given after TERM, `cgroup` the folder of
    its control group. `ended` is the code with which the child has ended, None while it runs. `segments` is its shared
    memory of late, by name, with inodes.
    """

    name: str
    keeper: ProcessId
    child: ProcessId | None
    scratch: str | None
    command: tuple[str, ...] = ()
    note: str = ""
    grace_s: float = 0.0
    cgroup: str | None = None
    ended: int | None = None
    segments: Mapping[str, int] = field(default_factory=dict, compare=False)


def records_folder(home: Path) -> Path:
    """Where keepers write their records, one file per name."""
    return home / "processes"


def record_path(home: Path, name: str) -> Path:
    return records_folder(home) / f"{name}.json"


def read_records(home: Path) -> tuple[Record, ...]:
    """Every readable record; a torn or foreign file is left out, and what an older version did not write is empty."""
    found = (read_record(path) for path in sorted(records_folder(home).glob("*.json")))
    return tuple(record for record in found if record)


def read_record(path: Path) -> Record | None:
    """One record, or what a keeper left at the end of its child (`NAME.ended`); None if it is none."""
    try:
        record = _parsed(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    # The name leads to files that are removed one day: it must be that of this very file.
    return record if record.name == path.stem else None


def take_end(path: Path) -> Record | None:
    """How one child ended; None if its keeper could not say."""
    record = read_record(path)
    unlink(str(path))
    return record if record and record.ended is not None else None


def _parsed(raw: dict[str, Any]) -> Record:
    ended, child = raw.get("ended"), raw["child"]
    return Record(
        name=str(raw["name"]),
        keeper=_process(raw["keeper"]),
        child=None if child[1] is None else _process(child),
        scratch=None if raw["scratch"] is None else str(raw["scratch"]),
        command=tuple(str(word) for word in raw.get("command", ())),
        note=str(raw.get("note", "")),
        grace_s=float(raw.get("grace_s", 0.0)),
        cgroup=None if raw.get("cgroup") is None else str(raw["cgroup"]),
        ended=None if ended is None else int(ended),
        segments={str(name): int(inode) for name, inode in raw.get("segments", {}).items()},
    )


def _process(raw: list[Any]) -> ProcessId:
    pid, ticks = raw
    return ProcessId(int(pid), int(ticks))
