"""What a /metrics page of vLLM says, as a Load."""

import re

import pytest

from engines.kinds.vllm_metrics import MetricsError, read_load

PAGE = """\
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 2.0
vllm:num_requests_waiting{engine="0",model_name="m"} 1.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="m",reason="capacity"} 9.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.5
vllm:num_preemptions_total{engine="0",model_name="m"} 4.0
vllm:prompt_tokens_total{engine="0",model_name="m"} 1.0e+06
vllm:generation_tokens_total{engine="0",model_name="m"} 7.0
vllm:cache_config_info{block_size="16",engine="0",kv_cache_size_tokens="4096",num_gpu_blocks="300"} 1.0
"""


def test_a_metrics_page_becomes_a_load() -> None:
    load = read_load(PAGE, 0.0)
    assert (load.running, load.waiting, load.kv_used_fraction, load.preemptions_total) == (2, 1, 0.5, 4)
    assert (load.prompt_tokens_total, load.generation_tokens_total, load.kv_capacity_tokens) == (1_000_000, 7, 4096)


def test_engine_cores_are_summed_and_the_fullest_counts() -> None:
    two = PAGE + PAGE.replace('engine="0"', 'engine="1"').replace("} 0.5", "} 0.75")
    load = read_load(two, 0.0)
    assert (load.running, load.kv_used_fraction, load.kv_capacity_tokens) == (4, 0.75, 8192)


def test_older_pages_are_understood() -> None:
    old = PAGE.replace("kv_cache_usage_perc", "gpu_cache_usage_perc").replace('kv_cache_size_tokens="4096",', "")
    assert (read_load(old, 0.0).kv_used_fraction, read_load(old, 0.0).kv_capacity_tokens) == (0.5, 4800)


@pytest.mark.parametrize("name", ["num_requests_running", "kv_cache_usage_perc", "cache_config_info", "prompt_tokens"])
def test_a_page_without_a_number_we_need_is_refused(name: str) -> None:
    page = "\n".join(line for line in PAGE.splitlines() if not re.match(rf"vllm:{name}", line))
    with pytest.raises(MetricsError, match=r"/metrics page"):
        read_load(page, 0.0)
