"""One wanted model: its locked facts, the promise, and what the user fixed. None leaves it to the plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from engines.memory.measured import Key, Measured
from engines.memory.shape import AUTO, Shape
from engines.models.lock import LockedModel


@dataclass(frozen=True, slots=True)
class Want:
    """`context_tokens` x `concurrent_requests` is the promise, on each of `replicas` engines; `kv_tokens` says the
    second as tokens of KV cache instead. `ttft_target_s` is that of the tier whose load it mainly carries. What need
    not be kept (`keep`) may take turns with others."""

    name: str
    model: LockedModel
    context_tokens: int
    engine: str = "vllm"
    concurrent_requests: int | None = None
    kv_tokens: int | None = None
    replicas: int = 1
    ttft_target_s: float | None = None
    tensor_parallel: int | None = None
    quantization: str | None = None
    kv_cache_dtype: str = AUTO
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    enforce_eager: bool = False
    kv_blocks: int | None = None
    cpu_kv_cache_gib: int = 1
    extra_args: tuple[str, ...] = ()
    keep: bool = True

    def shape(self, tensor_parallel: int, max_num_batched_tokens: int, max_num_seqs: int) -> Shape:
        """The want cut so, with such batches, and all else as it says."""
        return Shape(
            tensor_parallel=tensor_parallel,
            context_tokens=self.context_tokens,
            max_num_seqs=max_num_seqs,
            max_num_batched_tokens=max_num_batched_tokens,
            quantization=self.quantization,
            kv_cache_dtype=self.kv_cache_dtype,
            enforce_eager=self.enforce_eager,
        )


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for the whole plan. `reserve_bytes` stays free on every GPU; `foreign_bytes` is what processes that
    are not ours hold, by UUID; `engine` is the engine's name and version, the first half of a measurement's key."""

    engine: str
    reserve_bytes: int = 0
    foreign_bytes: Mapping[str, int] = field(default_factory=dict)
    measured: Mapping[Key, Measured] = field(default_factory=dict)
