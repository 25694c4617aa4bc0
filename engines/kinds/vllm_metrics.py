"""What vLLM's /metrics page says of its load. Pure: the page's text in, numbers out."""

from __future__ import annotations

import re
from collections.abc import Iterator

from engines.snapshot import Load

SAMPLE = re.compile(r"^vllm:(\w+)(?:\{(.*)\})? ([^\s]+)", re.MULTILINE)
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
# The old name of the KV gauge is read too; a page has one of them.
KV_USED = ("kv_cache_usage_perc", "gpu_cache_usage_perc")
COUNTED = ("num_requests_running", "num_requests_waiting", "prompt_tokens_total", "generation_tokens_total")
PREEMPTIONS = "num_preemptions_total"
CAPACITY = "cache_config_info"
STEPS = re.compile(r"^vllm:iteration_tokens_total_count(?:\{.*\})? ([^\s]+)", re.MULTILINE)
WANTED = (*KV_USED, *COUNTED, PREEMPTIONS, CAPACITY)


class MetricsError(ValueError):
    """The page lacks a number that we rely on: this is not a vLLM that we know."""


def read_load(page: str, age_s: float) -> Load:
    """Sums over the engine cores behind one server; the fullest core gives the KV use. Raises MetricsError."""
    sums: dict[str, float] = {}
    fullest: float | None = None
    capacity_tokens = 0
    for name, labels, value in _samples(page):
        if name in KV_USED:
            fullest = max(fullest or 0.0, value)
        elif name == CAPACITY:
            capacity_tokens += _capacity_tokens(labels)
        else:
            sums[name] = sums.get(name, 0.0) + value
    if missing := [name for name in COUNTED if name not in sums]:
        raise MetricsError(f"vllm:{missing[0]} is not on the engine's /metrics page.")
    if fullest is None or capacity_tokens == 0:
        raise MetricsError("the KV cache's use or capacity is not on the engine's /metrics page.")
    return Load(
        running=int(sums["num_requests_running"]),
        waiting=int(sums["num_requests_waiting"]),
        kv_used_fraction=fullest,
        kv_capacity_tokens=capacity_tokens,
        prompt_tokens_total=int(sums["prompt_tokens_total"]),
        generation_tokens_total=int(sums["generation_tokens_total"]),
        preemptions_total=int(sums.get(PREEMPTIONS, 0)),
        age_s=age_s,
    )


def read_steps(page: str) -> int | None:
    """How many steps with output all engine cores have made (iteration_tokens_total_count); None if it is not told."""
    counts = [float(found[1]) for found in STEPS.finditer(page)]
    return int(sum(counts)) if counts else None


def _samples(page: str) -> Iterator[tuple[str, str, float]]:
    for found in SAMPLE.finditer(page):
        if found[1] in WANTED:
            yield found[1], found[2] or "", float(found[3])


def _capacity_tokens(labels: str) -> int:
    """Blocks times block size is wrong for models with several kinds of cache, so it is only the second choice."""
    found = dict(LABEL.findall(labels))
    tokens, blocks, size = (found.get(key, "") for key in ("kv_cache_size_tokens", "num_gpu_blocks", "block_size"))
    if tokens.isdigit():
        return int(tokens)
    return int(blocks) * int(size) if blocks.isdigit() and size.isdigit() else 0
