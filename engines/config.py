"""The `[models.*]` tables of stack.toml: what the user wants on their own hardware.

Knows the file and its keys; not what a model is (models.lock) nor where it will run (the plan). The router's tables are
read by the router; here only their names are known, so that a misspelt table is an error wherever it is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import field, fields
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, ConfigDict, Field, Strict, TypeAdapter
from pydantic.dataclasses import dataclass

from engines.checks import check_table
from engines.memory.ollama import KV_CACHE_TYPES
from engines.memory.shape import AUTO
from engines.tables import TableError, read_toml, unknown_key

ROUTER_TABLES = (
    "active_preset",
    "endpoint",
    "tiers",
    "tasks",
    "presets",
    "providers",
    "clouds",
    "chains",
    "routes",
    "shadows",
    "splits",
    "jobs",
    "limits",
)
TABLES = ("models", "external", "gpus", *ROUTER_TABLES)
# Flags that Spillway sets itself: given twice, the last one would win without a word.
OWN_FLAGS = (
    "--model",
    "--host",
    "--port",
    "--served-model-name",
    "--max-model-len",
    "--max-num-seqs",
    "--tensor-parallel-size",
    "--num-gpu-blocks-override",
    "--gpu-memory-utilization",
    "--shutdown-timeout",
    "--quantization",
    "--dtype",
    "--api-key",
    "--api-server-count",
    "--max-num-batched-tokens",
    "--kv-cache-dtype",
    "--max-num-queued-reqs",
    "--enforce-eager",
    "--config",
    "--kv-cache-memory-bytes",
    "--device-memory-utilization",
    "--no-enforce-eager",
    "-asc",
    "-q",
    "-tp",
)

# As in models.lock; a Hugging Face repository may carry a branch, tag or commit.
SOURCE = re.compile(
    r"builtin:[a-z][a-z0-9_]*|hf:[\w.-]+/[\w.-]+(@[\w./-]+)?|ollama:[\w./-]+(:[\w.-]+)?|folder:/.+", re.ASCII
)
SOURCES = "'hf:owner/name', 'hf:owner/name@revision', 'ollama:name:tag', 'folder:/path' or 'builtin:smoke'"

# An engine is called after its model, and so are its log and its record beside those of router and supervisor.
NAME = re.compile(r"\w[\w.:@+-]*", re.ASCII)
TAKEN = ("router", "supervisor")


def _source(text: str) -> str:
    if not SOURCE.fullmatch(text):
        raise ValueError(f"must be like {SOURCES}")
    return text


def _url(text: str) -> str:
    """Without a slash or `/v1` at its end."""
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise ValueError("must be a URL such as 'http://127.0.0.1:1234/v1'")
    return text.rstrip("/").removesuffix("/v1")


def _named(models: Mapping[str, str]) -> Mapping[str, str]:
    if not models:
        raise ValueError("must name a model, or be left out for all that the server lists")
    return models


Count = Annotated[int, Strict(), Field(gt=0)]
Truth = Annotated[bool, Strict()]
Seconds = Annotated[float, Field(ge=0, le=86_400)]


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class WantedModel:
    """One `[models.<name>]` table; the name is the key of the mapping that holds it."""

    context_tokens: Count
    # What it can rather than how many bytes it has; the router alone uses it, for tasks that name a class of models.
    size: Literal["small", "medium", "large", "frontier"] | None = None
    source: Annotated[str, AfterValidator(_source)] | None = None
    twin: str | None = None
    engine: Literal["vllm", "ollama"] = "vllm"
    concurrent_requests: Count | None = None
    kv_tokens: Count | None = None
    replicas: Annotated[Count, Field(le=64)] = 1
    tier: str | None = None
    tensor_parallel: Count | None = None
    quantization: str | None = None
    kv_cache_dtype: str = AUTO
    max_num_seqs: Count | None = None
    max_num_batched_tokens: Count | None = None
    enforce_eager: Truth = False
    cpu_kv_cache_gib: Annotated[Count, Field(le=4096)] = 1
    kv_blocks: Annotated[int, Strict(), Field(ge=2)] | None = None
    extra_args: tuple[str, ...] = ()
    # False: it may sleep while others need its GPUs, and comes back when it is asked for.
    keep: Truth = True
    min_residence_s: Seconds = 60.0
    drain_s: Seconds = 60.0


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class WantedExternal:
    """One `[external.<name>]` table: an OpenAI-compatible server that somebody else runs. `models` maps the names that
    applications use to its own; left out, all that it lists under its own names."""

    url: Annotated[str, AfterValidator(_url)]
    key_env: str | None = None
    models: Annotated[Mapping[str, str], AfterValidator(_named)] | None = None
    context_tokens: Count | None = None


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class WantedGpus:
    """The `[gpus]` table. `use`: UUIDs (or their beginnings) of the GPUs that may be used, all if left out.
    `reserve_gib` stays free on each. `declared`: GPUs that are not here, for plans alone (`8xH100-80GB`)."""

    use: tuple[str, ...] = ()
    reserve_gib: Annotated[float, Field(ge=0)] = 0.0
    declared: str | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What one stack.toml says of the engines. `tier_ttft_s` are the promises of the tiers, by name."""

    models: Mapping[str, WantedModel]
    gpus: WantedGpus
    clouds: Mapping[str, str]
    tier_ttft_s: Mapping[str, float]
    externals: Mapping[str, WantedExternal] = field(default_factory=dict)


