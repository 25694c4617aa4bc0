"""What llama.cpp takes beside the model: the sum counts on it, and the server is told to keep to it."""

from __future__ import annotations

MIB = 2**20
# llama.cpp computes so many tokens at once (its n_ubatch by default) and keeps fp32 numbers for them: the logits, and
# the widest of a layer. For an 8B Llama 3.1 it logs a compute buffer of 258 MiB, of which 250 are logits.
BATCH_TOKENS = 512
FP32_BYTES = 4
# CUDA context and the kernels of ggml.
CONTEXT_BYTES = 400 * MIB
# What llama.cpp leaves free on each device when it fits a model there (LLAMA_ARG_FIT_TARGET; its own default is 1024).
# It is part of the sum, because a model that the plan fits to the byte would else be put on the CPU in part.
FIT_MARGIN_MIB = 256
