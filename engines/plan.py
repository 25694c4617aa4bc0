"""What will run where: which engine serves which model on which GPUs, with the arithmetic that led there.

Pure: wanted models, locked facts and the hardware in, a Plan out. The Plan travels to the supervisor as JSON, so it
holds nothing but values. Knows no vLLM flag.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from engines.snapshot import GpuView, ModelView, Twin

GIB = 2**30
# vLLM's own default is the ceiling; contexts and cuBLAS take memory before vLLM starts counting, hence the GiB kept.
MOST_UTILIZATION = 0.92
KEPT_BYTES = GIB
CPU = "cpu"


class PlanError(ValueError):
    """The hardware cannot hold what is wanted. The message says what is missing and what to change."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """The environment an engine runs in: the first words of its command line."""

    name: str
    version: str
    command: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """One wanted model with its locked facts. `quantization` is None where the weights are plain."""

    name: str
    folder: str
    dtype: str
    weights_bytes: int
    kv_bytes_per_token: int
    locked_context_tokens: int
    context_tokens: int
    max_num_seqs: int
    tensor_parallel: int
    cpu_kv_cache_gib: int
    kv_blocks: int | None
    quantization: str | None
    extra_args: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EnginePlan:
    """One engine: a model, a runtime and its devices. Exactly one of `gpu_uuids` and `cores` is not empty."""

    name: str
    kind: str
    runtime: Runtime
    model: Facts
    device: str
    gpu_uuids: tuple[str, ...]
    gpu_memory_utilization: float | None
    cores: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RouterPlan:
    """How the router process is started, where it will answer, and which variable holds the keys it wants, if any.

    `drain_s` is the time that it takes to finish what runs after TERM.
    """

    command: tuple[str, ...]
    host: str
    port: int
    keys_env: str | None = None
    drain_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a supervisor is told. `fingerprint` changes whenever anything that was asked for changes."""

    fingerprint: str
    profile: str
    engines: tuple[EnginePlan, ...]
    models: tuple[ModelView, ...]
    router: RouterPlan

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)


def from_json(text: str) -> Plan:
    """Read what `Plan.to_json` wrote. Raises PlanError for anything else."""
    try:
        raw = json.loads(text)
        return Plan(
            fingerprint=raw["fingerprint"],
            profile=raw["profile"],
            engines=tuple(_engine(each) for each in raw["engines"]),
            models=tuple(_model(each) for each in raw["models"]),
            router=RouterPlan(**{**raw["router"], "command": tuple(raw["router"]["command"])}),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise PlanError(f"not a plan of this version: {error!r}. Run `spillway down`, then `spillway up`.") from error


def _engine(raw: Mapping[str, Any]) -> EnginePlan:
    runtime = Runtime(**{**raw["runtime"], "command": tuple(raw["runtime"]["command"])})
    model = Facts(**{**raw["model"], "extra_args": tuple(raw["model"]["extra_args"])})
    tuples = {"gpu_uuids": tuple(raw["gpu_uuids"]), "cores": tuple(raw["cores"])}
    return EnginePlan(**{**raw, "runtime": runtime, "model": model, **tuples})


def _model(raw: Mapping[str, Any]) -> ModelView:
    twin = raw["twin"]
    read = None if twin is None else Twin(**{**twin, "capabilities": tuple(twin["capabilities"])})
    return ModelView(**{**raw, "capabilities": tuple(raw["capabilities"]), "twin": read})


def place(models: Sequence[Facts], runtime: Runtime, gpus: Sequence[GpuView], cores: Sequence[int]) -> list[EnginePlan]:
    """One engine per model; on GPUs where there are any, each GPU for one engine, the emptiest first.

    Raises PlanError when a context is longer than the model's or the devices do not suffice.
    """
    for model in models:
        if model.context_tokens > model.locked_context_tokens:
            raise PlanError(
                f"[models.{model.name}] context_tokens = {model.context_tokens} is more than the "
                f"{model.locked_context_tokens} tokens that the model was made for. Lower it."
            )
    return _place_on_gpus(models, runtime, gpus) if gpus else [_place_on_cpu(each, runtime, cores) for each in models]


def require_memory(models: Sequence[Facts], total_bytes: int) -> None:
    """Raises PlanError when CPU engines would take more memory than the whole machine has."""
    wanted = {
        model.name: model.cpu_kv_cache_gib * GIB * model.tensor_parallel + model.weights_bytes for model in models
    }
    if sum(wanted.values()) > total_bytes:
        parts = " + ".join(f"[models.{name}] {size / GIB:.1f} GiB" for name, size in wanted.items())
        raise PlanError(
            f"{parts} for KV cache and weights is more than the {total_bytes / GIB:.1f} GiB of this machine. "
            "Lower cpu_kv_cache_gib."
        )


def _place_on_cpu(model: Facts, runtime: Runtime, cores: Sequence[int]) -> EnginePlan:
    if model.tensor_parallel > len(cores):
        raise PlanError(
            f"[models.{model.name}] tensor_parallel = {model.tensor_parallel} needs as many processor cores and "
            f"there are {len(cores)}. Lower it."
        )
    if model.quantization is not None:
        raise PlanError(
            f"[models.{model.name}] quantization = {model.quantization!r} needs a GPU and none is used here. Remove it."
        )
    return EnginePlan(model.name, "vllm", runtime, model, CPU, (), None, tuple(cores))


def _place_on_gpus(models: Sequence[Facts], runtime: Runtime, gpus: Sequence[GpuView]) -> list[EnginePlan]:
    free = sorted(gpus, key=lambda gpu: -gpu.free_bytes)
    plans = []
    for model in models:
        taken, free = free[: model.tensor_parallel], free[model.tensor_parallel :]
        if len(taken) < model.tensor_parallel:
            raise PlanError(
                f"[models.{model.name}] needs {model.tensor_parallel} GPUs of its own and {len(taken)} of "
                f"{len(gpus)} are left. Lower tensor_parallel or want fewer models."
            )
        plans.append(_gpu_plan(model, runtime, taken))
    return plans


def _gpu_plan(model: Facts, runtime: Runtime, gpus: Sequence[GpuView]) -> EnginePlan:
    utilization = min(utilization_of(gpu) for gpu in gpus)
    share_bytes = model.weights_bytes / len(gpus)
    for gpu in gpus:
        if gpu.total_bytes * utilization < share_bytes:
            raise PlanError(
                f"[models.{model.name}] needs {share_bytes / GIB:.1f} GiB for weights on each GPU and {gpu.name} "
                f"{gpu.uuid} has {gpu.free_bytes / GIB:.1f} GiB free. Free the GPU or raise tensor_parallel."
            )
    uuids = tuple(gpu.uuid for gpu in gpus)
    return EnginePlan(model.name, "vllm", runtime, model, ",".join(uuids), uuids, utilization, ())


def utilization_of(gpu: GpuView) -> float:
    """The share of a GPU's memory that vLLM may use: what is free less a GiB, rounded down to hundredths."""
    hundredths = math.floor(100 * (gpu.free_bytes - KEPT_BYTES) / gpu.total_bytes)
    return min(MOST_UTILIZATION, max(0, hundredths) / 100)
