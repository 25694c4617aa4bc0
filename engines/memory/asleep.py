"""What an engine still holds of a GPU while it sleeps with its process alive. Pure."""

from __future__ import annotations

# Buffers of the model runner and workspaces of cuBLAS: outside of the pool that vLLM puts to sleep, and of no size that
# it tells. They are far smaller than a CUDA context.
UNPOOLED_BYTES = 256 * 2**20


def sleeping_bytes(outside_bytes: int, graph_bytes: int) -> int:
    """vLLM at sleep level 1, on each of its GPUs: CUDA context and NCCL, CUDA graphs, and what is in no pool. The
    weights go to host memory, the KV cache is dropped, and what the allocator keeps for activations is given back (vLLM
    0.32, v1/worker/gpu_worker.py, sleep, and device_allocator/cumem.py, sleep)."""
    return outside_bytes + graph_bytes + UNPOOLED_BYTES
