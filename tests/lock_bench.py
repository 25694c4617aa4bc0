"""`spillway lock` in a folder of its own: the console script, a small stack.toml, and stand-ins for what it asks."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from engines.models.lock import Lock, LockedModel, read_lock
from engines.tables import TableError
from engines.terminal.locking import relock, words
from tests.stacks import SPILLWAY
from tests.warm import ran

# What could lead the verb to a real hub, registry, cache or account.
FOREIGN = ("HF_", "HUGGING_FACE_", "SPILLWAY_")
NOWHERE = "http://127.0.0.1:9"


@dataclass(slots=True)
class Workbench:
    """`variables` are what the verb sees of the stand-ins. Without any, hub and registry are nowhere."""

    folder: Path
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def lock_path(self) -> Path:
        return self.folder / "models.lock"

    def want(self, *tables: str) -> None:
        """Write stack.toml."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "stack.toml").write_text("\n".join(tables))

    def judge(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """As `run`, but here and now: for models that need no hub and no registry."""
        config, check = self.folder / "stack.toml", "--check" in arguments
        try:
            found = relock(config, self.lock_path, check, lambda text: None)
        except TableError as error:
            return subprocess.CompletedProcess(arguments, 1, str(error), "")
        lines = words(found, self.lock_path, config, check)
        return subprocess.CompletedProcess(arguments, 0 if found.is_fine(check) else 1, "\n".join(lines), "")

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return ran(self._command(arguments), self._environment(variables))

    def started(self) -> subprocess.Popen[str]:
        command, env = self._command(()), self._environment({})
        return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)

    def _command(self, arguments: tuple[str, ...]) -> list[str]:
        files = ["--config", str(self.folder / "stack.toml"), "--lock", str(self.lock_path)]
        return [SPILLWAY, "lock", *files, *arguments]

    def _environment(self, variables: dict[str, str]) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(FOREIGN)}
        nowhere = {
            "HF_HOME": str(self.folder / "hf"),
            "HF_ENDPOINT": NOWHERE,
            "SPILLWAY_OLLAMA_REGISTRY": NOWHERE,
            "SPILLWAY_HOME": str(self.folder / "home"),
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
        }
        return {**kept, **nowhere, **self.variables, **variables}

    def lock(self) -> Lock:
        return read_lock(self.lock_path)

    def model(self, name: str) -> LockedModel:
        return self.lock().models[name]


def table(name: str, source: str, **keys: str) -> str:
    """A [models.*] table as a user writes it."""
    engine = {"engine": "ollama"} if source.startswith("ollama:") else {}
    lines = [f'{key} = "{value}"' for key, value in {"source": source, **engine, **keys}.items()]
    return "\n".join([f"[models.{name}]", "context_tokens = 512", *lines, ""])
