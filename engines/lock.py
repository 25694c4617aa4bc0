"""models.lock: the resolved facts of every model, and the proof that the files on disk are those.

Loads, checks and hands out frozen values; `engines.relock` writes the file. Knows nothing of engines or processes.
"""

from __future__ import annotations

import hashlib
from dataclasses import fields
from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field, Strict, TypeAdapter
from pydantic.dataclasses import dataclass

from engines.snapshot import ModelView, Twin
from engines.tables import TableError, check_table, read_toml, unknown_key

SCHEMA = 1
EXACT = ConfigDict(extra="forbid")
PACKAGE = Path(__file__).resolve().parent
BYTES_OF_DTYPE = {"float32": 4, "float16": 2, "bfloat16": 2}
MEND = "Run `spillway lock` if the change is meant; else restore the file (`git checkout`)."

Count = Annotated[int, Strict(), Field(gt=0)]
UsdPerMtok = Annotated[float, Strict(), Field(ge=0)]


class LockError(TableError):
    """models.lock, or a file that it locks, is not what it should be."""


@dataclass(frozen=True, slots=True, config=EXACT)
class Architecture:
    """What the arithmetic needs to know of a model. `dtype` is that of weights and KV cache."""

    name: str
    layers: Count
    heads: Count
    kv_heads: Count
    head_size: Count
    hidden_size: Count
    dtype: Annotated[str, Field(pattern="^(" + "|".join(BYTES_OF_DTYPE) + ")$")]
    vocabulary: Count
    context_tokens: Count

    def kv_bytes_per_token(self) -> int:
        """Keys and values of one token over all layers, for the whole model."""
        return 2 * self.layers * self.kv_heads * self.head_size * BYTES_OF_DTYPE[self.dtype]


@dataclass(frozen=True, slots=True, config=EXACT)
class LockedFile:
    """One file of a model, relative to its folder."""

    path: Annotated[str, Field(pattern=r"^[^/.][^/]*(/[^/.][^/]*)*$")]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
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
    """The facts of one model. `quantization` is "none" or the name that the engine knows."""

    source: Annotated[str, Field(pattern=r"^builtin:[a-z][a-z0-9_]*$")]
    licence: str
    quantization: str
    capabilities: tuple[str, ...]
    architecture: Architecture
    files: Annotated[tuple[LockedFile, ...], Field(min_length=1)]
    twin: LockedTwin | None = None

    def weights_bytes(self) -> int:
        return sum(file.bytes for file in self.files if file.path.endswith(".safetensors"))


@dataclass(frozen=True, slots=True, config=EXACT)
class Lock:
    """The whole file."""

    schema: Count
    runtimes: dict[str, str]
    models: dict[str, LockedModel]


LOCK = TypeAdapter(Lock)
KINDS = (Lock, LockedModel, Architecture, LockedFile, LockedTwin)
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


def model_folder(model: LockedModel) -> Path:
    """Where a model's files are. Built-in models come with the code."""
    return PACKAGE / model.source.removeprefix("builtin:") / "model"


def verify(name: str, model: LockedModel, folder: Path) -> None:
    """Raises LockError for a file that is missing, not locked, or differs in size or digest."""
    for file in model.files:
        _verify_file(f"models.{name}.files", file, folder / file.path)
    locked = {file.path for file in model.files}
    for stray in sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()):
        if stray not in locked and not stray.startswith("."):
            raise LockError(f"{folder / stray} is not in models.lock [models.{name}.files]. {MEND}")


def _verify_file(table: str, file: LockedFile, path: Path) -> None:
    if not path.is_file():
        raise LockError(f"{path} is missing (models.lock [{table}] path = {file.path!r}). {MEND}")
    size_bytes = path.stat().st_size
    if size_bytes != file.bytes:
        raise LockError(f"{path} has {size_bytes} bytes; models.lock [{table}] bytes says {file.bytes}. {MEND}")
    found = file_sha256(path)
    if found != file.sha256:
        raise LockError(f"{path} has sha256 {found}; models.lock [{table}] sha256 says {file.sha256}. {MEND}")


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def model_view(name: str, model: LockedModel, context_tokens: int) -> ModelView:
    """What the router is told of a model that runs with this context."""
    return ModelView(name, context_tokens, model.capabilities, None if model.twin is None else _twin_view(model.twin))


def _twin_view(twin: LockedTwin) -> Twin:
    return Twin(
        deployment=twin.deployment,
        context_tokens=twin.context_tokens,
        capabilities=twin.capabilities,
        input_usd_per_mtok=twin.input_usd_per_mtok,
        output_usd_per_mtok=twin.output_usd_per_mtok,
        priced_from=twin.priced_from,
    )
