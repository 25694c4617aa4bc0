"""From the models wanted in stack.toml to models.lock: what can be known is resolved anew, and what cannot be asked
now is kept as it was locked. Every model for which that is so has a sentence.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from engines.config import Wanted, WantedModel
from engines.models import hub, ollama
from engines.models.checkpoint import INDEX, Checkpoint, CheckpointError, Say, read_checkpoint
from engines.models.folder import Folder
from engines.models.gguf import GgufError
from engines.models.hf_config import UnknownArchitectureError
from engines.models.lock import SCHEMA, Lock, LockedModel, LockedTwin
from engines.models.locked import ENGINES
from engines.models.prices import PriceError, Prices
from engines.models.weights import HeaderError

NO_LICENCE = "unknown"
# Of what comes with the code: as pyproject.toml says it.
OWN_LICENCE = "Apache-2.0"
EXAMPLE = "hf:owner/name"
# Why a model cannot be resolved. Each says it in a sentence.
UNRESOLVED = (
    CheckpointError,
    UnknownArchitectureError,
    HeaderError,
    hub.HubError,
    ollama.RegistryError,
    GgufError,
    OSError,
)


@dataclass(frozen=True, slots=True)
class Doors:
    """What resolving needs from outside. `runtimes`: versions by name, as this checkout installs them. `clouds`: the
    tables [clouds.*] of stack.toml as they stand there. `say` hears what is being done now."""

    runtimes: Mapping[str, str]
    prices: Prices
    clouds: Mapping[str, Mapping[str, Any]]
    say: Say


@dataclass(frozen=True, slots=True)
class Resolved:
    """The new lock, and a sentence for everything that could not be resolved or is not as it should be."""

    lock: Lock
    problems: tuple[str, ...]


def resolve(wanted: Wanted, old: Lock | None, doors: Doors) -> Resolved:
    """Models that are locked but not wanted stay as they are: several stack.toml may share one lock."""
    before = {} if old is None else old.models
    models, problems = dict(before), []
    for name, model in wanted.models.items():
        at = f"[models.{name}]"
        locked, notes = _model(name, model, before.get(name), _prefixed(doors, name))
        problems += [f"{at} {note}" for note in notes]
        if locked is not None:
            twin, fault = _twin(model, locked.twin, wanted, doors)
            models[name] = replace(locked, twin=twin)
            problems += [f"{at} {fault}"] if fault else []
    ordered = {name: models[name] for name in sorted(models)}
    return Resolved(Lock(SCHEMA, dict(doors.runtimes), ordered), tuple(problems))


def unlocked(wanted: Wanted, lock: Lock) -> tuple[str, ...]:
    """What stack.toml wants and the lock lacks, a sentence each: such a lock is older than stack.toml. Looks at nothing
    but the two values."""
    faults = {name: _fault(name, model, wanted, lock) for name, model in wanted.models.items()}
    return tuple(f"[models.{name}] {fault}" for name, fault in faults.items() if fault is not None)


def unwanted(wanted: Wanted, lock: Lock) -> tuple[str, ...]:
    """The names of models that the lock has and stack.toml does not want."""
    return tuple(name for name in lock.models if name not in wanted.models)


def _fault(name: str, model: WantedModel, wanted: Wanted, lock: Lock) -> str | None:
    locked = lock.models.get(name)
    if locked is None:
        # Without a source of its own a table means a model that is locked already.
        near = [] if model.source else difflib.get_close_matches(name, lock.models, n=1)
        return f"is not in models.lock{f'; did you mean [models.{near[0]}]?' if near else '.'}"
    if model.source is not None and (model.source != _source_of(locked)):
        return f"has source = {model.source!r}; models.lock has {_source_of(locked)!r}."
    if model.twin is None:
        return None
    if locked.twin is None or locked.twin.deployment != model.twin:
        return f"has twin = {model.twin!r}; models.lock has {locked.twin and locked.twin.deployment!r}."
    string = wanted.clouds[model.twin]
    if locked.twin.model != string:
        return f"has the twin {model.twin}, which is {string!r}; models.lock has {locked.twin.model!r}."
    return None


def _source_of(locked: LockedModel) -> str:
    """The source as it is written in stack.toml."""
    return f"{locked.source}@{locked.branch}" if locked.branch else locked.source


def _prefixed(doors: Doors, name: str) -> Doors:
    return replace(doors, say=lambda text: doors.say(f"{name}: {text}"))


def _model(
    name: str, model: WantedModel, old: LockedModel | None, doors: Doors
) -> tuple[LockedModel | None, Sequence[str]]:
    """The resolved model, else the locked one if it is of the same source, and what there is to say."""
    source = model.source or (_source_of(old) if old else None)
    if source is None:
        return None, [f"has no source, and models.lock does not know it. Add source = {EXAMPLE!r}."]
    kind, _, rest = source.partition(":")
    same = old if old is not None and _source_of(old) == source else None
    try:
        checkpoint, revision, branch = READERS[kind](rest, doors.say, same is not None)
        fresh = _locked(source, checkpoint, revision, branch, same)
    except UNRESOLVED as error:
        return old, [f"{_sentence(error)} {_kept(same)}"]
    except ValidationError as error:
        return old, [f"{source} says {_fault_of(error)}, which no model has. {_kept(same)}"]
    return fresh, checkpoint.notes


def _fault_of(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))} = {first['input']!r}"


def _kept(same: LockedModel | None) -> str:
    return "What models.lock has of it stays." if same is not None else "It is not locked."


def _sentence(error: Exception) -> str:
    text = str(error)
    return text if text.endswith((".", "?", "!")) else f"{text}."


def _locked(source: str, checkpoint: Checkpoint, revision: str, branch: str, same: LockedModel | None) -> LockedModel:
    """What people may edit stays: capabilities, and the licence of files that do not say theirs."""
    licence = checkpoint.licence or (same.licence if same else NO_LICENCE)
    return LockedModel(
        source=source.removesuffix(f"@{branch}") if branch else source,
        licence=licence,
        quantization=checkpoint.quantization,
        capabilities=same.capabilities if same else checkpoint.capabilities,
        architecture=checkpoint.architecture,
        weights=checkpoint.weights,
        files=checkpoint.files,
        revision=revision,
        branch=branch,
        chat_template=checkpoint.chat_template,
        twin=same.twin if same else None,
    )


# Of a model: what its files say, its revision, and the branch that stack.toml names. The readers get what follows the
# kind in the source, and whether the lock has that source already.
Found = tuple[Checkpoint, str, str]


def _builtin(name: str, say: Say, is_locked: bool) -> Found:
    checkpoint = read_checkpoint(Folder(ENGINES / name / "model", say), say)
    return replace(checkpoint, licence=OWN_LICENCE), "", ""


def _folder(path: str, say: Say, is_locked: bool) -> Found:
    shelf = Folder(Path(path), say)
    if found := _strays(shelf.paths()):
        raise CheckpointError(f"vLLM would load {found[0]} besides the weights, or instead. Move it elsewhere.")
    return read_checkpoint(shelf, say), "", ""


def _strays(paths: Sequence[str]) -> list[str]:
    """Weights that a checkpoint leaves out and vLLM does not: Mistral's own format, wherever it lies, and adapters
    where no index chooses (vLLM 0.32, default_loader.py, _prepare_weights)."""
    adapters = "adapter_*.safetensors" if INDEX not in paths else ""
    beside = [path for path in paths if "/" not in path and fnmatch(path, adapters)]
    return beside + [path for path in paths if fnmatch(Path(path).name, "consolidated*.safetensors")]


def _hf(name: str, say: Say, is_locked: bool) -> Found:
    """From the hub. Where that gives no answer, a model that is not locked yet is read from the hub's cache."""
    repo, _, branch = name.partition("@")
    say("asking the hub")
    try:
        found = hub.find(repo, branch or None)
        return read_checkpoint(found, say), found.commit, branch
    except hub.HubUnreachableError as unreachable:
        here = None if is_locked else hub.cached(repo, branch or None)
        if here is None:
            raise
        try:
            return read_checkpoint(Folder(here, say), say), here.name, branch
        except CheckpointError as error:
            raise hub.HubUnreachableError(f"{unreachable} Its files in the cache do not do: {error}") from error


def _ollama(name: str, say: Say, is_locked: bool) -> Found:
    digest, checkpoint = ollama.read_model(name, say)
    return checkpoint, digest, ""


READERS: Mapping[str, Callable[[str, Say, bool], Found]] = {
    "builtin": _builtin,
    "folder": _folder,
    "hf": _hf,
    "ollama": _ollama,
}


def _twin(
    model: WantedModel, old: LockedTwin | None, wanted: Wanted, doors: Doors
) -> tuple[LockedTwin | None, str | None]:
    """The twin that stack.toml names; without one that of the lock, which may be written by hand."""
    if model.twin is None:
        return old, None
    string = wanted.clouds[model.twin]
    try:
        return doors.prices.twin(model.twin, string, doors.clouds.get(model.twin, {})), None
    except (PriceError, ValidationError) as error:
        same = old if old is not None and (old.deployment, old.model) == (model.twin, string) else None
        kept = "What models.lock has of the twin stays." if same else "It has no twin yet."
        words = f"[clouds.{model.twin}] has {_fault_of(error)}." if isinstance(error, ValidationError) else str(error)
        return same, f"twin = {model.twin!r}: {words} {kept}"
