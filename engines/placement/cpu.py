"""Wanted models on processor cores, where there is no GPU: for trying a stack out. Pure.

Each tensor-parallel worker is a process with its own KV cache of `cpu_kv_cache_gib` (VLLM_CPU_KVCACHE_SPACE), or of
`kv_blocks` blocks. Ollama's is that of its slots. All engines share all cores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from engines.memory import ollama
from engines.memory.footprint import Footprint
from engines.memory.kv import KvLayout, kv_layout
from engines.memory.shape import Shape
from engines.memory.weights import gpu_bytes
from engines.placement.bounds import GIB, cpu_batch, queue_limit, requests
from engines.placement.place import Placed, Placement, Unplaced, engine_names
from engines.placement.shapes import OLLAMA, promised_bytes
from engines.placement.spots import ollama_fault
from engines.placement.want import Rules, Want


def place_on_cpu(wants: Sequence[Want], cores: Sequence[int], host_bytes: int, rules: Rules) -> Placement:
    """Every replica of every want in the order given, while `host_bytes` (those of the whole machine) last.

    `Placed.kv_bytes` is the pool of each worker. What has no place says why in `needs`, and in `ways` what would help.
    """
    placed: list[Placed] = []
    unplaced: list[Unplaced] = []
    left_bytes = host_bytes - rules.reserve_bytes
    for want in wants:
        shape = _shape(want)
        fault = _fault(want, shape, len(cores))
        for name in engine_names(want):
            engine = _placed(name, want, shape)
            needed_bytes = engine.gpu_bytes * shape.tensor_parallel
            refusal = fault or _too_large(want, engine, needed_bytes, left_bytes, host_bytes)
            if refusal is None:
                placed.append(engine)
                left_bytes -= needed_bytes
            else:
                unplaced.append(Unplaced(name, want.name, *refusal))
    return Placement(tuple(placed), tuple(unplaced))


Refusal = tuple[str, tuple[str, ...]]


def _placed(name: str, want: Want, shape: Shape) -> Placed:
    footprint = _footprint(want, shape)
    return Placed(
        name=name,
        want=want.name,
        gpu_uuids=(),
        shape=shape,
        footprint=footprint,
        kv_bytes=_pool_bytes(want, footprint.kv),
        utilization=None,
        max_num_queued_reqs=queue_limit(shape.max_num_seqs),
    )


def _shape(want: Want) -> Shape:
    if want.engine == OLLAMA:
        return want.shape(1, want.max_num_batched_tokens or want.context_tokens, requests(want))
    return want.shape(want.tensor_parallel or 1, *cpu_batch(want))


def _footprint(want: Want, shape: Shape) -> Footprint:
    """Of each worker. Ollama's is what it would take of a GPU, less what the driver takes there."""
    if want.engine == OLLAMA:
        taken = ollama.footprint(want.model, want.context_tokens, requests(want))
        return replace(taken, outside_bytes=0)
    weights_bytes = gpu_bytes(want.model.weights, want.model.architecture, shape)
    return Footprint(weights_bytes, 0, 0, 0, kv_layout(want.model.architecture, shape, is_cpu=True))


def _pool_bytes(want: Want, kv: KvLayout) -> int:
    if want.engine == OLLAMA:
        return kv.bytes_for(requests(want))
    return want.cpu_kv_cache_gib * GIB if want.kv_blocks is None else want.kv_blocks * kv.block_bytes


def _fault(want: Want, shape: Shape, cores: int) -> Refusal | None:
    """What no amount of memory could change."""
    most = want.model.architecture.context_tokens
    if want.context_tokens > most:
        what = f"context_tokens = {want.context_tokens} is more than the {most} tokens that the model was made for"
        return what, (f"context_tokens = {most}",)
    if want.engine == OLLAMA:
        sentence = ollama_fault(want)
        return None if sentence is None else (sentence.rstrip("."), ("1 request at once",))
    if shape.tensor_parallel > cores:
        what = f"tensor_parallel = {shape.tensor_parallel} needs as many processor cores and there are {cores}"
        return what, (f"tensor_parallel = {cores}",)
    quantization = want.quantization or want.model.quantization
    if quantization != "none":
        return f"quantization = {quantization!r} needs a GPU and none is used here", ("a checkpoint without it",)
    return None


def _too_large(want: Want, engine: Placed, needed_bytes: int, left_bytes: int, host_bytes: int) -> Refusal | None:
    """What the pool or the machine is too small for."""
    kv = engine.footprint.kv
    least_bytes = promised_bytes(want, kv) if want.kv_blocks is None else kv.bytes_for(requests(want))
    if engine.kv_bytes < least_bytes and want.kv_blocks is not None:
        blocks = least_bytes // kv.block_bytes
        return f"kv_blocks = {want.kv_blocks} is too few for what is promised", (f"kv_blocks = {blocks}",)
    if engine.kv_bytes < least_bytes:
        gib = -(-least_bytes // GIB)
        what = (
            f"cpu_kv_cache_gib = {want.cpu_kv_cache_gib} is too little for the promise of {least_bytes / GIB:.1f} GiB"
        )
        return what, (f"cpu_kv_cache_gib = {gib}",)
    if needed_bytes > left_bytes:
        workers = engine.shape.tensor_parallel
        rest_bytes = engine.footprint.activation_bytes * workers
        return (
            f"needs {needed_bytes / GIB:.1f} GiB = weights {engine.footprint.weights_bytes * workers / GIB:.1f} + "
            f"KV {engine.kv_bytes * workers / GIB:.1f}"
            + (f" + overhead {rest_bytes / GIB:.1f}" if rest_bytes else "")
            + f"; {max(0, left_bytes) / GIB:.1f} GiB are left of the "
            f"{host_bytes / GIB:.1f} GiB of this machine",
            ("a lower cpu_kv_cache_gib",) if _has_spare_pool(want) else (),
        )
    return None


def _has_spare_pool(want: Want) -> bool:
    return want.engine != OLLAMA and want.cpu_kv_cache_gib > 1 and want.kv_blocks is None
