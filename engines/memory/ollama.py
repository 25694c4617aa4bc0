"""What an Ollama model takes on each GPU, by Ollama's own rules. Pure.

Ollama 0.33: llm/llama_server.go, PredictServerVRAM (what it predicts before loading) and startLlamaServer (the context
that it asks of llama.cpp is that of one request x parallel); server/sched.go, selectLlamaServerPlacement (one GPU or
all) and applyAutomaticGenerationBatch (larger batches only where free memory is left for their buffers).
"""

from __future__ import annotations

from engines.memory.footprint import Footprint
from engines.memory.kv import KvLayout
from engines.memory.llama_cpp import BATCH_TOKENS, CONTEXT_BYTES, FIT_MARGIN_MIB, FP32_BYTES, MIB
from engines.models.architecture import Architecture
from engines.models.lock import LockedModel

# The types of keys and values that OLLAMA_KV_CACHE_TYPE may name (docs/faq.mdx).
KV_CACHE_TYPES = ("f16", "q8_0", "q4_0")
# Ollama's prediction takes keys and values as f16, whatever OLLAMA_KV_CACHE_TYPE says.
F16_BYTES = 2
# A model goes onto one GPU if the prediction is at most this share of what is free there.
ONE_GPU_SHARE = 0.8
# These families are served one request at a time, whatever OLLAMA_NUM_PARALLEL says (server/sched.go, load).
ONE_AT_A_TIME = (
    *("mllama", "qwen3vl", "qwen3vlmoe", "qwen35", "qwen35moe", "qwen3next"),
    *("lfm2", "lfm2moe", "nemotron_h", "nemotron_h_moe", "nemotron_h_omni"),
)


def slots_of(architecture: Architecture, parallel: int) -> int:
    """How many requests Ollama serves at once where `parallel` are wanted."""
    return 1 if architecture.name in ONE_AT_A_TIME else parallel


def kv_bytes_per_token(architecture: Architecture) -> int:
    """Keys and values of one token as Ollama predicts them: `2 x layers x min_kv_heads x (embed / heads) x 2`."""
    heads_of = [group.kv_heads for group in architecture.attention if group.kv_heads]
    head_size = architecture.hidden_size // architecture.heads
    return 2 * architecture.layers * min(heads_of, default=architecture.kv_heads) * head_size * F16_BYTES


def predicted_bytes(model: LockedModel, context_tokens: int, parallel: int) -> int:
    """Ollama's own prediction: the file, and keys and values for `num_ctx x parallel` tokens. It ignores KV
    quantization, sliding windows and compute buffers."""
    return model.stored_bytes() + kv_bytes_per_token(model.architecture) * context_tokens * parallel


def compute_bytes(architecture: Architecture) -> int:
    """llama.cpp's compute buffer, which Ollama's prediction ignores."""
    inner = architecture.intermediate_size or 4 * architecture.hidden_size
    return BATCH_TOKENS * (architecture.vocabulary + max(inner, 2 * architecture.hidden_size)) * FP32_BYTES


def footprint(model: LockedModel, context_tokens: int, parallel: int, gpus: int = 1) -> Footprint:
    """The same sum as a vLLM engine has, on each of `gpus` over which llama.cpp spreads the layers. One slot of the
    full context is a request, and `parallel` of them are allocated at the start."""
    per_token = -(-kv_bytes_per_token(model.architecture) // gpus)
    return Footprint(
        weights_bytes=-(-model.stored_bytes() // gpus),
        activation_bytes=compute_bytes(model.architecture),
        graph_bytes=0,
        outside_bytes=CONTEXT_BYTES + FIT_MARGIN_MIB * MIB,
        kv=KvLayout(block_tokens=1, block_bytes=per_token, blocks_per_request=context_tokens, groups=1),
    )
