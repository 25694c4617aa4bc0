"""Whether the files of a model are the locked ones."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path

from engines.models.checkpoint import INDEX, small_files
from engines.models.lock import MEND, LockedFile, LockedModel, LockError
from engines.models.verified import Verified

PIECE_BYTES = 1 << 22

OnBytes = Callable[[int], None]


class DamagedError(LockError):
    """A file of a model that is there and has other bytes than the locked one."""

    def __init__(self, message: str, name: str, file: LockedFile) -> None:
        super().__init__(message)
        self.name = name
        self.file = file


def untold(_count: int) -> None:
    """For callers that show no progress."""


def verify(name: str, model: LockedModel, folder: Path, verified: Verified | None = None) -> None:
    """Raises LockError for a file that is missing, differs in size or digest, or is not locked but would be loaded.

    Large files that were verified before and look unchanged (see `Verified`) are not read again."""
    for file in model.files:
        verify_file(name, model, file, folder, verified or Verified())
    refuse_strays(name, model, folder)


def verify_file(
    name: str, model: LockedModel, file: LockedFile, folder: Path, verified: Verified, on_bytes: OnBytes = untold
) -> None:
    """One locked file, as `verify`. `on_bytes` is told of bytes as they are read, and of all of them at once for a file
    that need not be read."""
    path, table = folder / file.path, f"models.{name}.files"
    if not path.is_file():
        raise LockError(f"{path} is missing (models.lock [{table}] path = {file.path!r}). {mend(model, path)}")
    size_bytes = path.stat().st_size
    if size_bytes != file.bytes:
        raise LockError(
            f"{path} has {size_bytes} bytes; models.lock [{table}] bytes says {file.bytes}. {mend(model, path)}"
        )
    found = _sha256(path, verified, on_bytes)
    if found != file.sha256:
        raise DamagedError(
            f"{path} has sha256 {found}; models.lock [{table}] sha256 says {file.sha256}. {mend(model, path)}",
            name,
            file,
        )


def refuse_strays(name: str, model: LockedModel, folder: Path) -> None:
    for stray in strays(model, folder):
        raise LockError(
            f"{folder / stray} is not in models.lock [models.{name}.files], and an engine would load it. "
            f"Remove it, or run `spillway lock` if it is meant."
        )


def mend(model: LockedModel, path: Path) -> str:
    """How to get the locked file back."""
    if not model.source.startswith("hf:"):
        return MEND
    if not path.is_file():
        return "`spillway download` fetches it."
    # The snapshot holds a link: only removing what it leads to makes the next download fetch it.
    return f"Delete {path.resolve()}; `spillway download` fetches it again."


def strays(model: LockedModel, folder: Path) -> list[str]:
    """Files that are not locked and that an engine would load.

    Besides what `checkpoint.small_files` names those are weights: all beside config.json where no index chooses among
    them, and Mistral's own format wherever it lies, which vLLM prefers to the other (vLLM 0.32, default_loader.py,
    _prepare_weights, and repo_utils.py, list_filtered_repo_files)."""
    locked = {file.path for file in model.files}
    places = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    paths = sorted(str(place) for place in places if not any(part.startswith(".") for part in place.parts))
    loaded = {path for path in paths if fnmatch(Path(path).name, "consolidated*.safetensors")}
    if INDEX not in locked:
        loaded |= {path for path in paths if path.endswith(".safetensors") and "/" not in path}
    return sorted((loaded | set(small_files(paths))) - locked)


def file_sha256(path: Path, on_bytes: OnBytes = untold) -> str:
    found = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        piece = bytearray(PIECE_BYTES)
        while count := file.readinto(piece):
            found.update(memoryview(piece)[:count])
            on_bytes(count)
    return found.hexdigest()


def _sha256(path: Path, verified: Verified, on_bytes: OnBytes) -> str:
    before = path.stat()
    known = verified.sha256_of(path)
    if known is not None:
        on_bytes(before.st_size)
        return known
    found = file_sha256(path, on_bytes)
    verified.remember(path, found, before)
    return found
