"""Where the files of a locked model are, and what a router may know of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from engines.models.hub_cache import snapshot_folder
from engines.models.lock import LockedModel, LockError, model_view, read_lock
from engines.snapshot import ModelView

ENGINES = Path(__file__).resolve().parent.parent
TOKENIZER = "tokenizer.json"


def model_folder(model: LockedModel, environ: Mapping[str, str] = os.environ) -> Path:
    """Where a model's files are, or will be once they are downloaded. Built-in models come with the code; models of
    Ollama have no folder of ours (LockError)."""
    kind, _, place = model.source.partition(":")
    if kind == "builtin":
        return ENGINES / place / "model"
    if kind == "folder":
        return Path(place)
    if kind == "hf":
        return snapshot_folder(place, model.revision, environ)
    raise LockError(f"{model.source} has no folder: Ollama keeps it and serves it by name.")


def tokenizer_file(model: LockedModel, environ: Mapping[str, str] = os.environ) -> str | None:
    """Where its tokenizer is, or will be; None for a model of Ollama, and for one with a tokenizer of another kind."""
    if not any(file.path == TOKENIZER for file in model.files):
        return None
    return str(model_folder(model, environ) / TOKENIZER)


def locked_models(path: Path) -> tuple[ModelView, ...]:
    """What a router alone may know of every locked model; nothing where there is no lock. Raises TableError."""
    models = read_lock(path).models if path.is_file() else {}
    return tuple(
        model_view(name, model, model.architecture.context_tokens, tokenizer_file(model))
        for name, model in models.items()
    )
