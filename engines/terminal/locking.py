"""What `spillway lock` does: stack.toml and the old models.lock in, the new one out, and what there is to say of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engines import runtime as runtimes
from engines.config import read_config
from engines.models.checkpoint import Say
from engines.models.lock import SCHEMA, Lock, read_lock
from engines.models.lock_text import write_lock
from engines.models.prices import installed_prices
from engines.models.resolve import Doors, resolve, unlocked, unwanted
from engines.models.stale import stale
from engines.tables import read_toml


@dataclass(frozen=True, slots=True)
class Relocked:
    """`stale`: facts that differ from the old lock. `problems`: what could not be resolved, or is not as it should be.
    `lacking`: what stack.toml wants and the new lock still has not. `unwanted`: names of models that stay unasked for.
    """

    stale: tuple[str, ...]
    problems: tuple[str, ...]
    lacking: tuple[str, ...]
    unwanted: tuple[str, ...]

    @property
    def is_usable(self) -> bool:
        """Whether everything that is wanted has facts."""
        return not self.lacking

    def is_fine(self, check: bool) -> bool:
        """Whether nothing is left to do: a check is also not fine where the lock is stale."""
        return self.is_usable and not (check and self.stale)


def relock(config: Path, path: Path, check: bool, say: Say) -> Relocked:
    """Resolve what is wanted, and unless `check` write the lock at `path`. Raises TableError for either file."""
    say("reading stack.toml and models.lock")
    wanted, tables = read_config(config), read_toml(config).get("clouds", {})
    old = _previous(path)
    versions = {name: runtimes.runtime(name).version for name in runtimes.RUNTIMES}
    resolved = resolve(wanted, old, Doors(versions, installed_prices(), tables, say))
    if not check:
        write_lock(path, resolved.lock)
    return Relocked(
        stale=tuple(stale(old, resolved.lock)),
        problems=resolved.problems,
        lacking=unlocked(wanted, resolved.lock),
        unwanted=unwanted(wanted, resolved.lock),
    )


def _previous(path: Path) -> Lock | None:
    """The lock as it is. None without one, and for one of an older schema, which is made anew. Raises LockError."""
    if not path.exists():
        return None
    schema = read_toml(path).get("schema")
    if isinstance(schema, int) and 0 < schema < SCHEMA:
        return None
    return read_lock(path)


def words(found: Relocked, path: Path, config: Path, check: bool) -> list[str]:
    """What the verb prints, the outcome last."""
    lines = [f"{path.name}: {line}" for line in found.stale]
    lines += [f"{config.name}: {line}" for line in found.problems]
    lines += [f"{path.name}: [models.{name}] is not wanted by {config.name}. It stays." for name in found.unwanted]
    kept = f"The rest of {path.name} is up to date." if found.problems else f"{path.name} is up to date."
    written = f"{path.name} is written." if found.stale else kept
    if found.stale and check:
        lines.append("Run `spillway lock` if these changes are meant.")
    elif found.is_usable:
        lines.append(written)
    if not found.is_usable:
        lines.append(f"{path.name} lacks what {config.name} wants. Nothing of it starts before it is locked.")
    return lines