MODEL = TypeAdapter(WantedModel)
GPUS = TypeAdapter(WantedGpus)
EXTERNAL = TypeAdapter(WantedExternal)
KEYS = tuple(each.name for each in fields(WantedModel))
GPU_KEYS = tuple(each.name for each in fields(WantedGpus))
EXTERNAL_KEYS = tuple(each.name for each in fields(WantedExternal))


def read_config(path: Path) -> Wanted:
    """What is wanted, the models in the file's order. Raises TableError naming file, table and key."""
    raw = read_toml(path)
    for table in raw:
        if table not in TABLES:
            raise TableError(unknown_key(path, "", f"[{table}]", [f"[{name}]" for name in TABLES]))
    tables, elsewhere = raw.get("models", {}), raw.get("external", {})
    if not isinstance(elsewhere, dict):
        raise TableError(f"{path}: [external] must hold tables such as [external.lmstudio].")
    if not isinstance(tables, dict) or not (tables or elsewhere):
        raise TableError(f"{path}: no model is wanted. Add a table such as [models.smoke] with context_tokens = 4096.")
    gpus = check_table(GPUS, raw.get("gpus", {}), path, "gpus", GPU_KEYS)
    models = {name: check_table(MODEL, table, path, f"models.{name}", KEYS) for name, table in tables.items()}
    externals = {
        name: check_table(EXTERNAL, table, path, f"external.{name}", EXTERNAL_KEYS) for name, table in elsewhere.items()
    }
    wanted = Wanted(models, gpus, _clouds(raw), _tiers(raw), externals)
    _refuse_names(models, "models", path)
    _refuse_names(externals, "external", path)
    if both := sorted(models.keys() & externals.keys()):
        raise TableError(f"{path}: [models.{both[0]}] and [external.{both[0]}] have the same name. Rename one.")
    _refuse_twice(models, externals, path)
    for name, model in models.items():
        if fault := _fault(model, wanted):
            raise TableError(f"{path}: [models.{name}] {fault}")
    return wanted


def _refuse_names(names: Iterable[str], table: str, path: Path) -> None:
    for name in names:
        if name in TAKEN:
            raise TableError(f"{path}: [{table}.{name}] is called as a process of Spillway's own. Rename it.")
        if not NAME.fullmatch(name):
            raise TableError(
                f"{path}: [{table}.{name!r}] must be called by letters, digits and any of . : @ + - _ only."
            )


def _refuse_twice(models: Mapping[str, WantedModel], externals: Iterable[str], path: Path) -> None:
    """Replicas are called `name-2`, `name-3` ...: no other model may be, and no server of others."""
    taken = {name: f"[models.{name}]" for name in models} | {name: f"[external.{name}]" for name in externals}
    for name, model in models.items():
        for number in range(2, model.replicas + 1):
            if (replica := f"{name}-{number}") in taken:
                raise TableError(f"{path}: {taken[replica]} has the name of a replica of [models.{name}]. Rename it.")


def _tiers(raw: Mapping[str, Any]) -> dict[str, float]:
    """Promise by tier. The router judges these tables; what is no number here is its to refuse."""
    tiers = raw.get("tiers")
    found = tiers.items() if isinstance(tiers, dict) else ()
    promised = {name: tier.get("ttft_target_s") for name, tier in found if isinstance(tier, dict)}
    return {name: float(ttft_s) for name, ttft_s in promised.items() if isinstance(ttft_s, int | float)}


def _clouds(raw: Mapping[str, Any]) -> dict[str, str]:
    """litellm's model string by deployment."""
    clouds = raw.get("clouds")
    found = clouds.items() if isinstance(clouds, dict) else ()
    models = {name: cloud.get("model") for name, cloud in found if isinstance(cloud, dict)}
    return {name: model for name, model in models.items() if isinstance(model, str)}


def _is_own(argument: str) -> bool:
    """Whether vLLM would read one of OWN_FLAGS: it takes `_` for `-`, and a beginning for the whole (none of its other
    flags is the beginning of one of these)."""
    flag = argument.split("=", 1)[0].replace("_", "-")
    return flag in OWN_FLAGS or (flag.startswith("--") and any(own.startswith(flag) for own in OWN_FLAGS))


def _fault(model: WantedModel, wanted: Wanted) -> str | None:
    """What two keys together, or a key and another table, make impossible."""
    if own := [argument for argument in model.extra_args if _is_own(argument)]:
        return (
            f"extra_args must not hold {own[0].split('=', 1)[0]}: Spillway sets it. "
            "Use the key of this table that stands for it, if there is one."
        )
    if model.concurrent_requests and model.kv_tokens:
        return "has both concurrent_requests and kv_tokens: they promise the same thing. Keep one."
    if model.tier is not None and model.tier not in wanted.tier_ttft_s:
        return f"tier = {model.tier!r} is no tier with a ttft_target_s; there are: {', '.join(wanted.tier_ttft_s)}."
    if model.twin is not None and model.twin not in wanted.clouds:
        return f"twin = {model.twin!r} is no table [clouds.{model.twin}]; there are: {', '.join(wanted.clouds)}."
    return _engine_fault(model)


def _engine_fault(model: WantedModel) -> str | None:
    """What its kind of engine does not take."""
    if model.source and (model.engine == "ollama") != model.source.startswith("ollama:"):
        return f"source = {model.source!r} does not go with engine = {model.engine!r}. Change one of them."
    if model.engine == "ollama" and model.kv_cache_dtype not in (AUTO, *KV_CACHE_TYPES):
        return f"kv_cache_dtype = {model.kv_cache_dtype!r} is none of Ollama's: {', '.join(KV_CACHE_TYPES)}."
    return None
