"""The files of a model in Ollama's models directory: where its manifest is, and which are missing or cut short.

What is broken must be removed before a pull mends it: see `ollama_damaged`, which finds other bytes too.
"""

from __future__ import annotations

import json
from pathlib import Path

from engines.models.ollama_names import HOST, OWNER, TAG


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


def manifest_path(folder: Path, name: str) -> Path:
    """Where Ollama keeps it: host, owner, model and tag are a folder each (types/model/name.go, Filepath)."""
    path, _, tag = name.rpartition(":") if ":" in name.rpartition("/")[2] else (name, "", TAG)
    host, owner, model = [HOST, OWNER, *path.split("/")][-3:]
    if path.count("/") == 1:
        host = HOST
    return folder / "manifests" / host / owner / model / tag
