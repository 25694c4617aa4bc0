"""The door to the router's ledger, read only: what each request cost, or whatever else is asked of its rows.

It must not know how rows come there.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.drive.sample import Sample

# The router writes behind the answers, usually within a few milliseconds.
PATIENCE_S = 5.0
LOOK_S = 0.1


def usd_by_request(path: Path, since_unix_s: float, wanted: Iterable[str] = ()) -> Mapping[str, float]:
    """Dollars by request id, of what arrived since. Waits a little until the `wanted` are there.

    Raises ValueError that names the file when it cannot be read.
    """
    missing, deadline_s = set(wanted), time.monotonic() + PATIENCE_S
    found = _read(path, since_unix_s)
    while not missing <= found.keys() and time.monotonic() < deadline_s:
        time.sleep(LOOK_S)
        found = _read(path, since_unix_s)
    return found


def priced(samples: Iterable[Sample], usd: Mapping[str, float]) -> tuple[Sample, ...]:
    """The samples with the ledger's dollars; a header's stand where the ledger knows nothing of a request."""
    return tuple(replace(sample, usd=usd.get(sample.request_id, sample.usd)) for sample in samples)


def selected(path: Path, query: str, values: tuple[float, ...] = ()) -> list[tuple[Any, ...]]:
    """Rows of a SELECT. Raises ValueError that names the file when it cannot be read."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as ledger:
            return ledger.execute(query, values).fetchall()
    except sqlite3.Error as error:
        raise ValueError(f"--ledger {path}: {error}; name the ledger.sqlite3 of the router's SPILLWAY_HOME") from error


def _read(path: Path, since_unix_s: float) -> Mapping[str, float]:
    rows = selected(path, "SELECT request_id, usd FROM outcome WHERE at_unix_s >= ?", (since_unix_s,))
    return {str(name): float(usd) for name, usd in rows}
