"""Engines on processor cores, where there is no GPU."""

from dataclasses import replace
from typing import Any

from engines.placement.cpu import place_on_cpu
from engines.placement.want import Want
from tests.wants import GIB, RULES, architecture, model, want

CORES = (0, 1)
HOST = 64 * GIB


def small(name: str = "smoke", **changes: Any) -> Want:
    return want(name, model=model(0.5, layers=4, attention=architecture().attention), context_tokens=1024, **changes)


def test_an_engine_has_no_gpu_and_the_pool_that_was_asked_for() -> None:
    (engine,) = place_on_cpu([small(cpu_kv_cache_gib=2)], CORES, HOST, RULES).placed
    assert engine.gpu_uuids == ()
    assert engine.utilization is None
    assert engine.kv_bytes == 2 * GIB
    assert engine.shape.max_num_batched_tokens == 2048
    assert engine.shape.max_num_seqs == 64


def test_prompts_are_taken_whole_so_a_batch_holds_the_context() -> None:
    (engine,) = place_on_cpu([want(weights_gib=1.0, context_tokens=4096)], CORES, HOST, RULES).placed
    assert engine.shape.max_num_batched_tokens == 4096


def test_kv_blocks_fix_the_pool() -> None:
    (engine,) = place_on_cpu([small(kv_blocks=13)], CORES, HOST, RULES).placed
    assert engine.kv_bytes == 13 * engine.footprint.kv.block_bytes
    assert engine.footprint.kv.block_tokens == 128


def test_more_workers_than_cores_are_refused() -> None:
    placement = place_on_cpu([small(tensor_parallel=4)], CORES, HOST, RULES)
    assert placement.placed == ()
    assert "as many processor cores and there are 2" in placement.unplaced[0].needs


def test_quantization_needs_a_gpu() -> None:
    (left_out,) = place_on_cpu([small(quantization="fp8")], CORES, HOST, RULES).unplaced
    assert "needs a GPU" in left_out.needs


def test_more_than_the_machine_has_is_refused_with_the_sum() -> None:
    placement = place_on_cpu([small(), small("other", cpu_kv_cache_gib=100)], CORES, HOST, RULES)
    assert [engine.name for engine in placement.placed] == ["smoke"]
    assert "KV 100.0" in placement.unplaced[0].needs
    assert "64.0 GiB of this machine" in placement.unplaced[0].needs


def test_a_pool_too_small_for_the_promise_says_what_would_do() -> None:
    (left_out,) = place_on_cpu([want(weights_gib=1.0, concurrent_requests=8)], CORES, HOST, RULES).unplaced
    assert left_out.ways == ("cpu_kv_cache_gib = 9",)


def gguf(**changes: Any) -> Want:
    return want("small", engine="ollama", model=model(4.6, "Q4_K_M", "ollama:acme/small"), **changes)


def test_ollama_computes_on_a_cpu_too_with_a_cache_for_all_its_slots() -> None:
    (engine,) = place_on_cpu([gguf(concurrent_requests=3)], CORES, HOST, RULES).placed
    assert engine.shape.max_num_seqs == 3
    assert engine.kv_bytes == engine.footprint.kv.bytes_for(3)
    assert engine.footprint.outside_bytes == 0


def test_an_ollama_model_that_the_machine_cannot_hold_says_all_that_it_needs() -> None:
    (left_out,) = place_on_cpu([gguf(concurrent_requests=3)], CORES, 6 * GIB, RULES).unplaced
    assert left_out.needs.startswith("needs 7.9 GiB = weights 4.6 + KV 3.0 + overhead 0.3; 6.0 GiB are left")
    assert left_out.ways == ()


def test_a_family_that_ollama_serves_one_at_a_time_cannot_promise_two() -> None:
    alone = gguf(concurrent_requests=2)
    alone = replace(alone, model=model(4.6, "Q4_K_M", "ollama:acme/small", name="qwen3next"))
    (left_out,) = place_on_cpu([alone], CORES, HOST, RULES).unplaced
    assert "Ollama serves qwen3next with 1 request at a time" in left_out.needs
    assert left_out.ways == ("1 request at once",)
