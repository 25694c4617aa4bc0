"""The files by which others know a keeper: the record while it lives, and how its child ended.

Standard library only and small, because every keeper loads it; `record` reads what is written here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping

from engines.processes.orphans import start_ticks, unlink

# Ends that no exit code tells: nobody knows how; the kernel killed it for lack of memory.
UNKNOWN_END, OOM_END = -999, -998


class Registration:
    """The record of the calling keeper and the child `pid`; `more` goes into it as it is."""

    def __init__(self, path: str, pid: int, more: Mapping[str, object], say: Callable[[str], None]) -> None:
        self._path, self._say = path, say
        own = os.getpid()
        ids = {"keeper": [own, start_ticks(own)], "child": [pid, start_ticks(pid)]}
        self._known: dict[str, object] = {**ids, **more, "segments": {}}
        self._is_written = self._write(path, self._known)

    def update(self, segments: Mapping[str, int]) -> None:
        """Write down the shared memory in use, so that it is found when keeper and child are both killed; and what a
        full disk has kept us from: without it no later supervisor finds the child."""
        if not self._is_written or segments != self._known["segments"]:
            self._known["segments"] = dict(segments)
            self._is_written = self._write(self._path, self._known)

    def end(self, code: int) -> None:
        """Leave word of the end, for a supervisor that is not the keeper's parent."""
        self._write(ended_path(self._path), {**self._known, "ended": code, "oom": code == OOM_END})

    def remove(self) -> None:
        """Nothing is left that the record could lead to."""
        unlink(self._path)

    def _write(self, path: str, told: Mapping[str, object]) -> bool:
        """Whole or not at all; whether it was possible."""
        partial = f"{path}.{os.getpid()}"
        try:
            with open(partial, "w", encoding="utf-8") as file:
                json.dump(told, file)
            os.replace(partial, path)
        except OSError as error:
            unlink(partial)
            self._say(f"no process record: {error}")
            return False
        return True


def ended_path(record: str) -> str:
    """Where the end of the child of this record is told."""
    return record.removesuffix(".json") + ".ended"
