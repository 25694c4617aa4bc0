"""A stack of its own for one candidate: file, `spillway up`, the engine's address, `spillway down` whatever happens.

The one door to processes for tune. It must not know loads, promises or figures.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.demo_stack import free_port
from benchmarks.loopback import HOST
from benchmarks.search.settings import Candidate, table_of
from benchmarks.search.stack_text import edited

SIGN_OF_LIFE = re.compile(r"\(\d+ s\)$")


class TrialFailed(RuntimeError):
    """A candidate does not come up; the text says why, and where its log is."""


@dataclass(frozen=True, slots=True)
class Bench:
    """Where candidates run: the stack file they are changes of, the model that is tuned, a home, and the program.

    `more` are further words for `up`, such as `--profile cpu`.
    """

    text: str
    model: str
    home: Path
    program: Path = field(default_factory=lambda: Path(sys.executable).with_name("spillway"))
    more: tuple[str, ...] = ()

    @property
    def table(self) -> Mapping[str, Any]:
        """The model's table. Raises ValueError where there is none."""
        models = tomllib.loads(self.text).get("models", {})
        if self.model not in models:
            raise ValueError(f"the stack file has no [models.{self.model}]; there are: {', '.join(models) or 'none'}.")
        table: Mapping[str, Any] = models[self.model]
        return table

    def of_only_model(self) -> Bench:
        """The same for the one model that the file has. Raises ValueError where there are several, or none."""
        models = list(tomllib.loads(self.text).get("models", {}))
        if len(models) != 1:
            raise ValueError(f"--model must name the model to tune; there are: {', '.join(models) or 'none'}.")
        return replace(self, model=models[0])

    def changed(self, candidate: Candidate) -> str:
        """The stack file as the candidate wants it, comments and all."""
        return edited(self.text, f"models.{self.model}", table_of(self.table, candidate))


def require_quiet(bench: Bench) -> None:
    """Raises ValueError where the user's own stack is up: two stacks on one machine measure each other."""
    try:
        said = subprocess.run([bench.program, "status", "--json"], capture_output=True, text=True, check=False)
    except OSError as error:
        raise ValueError(f"{bench.program} cannot be run: {error}. `make up` installs it.") from error
    if said.returncode == 0:
        raise ValueError("a stack is up here and would share the machine with every candidate: `spillway down` first.")


@contextmanager
def running(bench: Bench, candidate: Candidate, number: int) -> Iterator[str]:
    """The address of the candidate's engine while the block runs. Raises TrialFailed where it does not come up.

    The engine itself is asked, past the router, which would refuse what it thinks too much.
    """
    home = bench.home / str(number)
    home.mkdir(parents=True, exist_ok=True)
    config = home / "stack.toml"
    config.write_text(_apart(bench.changed(candidate)), encoding="utf-8")
    environment = {**os.environ, "SPILLWAY_HOME": str(home)}
    try:
        log = home / "up.log"
        if _spillway(bench, environment, log, "up", "--config", str(config), *bench.more) != 0:
            raise TrialFailed(f"does not start: {_cause(log)} (more in {log})")
        yield _engine_url(bench, environment)
    finally:
        _take_down(bench, environment, home)


def _take_down(bench: Bench, environment: Mapping[str, str], home: Path) -> None:
    """Raises OSError where the stack stays up: whatever is measured next would share the machine with it."""
    if _spillway(bench, environment, home / "down.log", "down") != 0:
        raise OSError(f"a candidate's stack stays up; to end it: SPILLWAY_HOME={home} {bench.program} down")


def _apart(text: str) -> str:
    """On a port of its own of the loopback, without keys: nobody else is to find it."""
    tables = tomllib.loads(text)
    changes: dict[str, Any] = {"host": HOST, "port": free_port()}
    if "keys_env" in tables.get("endpoint", {}):
        changes["keys_env"] = None
    return edited(text, "endpoint", changes)


def _spillway(bench: Bench, environment: Mapping[str, str], log: Path, *words: str) -> int:
    with log.open("wb") as said:
        # In a session of its own: one Ctrl-C must reach it once, from us, and it needs its time to clean up after it.
        child = subprocess.Popen(
            [bench.program, *words], env=environment, stdout=said, stderr=subprocess.STDOUT, start_new_session=True
        )
        while True:
            try:
                return child.wait()
            except KeyboardInterrupt:
                # Taking down is never given up half-way; whatever else runs ends first, then we do.
                if "down" not in words:
                    child.send_signal(signal.SIGINT)
                    child.wait()
                    raise


def _engine_url(bench: Bench, environment: Mapping[str, str]) -> str:
    said = subprocess.run(
        [bench.program, "status", "--json"], env=environment, capture_output=True, text=True, check=False
    )
    try:
        engines = json.loads(said.stdout)["snapshot"]["engines"]
        return str(next(each["url"] for each in engines if each["model"] == bench.model))
    except (ValueError, KeyError, TypeError, StopIteration) as error:
        raise TrialFailed(
            f"the stack is up and does not say where [models.{bench.model}] answers: {error!r}"
        ) from error


def _cause(log: Path) -> str:
    """What `up` said last of its own, before the engine's last words; its signs of life end with their age."""
    own = log.read_text(encoding="utf-8", errors="replace").partition("Last lines of")[0]
    lines = [line.strip() for line in own.splitlines() if line.strip() and not SIGN_OF_LIFE.search(line)]
    return lines[-1] if lines else "it said nothing"
