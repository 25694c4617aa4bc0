"""A real router as a process in front of a scripted engine, its log and its ledger at hand."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.callers import heard, request
from tests.routers import TIERS, Router, running_router, until
from tests.scripted import ScriptedEngine, polite, scripted_engine


@dataclass(frozen=True, slots=True)
class Wired:
    """A router in front of a scripted engine."""

    engine: ScriptedEngine
    router: Router
    folder: Path

    @property
    def url(self) -> str:
        return self.router.url

    @property
    def in_flight(self) -> int:
        return int(self.router.target("local/tiny")["in_flight"]["requests"])

    @property
    def resting(self) -> str | None:
        cause: str | None = self.router.target("local/tiny")["resting"]
        return cause

    def row(self, request_id: str) -> dict[str, Any] | None:
        """The ledger's row of this request, once it is written."""
        with closing(sqlite3.connect(self.folder / "home" / "ledger.sqlite3", timeout=20)) as books:
            books.row_factory = sqlite3.Row
            rows = books.execute("SELECT * FROM outcome WHERE request_id = ?", (request_id,)).fetchall()
        assert len(rows) <= 1, "a request is settled once"
        return dict(rows[0]) if rows else None

    @property
    def log(self) -> str:
        return (self.folder / "router.log").read_text()


def quiet(wire: Wired) -> Wired:
    """What the test before left to the engine is over, and the engine is polite again."""
    wire.engine.script = polite
    until(lambda: wire.resting is None and wire.in_flight == 0)
    return wire


def rested(wire: Wired) -> Wired:
    """`quiet`, and a success has ended the row of failures, with each of which the rest would grow longer."""
    quiet(wire)
    assert heard(wire.url, request()).status == 200
    return wire


@contextmanager
def wired(
    folder: Path, config: str = "", environment: Mapping[str, str] | None = None, tiers: str = TIERS
) -> Iterator[Wired]:
    """Until the block is left. No request may make the router write a traceback."""
    with scripted_engine() as engine, (folder / "router.log").open("w") as log:
        engines = {"tiny": engine.url}
        with running_router(folder, tiers + config, engines, environment, errors=log) as router:
            made = Wired(engine, router, folder)
            yield made
        assert "Traceback" not in made.log, made.log
