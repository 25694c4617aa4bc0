"""Bytes: what a model takes on each GPU, before anything starts. Pure, except that `measured` has a file.

shape        how an engine is cut and bounded: all the flags that decide its memory
kv           the KV cache: layout of the pool, tokens in a number of bytes, blocks of a request
kv_groups    how layers are grouped to draw blocks of one size from one pool
kv_pages     bytes that one layer keeps of a token, or of a request's state
weights      bytes of weights on each GPU, by tensor-parallel size and quantization
working      what else is taken: activations, CUDA graphs, CUDA context, NCCL
parallel     which tensor-parallel sizes a model allows, and why not the others
cards        which quantizations and dtypes a GPU's compute capability allows
footprint    the sum of all of these, each term estimated or measured
asleep       what an engine still holds while it sleeps
ollama       the same for an Ollama model, by Ollama's own rules; llama_cpp: what that takes beside the model
measured     what engines logged on good starts, kept by what decides it; replaces the estimate from then on
"""
