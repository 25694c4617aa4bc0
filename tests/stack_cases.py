"""Stack files and locks of a test's own: some models, one tier, a free port."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.checkout import default_lock
from engines.models.lock import Lock, LockedModel, read_lock
from engines.models.lock_text import to_toml
from tests.ports import unused_port
from tests.stacks import Place


@dataclass(frozen=True)
class Case:
    """A stack.toml and a models.lock of their own."""

    place: Place
    lock: Path

    def run(self, verb: str, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return self.place.run(verb, "--config", str(self.place.config), "--lock", str(self.lock), *words, **variables)

    def plan(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return self.run("plan", *words, **variables)

    def json(self, *words: str, **variables: str) -> dict[str, Any]:
        said = self.plan("--json", *words, **variables)
        assert said.returncode == 0, said.stdout + said.stderr
        read: dict[str, Any] = json.loads(said.stdout)
        return read


def case(folder: Path, models: dict[str, LockedModel], wanted: str) -> Case:
    """`wanted`: the tables `[models.*]` and `[gpus]` as text."""
    lock = folder / "models.lock"
    lock.write_text(to_toml(Lock(schema=2, runtimes=read_lock(default_lock()).runtimes, models=models)))
    port = unused_port()
    config = folder / "stack.toml"
    config.write_text(tables(port, wanted))
    return Case(Place(folder / "home", config, port), lock)


def tables(port: int, wanted: str) -> str:
    """A whole stack.toml: the endpoint, one tier that stays at home, and what is wanted."""
    tier = '[tiers.standard]\nttft_target_s = 2.0\norder = ["local"]\nmay_spill = false\n'
    return f'[endpoint]\nport = {port}\n[limits]\ndefault_tier = "standard"\n{tier}{wanted}\n'
