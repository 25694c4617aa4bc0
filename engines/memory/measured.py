"""What engines logged on good starts: kept by what decides it, and it replaces the estimate from then on.

The file is JSON, written whole by its one writer, the supervisor. Plans only read it.
"""

from __future__ import annotations

import json
import logging
import os
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from engines.memory.shape import Shape

LOG = logging.getLogger(__name__)
SCHEMA: Literal[1] = 1

# The flags of a Shape, as they stand in a key.
CONTEXT, SEQUENCES, TOKENS = "--max-model-len", "--max-num-seqs", "--max-num-batched-tokens"
EAGER, QUANTIZATION, KV_DTYPE = "--enforce-eager", "--quantization", "--kv-cache-dtype"
KV_ALONE = frozenset([CONTEXT, KV_DTYPE])
BOUNDS = KV_ALONE | {SEQUENCES, TOKENS, EAGER}
# Arguments that change nothing in memory; each has a value.
IDLE_ARGUMENTS = ("--served-model-name", "--host", "--port", "--uvicorn-log-level", "--api-key", "--chat-template")


@dataclass(frozen=True, slots=True)
class Key:
    """What decides the memory of an engine. `flags` is the command line without names, ports and the memory itself."""

    engine: str
    revision: str
    flags: str
    gpu: str
    tensor_parallel: int


Bytes = Annotated[int, msgspec.Meta(ge=0)]
Seconds = Annotated[float, msgspec.Meta(ge=0)]


@dataclass(frozen=True, slots=True)
class Measured:
    """What one good start told, bytes on the fullest GPU. None is a term that was not told."""

    weights_bytes: Bytes | None = None
    activation_bytes: Bytes | None = None
    graph_bytes: Bytes | None = None
    outside_bytes: Bytes | None = None
    kv_bytes: Bytes | None = None
    kv_tokens: Bytes | None = None
    load_s: Seconds | None = None
    start_s: Seconds | None = None


def key_of(engine: str, revision: str, shape: Shape, gpu_name: str, extra_args: Sequence[str] = ()) -> Key:
    """The key of an engine. `engine` is its name and version; `revision` is what identifies the weights."""
    flags = {
        CONTEXT: shape.context_tokens,
        SEQUENCES: shape.max_num_seqs,
        TOKENS: shape.max_num_batched_tokens,
        KV_DTYPE: shape.kv_cache_dtype,
        QUANTIZATION: shape.quantization or "none",
        EAGER: shape.enforce_eager,
    }
    words = [f"{flag}={value}" for flag, value in flags.items()]
    text = shlex.join([*words, *_deciding(extra_args)])
    return Key(engine, revision, text, gpu_name, shape.tensor_parallel)


def find(measured: Mapping[Key, Measured], key: Key) -> Measured:
    """What is known for this key. A term that was not told under it is taken from the keys that decide it equally;
    where these differ the largest counts. Nothing known is a Measured of None."""
    exact = measured.get(key, Measured())
    return Measured(**{term: _term(measured, key, exact, term) for term in SAME})


def read(path: Path) -> dict[Key, Measured]:
    """All that was measured; empty if there is no file yet. A plan is possible without it, so a damaged file is no
    error: it is named in the log and set aside under `.damaged`."""
    try:
        rows = msgspec.json.decode(path.read_bytes(), type=_File).measured
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        LOG.warning("%s cannot be used, so estimates count again (%s). %s", path, _first_line(error), _set_aside(path))
        return {}
    return {row.key: row.measured for row in rows}


def write(path: Path, measured: Mapping[Key, Measured]) -> None:
    """Replace the file at once: a reader sees the old or the new one, whole. Raises OSError."""
    rows = [{"key": asdict(key), "measured": _told(each)} for key, each in measured.items()]
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(json.dumps({"schema": SCHEMA, "measured": rows}, indent=1) + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


@dataclass(frozen=True, slots=True)
class _Row:
    key: Key
    measured: Measured


@dataclass(frozen=True, slots=True)
class _File:
    schema: Literal[1]
    measured: tuple[_Row, ...]


def _set_aside(path: Path) -> str:
    aside = path.with_name(path.name + ".damaged")
    try:
        os.replace(path, aside)
    except OSError as error:
        return f"It could not be set aside either: {error}."
    return f"It is now {aside}."


def _told(measured: Measured) -> dict[str, Any]:
    return {term: value for term, value in asdict(measured).items() if value is not None}


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _deciding(arguments: Sequence[str]) -> Iterable[str]:
    """The arguments without those that change nothing in memory."""
    kept: list[str] = []
    skip_value = False
    for argument in arguments:
        name, equals, _ = argument.partition("=")
        if skip_value and not argument.startswith("--"):
            skip_value = False
        elif name in IDLE_ARGUMENTS:
            skip_value = not equals
        else:
            skip_value = False
            kept.append(argument)
    return kept


@lru_cache(maxsize=4096)
def _without(flags: str, left_out: frozenset[str]) -> tuple[str, ...]:
    """The words of the command line but for these flags."""
    return tuple(word for word in shlex.split(flags) if word.partition("=")[0] not in left_out)


def _alike(one: Key, other: Key, left_out: frozenset[str]) -> bool:
    """Whether two engines run the same files under flags that differ in nothing else. The cheapest test comes first,
    because a plan asks for every shape that it weighs."""
    if one.revision != other.revision or one.tensor_parallel != other.tensor_parallel or one.engine != other.engine:
        return False
    return _without(one.flags, left_out) == _without(other.flags, left_out)


def _same_loading(one: Key, other: Key) -> bool:
    """Weights and how long they take. On another card other kernels may pad them (MXFP4 experts by a tenth)."""
    return one.gpu == other.gpu and _alike(one, other, BOUNDS)


def _same_working(one: Key, other: Key) -> bool:
    """Activations and graphs: the context only moves tables of a few MiB, and the KV dtype nothing that counts."""
    return one.gpu == other.gpu and _alike(one, other, KV_ALONE)


def _same_outside(one: Key, other: Key) -> bool:
    """CUDA context and NCCL are there before the model is."""
    here = one.gpu == other.gpu and one.tensor_parallel == other.tensor_parallel
    return here and one.engine == other.engine


def _same(one: Key, other: Key) -> bool:
    return one == other


# When a term of one start is that of another.
SAME: Mapping[str, Callable[[Key, Key], bool]] = {
    "weights_bytes": _same_loading,
    "activation_bytes": _same_working,
    "graph_bytes": _same_working,
    "outside_bytes": _same_outside,
    "kv_bytes": _same,
    "kv_tokens": _same,
    "load_s": _same_loading,
    "start_s": _same_working,
}


def _term(measured: Mapping[Key, Measured], key: Key, exact: Measured, term: str) -> Any:
    told = getattr(exact, term)
    if told is not None:
        return told
    same = SAME[term]
    values = [getattr(each, term) for other, each in measured.items() if same(key, other)]
    return max((value for value in values if value is not None), default=None)
