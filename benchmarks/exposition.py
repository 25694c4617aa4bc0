"""The fake engine's `/metrics` page: vLLM's names and labels with our numbers.

Pure: values in, Prometheus text out. Names and semantics follow vLLM 0.32 and 0.33. It must not know the engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.batch import Limits

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BLOCK_TOKENS = 16


@dataclass(frozen=True, slots=True)
class Gauges:
    """What vLLM sets only at the end of an engine step, and what therefore freezes when the engine hangs."""

    running: int = 0
    waiting: int = 0
    kv_used_fraction: float = 0.0


@dataclass(frozen=True, slots=True)
class Totals:
    """Counters since the process started; those of the prefix cache are tokens."""

    prompt_tokens: int
    generation_tokens: int
    preemptions: int
    steps: int
    step_tokens: int
    finished: Mapping[str, int]
    prefix_queries: int = 0
    prefix_hits: int = 0


def exposition(model: str, limits: Limits, gauges: Gauges, totals: Totals) -> str:
    """The whole page."""
    labels = f'engine="0",model_name="{model}"'
    lines = [
        *_one("num_requests_running", "gauge", labels, gauges.running),
        *_one("num_requests_waiting", "gauge", labels, gauges.waiting),
        "# TYPE vllm:num_requests_waiting_by_reason gauge",
        f'vllm:num_requests_waiting_by_reason{{{labels},reason="capacity"}} {float(gauges.waiting)}',
        f'vllm:num_requests_waiting_by_reason{{{labels},reason="deferred"}} 0.0',
        *_one("kv_cache_usage_perc", "gauge", labels, gauges.kv_used_fraction),
        *_one("num_preemptions_total", "counter", labels, totals.preemptions),
        *_one("prompt_tokens_total", "counter", labels, totals.prompt_tokens),
        *_one("generation_tokens_total", "counter", labels, totals.generation_tokens),
        *_one("prefix_cache_queries_total", "counter", labels, totals.prefix_queries),
        *_one("prefix_cache_hits_total", "counter", labels, totals.prefix_hits),
        "# TYPE vllm:request_success_total counter",
        *(
            f'vllm:request_success_total{{{labels},finished_reason="{why}"}} {float(count)}'
            for why, count in totals.finished.items()
        ),
        "# TYPE vllm:iteration_tokens_total histogram",
        f'vllm:iteration_tokens_total_bucket{{{labels},le="+Inf"}} {float(totals.steps)}',
        f"vllm:iteration_tokens_total_count{{{labels}}} {float(totals.steps)}",
        f"vllm:iteration_tokens_total_sum{{{labels}}} {float(totals.step_tokens)}",
        *_one("cache_config_info", "gauge", _cache_labels(limits), 1),
    ]
    return "\n".join(lines) + "\n"


def _one(name: str, kind: str, labels: str, value: float) -> tuple[str, str]:
    return f"# TYPE vllm:{name} {kind}", f"vllm:{name}{{{labels}}} {float(value)}"


def _cache_labels(limits: Limits) -> str:
    facts = {
        "engine": "0",
        "block_size": BLOCK_TOKENS,
        "num_gpu_blocks": limits.kv_tokens // BLOCK_TOKENS,
        "kv_cache_size_tokens": limits.kv_tokens,
        "kv_cache_max_concurrency": limits.kv_tokens / limits.context_tokens,
        "cache_dtype": "auto",
        "enable_prefix_caching": limits.prefix_cache_tokens > 0,
    }
    return ",".join(f'{name}="{value}"' for name, value in facts.items())
