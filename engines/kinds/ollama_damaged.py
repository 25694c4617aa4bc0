"""Files of a locked model in Ollama's models directory that have other bytes than the locked ones: found and removed.

Ollama 0.33 checks a file when it has fetched it and never again; a file that is there counts as fetched, whatever is in
it (server/download.go, downloadBlob). So what is damaged must be removed before a pull mends it.
"""

from __future__ import annotations

from pathlib import Path

from engines.models.files import DamagedError, OnBytes, untold, verify_file
from engines.models.lock import LockedFile, LockedModel
from engines.models.verified import Verified


def remove_damaged(
    name: str, model: LockedModel, folder: Path, verified: Verified | None = None, on_bytes: OnBytes = untold
) -> list[str]:
    """Remove the files of a locked model that are there and have other bytes; their paths. What is missing then is
    fetched when the model is loaded. Reads all that was not verified before, so it takes its time.
    Raises OSError."""
    found = [file for file in model.files if (folder / file.path).is_file()]
    damaged = [file for file in found if _is_damaged(name, model, file, folder, verified or Verified(), on_bytes)]
    for file in damaged:
        (folder / file.path).unlink(missing_ok=True)
    return [file.path for file in damaged]


def _is_damaged(
    name: str, model: LockedModel, file: LockedFile, folder: Path, verified: Verified, on_bytes: OnBytes
) -> bool:
    if (folder / file.path).stat().st_size != file.bytes:
        return True
    try:
        verify_file(name, model, file, folder, verified, on_bytes)
    except DamagedError:
        return True
    return False
