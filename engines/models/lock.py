"""models.lock: the resolved facts of every model. Values, and reading them with strict checks.

`resolve` makes these values, `lock_text` writes them, `files` proves that the files on disk are those.
"""

from __future__ import annotations

import hashlib
from dataclasses import fields
from pathlib import Path
from typing import Annotated

from pydantic import Field, Strict, TypeAdapter
from pydantic.dataclasses import dataclass

from engines.checks import check_table
from engines.models.architecture import EXACT, Architecture, Attention, Count
from engines.models.weights import Weights
from engines.snapshot import ModelView, Twin
from engines.tables import TableError, read_toml, unknown_key

SCHEMA = 2
MEND = "Run `spillway lock` if the change is meant; else restore the file (`git checkout`)."

UsdPerMtok = Annotated[float, Strict(), Field(ge=0)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
# Where a model comes from. `hf` and `folder` are served by vLLM, `ollama` by Ollama; `builtin` comes with the code.
SOURCE = r"^(builtin:[a-z][a-z0-9_]*|hf:[\w.-]+/[\w.-]+|ollama:[\w./-]+(:[\w.-]+)?|folder:/.+)$"


class LockError(TableError):
    """models.lock, or a file that it locks, is not what it should be."""


@dataclass(frozen=True, slots=True, config=EXACT)
class LockedFile:
    """One file of a model, relative to its folder."""

    path: Annotated[str, Field(pattern=r"^[^/.][^/]*(/[^/.][^/]*)*$")]
    sha256: Sha256
    bytes: Annotated[int, Strict(), Field(ge=0)]


@dataclass(frozen=True, slots=True, config=EXACT)
class LockedTwin:
    """The cloud deployment that may serve a model instead. `model` is a litellm model string."""

    deployment: str
    model: str
    context_tokens: Count
    capabilities: tuple[str, ...]
    input_usd_per_mtok: UsdPerMtok
    output_usd_per_mtok: UsdPerMtok
    priced_from: str


@dataclass(frozen=True, slots=True, config=EXACT)
class LockedModel:
    """The facts of one model. `quantization` is "none" or the name that the engine knows.

    `revision` is a commit of 40 digits (`hf`) or the manifest's sha256 (`ollama`), and empty for files of your own.
    `branch` is what stack.toml names after the `@` of a repository: a branch, a tag or a commit; else empty.
    `chat_template` is the sha256 of the template's text, None where the model has none.
    """

    source: Annotated[str, Field(pattern=SOURCE)]
    licence: str
    quantization: str
    capabilities: tuple[str, ...]
    architecture: Architecture
    weights: Weights
    files: Annotated[tuple[LockedFile, ...], Field(min_length=1)]
    revision: Annotated[str, Field(pattern="^([0-9a-f]{40}|[0-9a-f]{64}|)$")] = ""
    branch: Annotated[str, Field(pattern=r"^[\w./-]*$")] = ""
    chat_template: Sha256 | None = None
    twin: LockedTwin | None = None

    def identity(self) -> str:
        """What changes whenever any file does: the revision, or a digest of the files' digests."""
        digests = "".join(file.sha256 for file in self.files)
        return self.revision or hashlib.sha256(digests.encode()).hexdigest()

    def stored_bytes(self) -> int:
        return sum(file.bytes for file in self.files)


@dataclass(frozen=True, slots=True, config=EXACT)
class Lock:
    """The whole file."""

    schema: Count
    runtimes: dict[str, str]
    models: dict[str, LockedModel] = Field(default_factory=dict)


LOCK = TypeAdapter(Lock)
KINDS = (Lock, LockedModel, Architecture, Attention, Weights, LockedFile, LockedTwin)
KEYS = tuple(sorted({field.name for kind in KINDS for field in fields(kind)}))


def read_lock(path: Path) -> Lock:
    """Raises LockError naming file, table and key."""
    try:
        raw = read_toml(path)
        if raw.get("schema") != SCHEMA:
            raise TableError(
                f"{path}: schema must be {SCHEMA} (found: {raw.get('schema')!r}). This Spillway reads no other."
            )
        return check_table(LOCK, raw, path, "", KEYS)
    except TableError as error:
        raise LockError(f"{error}\n{MEND}") from error


def locked_model(lock: Lock, name: str, path: Path) -> LockedModel:
    """The model of that name. Raises LockError with the names that exist."""
    if name not in lock.models:
        raise LockError(unknown_key(path, "", f"[models.{name}]", [f"[models.{known}]" for known in lock.models]))
    return lock.models[name]


def model_view(name: str, model: LockedModel, context_tokens: int, tokenizer: str | None = None) -> ModelView:
    """What the router is told of a model that runs with this context, and whose tokenizer is in this file."""
    twin = None if model.twin is None else _twin_view(model.twin)
    return ModelView(name, context_tokens, model.capabilities, twin, tokenizer)


def _twin_view(twin: LockedTwin) -> Twin:
    return Twin(
        deployment=twin.deployment,
        context_tokens=twin.context_tokens,
        capabilities=twin.capabilities,
        input_usd_per_mtok=twin.input_usd_per_mtok,
        output_usd_per_mtok=twin.output_usd_per_mtok,
        priced_from=twin.priced_from,
        model=twin.model,
    )
