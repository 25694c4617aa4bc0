"""Whole stacks for tests: the console script in a home of its own, on a free port, with real vLLM behind it."""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engines.checkout import default_config
from engines.following import follow
from engines.home import running_supervisor
from engines.processes.orphans import mapped_segments, session_members
from engines.processes.record import read_records
from engines.snapshot import EngineView
from tests.ports import unused_port
from tests.routers import KEY, cloud_table
from tests.warm import ran

SPILLWAY = str(Path(sys.executable).with_name("spillway"))


@dataclass(frozen=True, slots=True)
class Place:
    """A home and a stack.toml of its own, on a port that is free. No cloud key of the user's reaches it."""

    home: Path
    config: Path
    port: int
    variables: dict[str, str] = field(default_factory=dict)

    def run(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return ran([SPILLWAY, *words], {**self.environment(), **variables})

    def environment(self) -> dict[str, str]:
        inherited = {key: value for key, value in os.environ.items() if not key.endswith("_API_KEY")}
        return {**inherited, "SPILLWAY_HOME": str(self.home), **self.variables}

    def down(self) -> int:
        """`down`, to its end even when the tests are interrupted meanwhile: nobody else would end the engine."""
        with subprocess.Popen([SPILLWAY, "down"], env=self.environment(), start_new_session=True) as process:
            return process.wait()

    def up(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.run("up", "--profile", "cpu", "--config", str(self.config), *words)

    def complete(self, model: str = "smoke") -> dict[str, Any]:
        """What the model answers to a question."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        body = {"model": model, "messages": [{"role": "user", "content": "What are you?"}], "max_tokens": 8}
        connection.request("POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        assert answer.status == 200, text
        read: dict[str, Any] = json.loads(text)
        return read

    def engine(self) -> EngineView:
        return next(follow(self.home)).engines[0]


@dataclass(frozen=True, slots=True)
class Shipped:
    """The shipped stack as it runs, and what `up` said."""

    place: Place
    said: str


@contextmanager
def shipped_stack(folder: Path, cloud_url: str) -> Iterator[Shipped]:
    """With a cloud that answers. A test may have ended it already."""
    place = place_in(folder, {"STAND_IN_KEY": KEY})
    place.config.write_text(place.config.read_text() + cloud_table(cloud_url, serves="smoke"))
    said = place.up()
    try:
        assert said.returncode == 0, said.stdout + said.stderr
        yield Shipped(place, said.stdout)
    finally:
        if running_supervisor(place.home):
            ends_without_trace(place)


def ends_without_trace(place: Place) -> None:
    """`down` leaves no process, record or shared memory, and has nothing to do a second time."""
    sessions = [record.keeper.pid for record in read_records(place.home)]
    segments = mapped_segments(pid for session in sessions for pid in session_members(session))
    assert place.down() == 0
    assert running_supervisor(place.home) is None
    assert [session_members(session) for session in sessions] == [set()] * 3
    assert not list((place.home / "processes").iterdir())
    assert segments.isdisjoint(path.stat().st_ino for path in Path("/dev/shm").iterdir())
    assert "nothing was running" in place.run("down").stdout


def place_in(folder: Path, variables: dict[str, str] | None = None) -> Place:
    """The shipped stack.toml on a port of its own."""
    port = unused_port()
    config = folder / "stack.toml"
    config.write_text(re.sub(r"(?m)^port = \d+", f"port = {port}", default_config().read_text()))
    return Place(folder / "home", config, port, variables or {})
