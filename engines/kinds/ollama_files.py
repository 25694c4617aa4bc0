"""The files of a model in Ollama's models directory: which are missing, cut short, or have other bytes than the locked.

Ollama 0.33 checks a file when it has fetched it and never again; a file that is there counts as fetched, whatever is in
it (server/download.go, downloadBlob). So what is broken must be removed before a pull mends it.
"""

from __future__ import annotations

import json
from pathlib import Path

from engines.models.files import DamagedError, OnBytes, untold, verify_file
from engines.models.lock import LockedFile, LockedModel
from engines.models.verified import Verified

HOST, OWNER, TAG = "registry.ollama.ai", "library", "latest"


def broken(folder: Path, name: str) -> list[Path]:
    """Files of a model that is there which are missing or have another size than its manifest says. Nothing if there is
    no manifest to read: then Ollama does not know the model either."""
    try:
        manifest = json.loads(manifest_path(folder, name).read_bytes())
        sizes = {str(layer["digest"]): int(layer["size"]) for layer in [*manifest["layers"], manifest["config"]]}
    except (OSError, ValueError, KeyError, TypeError):
        return []
    paths = {folder / "blobs" / digest.replace(":", "-"): size for digest, size in sizes.items()}
    return [path for path, size in paths.items() if not path.is_file() or path.stat().st_size != size]


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


def manifest_path(folder: Path, name: str) -> Path:
    """Where Ollama keeps it: host, owner, model and tag are a folder each (types/model/name.go, Filepath)."""
    path, _, tag = name.rpartition(":") if ":" in name.rpartition("/")[2] else (name, "", TAG)
    host, owner, model = [HOST, OWNER, *path.split("/")][-3:]
    if path.count("/") == 1:
        host = HOST
    return folder / "manifests" / host / owner / model / tag
