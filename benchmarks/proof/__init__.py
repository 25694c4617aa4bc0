"""Proves the harness: beside other generators, against servers whose truth is known, and at its own limits.

Each is a command: beside_vllm and beside_guidellm (the same requests at the same moments, figures compared), cpu (of
three generators), ceiling (how much one core can drive), known (figures against a server with a clock), knee (a search
against trying every load). The arithmetic of memory has its own: kv_specs (KV bytes, blocks and tokens against vLLM's
own code, asked by kv_specs_vllm, over the public models of kv_configs), kv_capacity (against what real engines log),
weights (bytes on each GPU against the parameters of vLLM's classes, asked by kv_specs_vllm with weights_vllm, over
weights_configs; weights_stored makes quantized checkpoints of plain ones), footprint (KV tokens against runs recorded
on GPUs).
Parts: work (the requests, as a trace that all three read), generators (their command
lines), process, server (stand-ins), compared (pure: figures of several turns), deepened (a slower model).
"""
