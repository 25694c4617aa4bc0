"""plan.json in the home: who may write it, writing it, and which plan has been tried in vain."""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engines import home

LOCK_WAIT_S = 2.0
LOCK_PAUSE_S = 0.1


class PlannerBusyError(Exception):
    """Somebody else holds the right to write plan.json."""


@contextmanager
def only_planner(at: Path, limit_s: float | None = LOCK_WAIT_S) -> Iterator[None]:
    """The one that may write plan.json. Raises PlannerBusyError after `limit_s`; None: waits for it."""
    with (at / "up.lock").open("w") as lock:
        if limit_s is None:
            fcntl.flock(lock, fcntl.LOCK_EX)
        else:
            _lock_within(lock.fileno(), limit_s)
        yield


def _lock_within(fd: int, limit_s: float) -> None:
    deadline_s = time.monotonic() + limit_s
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline_s:
                raise PlannerBusyError from None
            time.sleep(LOCK_PAUSE_S)
        else:
            return


def write_plan(at: Path, text: str) -> None:
    """Whole or not at all, so that a supervisor never reads half a plan; with it all is tried anew. Raises OSError."""
    path = home.plan_path(at)
    fd, partial = tempfile.mkstemp(dir=at, prefix="plan.json.")
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(fd)
        Path(partial).replace(path)
        _declined_path(at).unlink(missing_ok=True)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


def decline(at: Path, digest: str, words: str) -> None:
    """Remember that files of this content cannot run as planned, though the plan that was made of them was well."""
    try:
        _declined_path(at).write_text(json.dumps([digest, words]), encoding="utf-8")
    except OSError:
        # Then they are tried once more, by themselves.
        return


def declined(at: Path, digest: str) -> str:
    """Why files of this content are not to be tried again; "" if they may be."""
    try:
        known, words = json.loads(_declined_path(at).read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return ""
    return str(words) if known == digest else ""


def _declined_path(at: Path) -> Path:
    return at / "declined.json"
