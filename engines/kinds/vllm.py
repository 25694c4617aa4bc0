"""How vLLM is told what to do, and what it says while it starts. The only file that knows vLLM's flags and log lines.

Pure: a plan in, a command line and an environment out; a log line in, a phase out. Facts from vLLM 0.32 (CPU) and 0.33.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from engines.kinds.vllm_pulse import VllmPulse
from engines.kinds.wire import Wire
from engines.life.lifecycle import Event
from engines.memory.shape import AUTO
from engines.plan import EnginePlan

SHUTDOWN_S = 10
# vLLM may use its time to finish requests and then some to free the devices.
GRACE_S = SHUTDOWN_S + 15.0
# What a user may set for CUDA, NCCL and Hugging Face reaches the engine; everything else, keys above all, does not.
PASSED = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "TZ", "XDG_CACHE_HOME", "SSL_CERT_FILE")
PASSED_PREFIXES = ("LC_", "CUDA_", "NCCL_", "HF_")
NEVER_PASSED = ("HF_TOKEN", "HF_TOKEN_PATH", "CUDA_VISIBLE_DEVICES")

# A line that holds the first text means the second; the event, if any, moves the engine's state.
MARKERS: tuple[tuple[str, str, Event | None], ...] = (
    ("Route: ", "starting the HTTP server", None),
    ("non-default args", "reading the configuration", None),
    ("Resolved architecture", "starting the engine core", None),
    ("Initializing a V1 LLM engine", "preparing devices", None),
    ("Starting to load model", "loading weights", Event.LOAD),
    ("Time spent downloading weights", "loading weights", Event.LOAD),
    ("Loading weights took", "weights loaded", Event.WARM),
    ("Model loading took", "weights loaded, profiling memory", Event.WARM),
    ("torch.compile took", "compiled", Event.WARM),
    ("KV cache memory", "KV cache sized", Event.WARM),
    ("KV cache size", "warming up", Event.WARM),
    ("Graph capturing finished", "CUDA graphs captured", Event.WARM),
    ("init engine", "engine core ready", Event.WARM),
    ("Application startup complete", "checking that it answers", Event.WARM),
)
SHARDS = re.compile(r"checkpoint shards:\s+(\d+)% Completed")


class Vllm:
    """vLLM as the life of an engine sees it."""

    name = "vllm"
    grace_s = GRACE_S
    # Its engine cores, workers and coordinators (setproctitle in vLLM 0.33, utils/system_utils.py).
    vital = "VLLM::"

    def command(self, plan: EnginePlan, port: int, mark: str) -> list[str]:
        return command(plan, port, mark)

    def environment(self, plan: EnginePlan, user: Mapping[str, str], scratch: str, port: int) -> dict[str, str]:
        # The port stands on the command line.
        del port
        return environment(plan, user, scratch)

    def phase(self, line: str) -> tuple[str, Event | None] | None:
        return phase(line)

    def pulse(self, http: Wire, plan: EnginePlan, port: int, mark: str) -> VllmPulse:
        return VllmPulse(http, f"http://127.0.0.1:{port}", served_name(plan), mark)


VLLM = Vllm()


def served_name(plan: EnginePlan) -> str:
    """What it calls its model; it answers to the mark of its run too."""
    return plan.served_name or plan.model


def command(plan: EnginePlan, port: int, mark: str = "") -> list[str]:
    """The command line of one engine. `port` is the plan's, unless another program has taken that. The first of its
    names stands in its answers and labels; the second, `mark`, tells this run from any other server."""
    shape = plan.shape
    where = [plan.folder] if plan.runtime.command[-1] == "serve" else ["--model", plan.folder]
    words = [*plan.runtime.command, *where, "--served-model-name", served_name(plan), *([mark] if mark else [])]
    words += ["--host", "127.0.0.1", "--port", str(port), "--dtype", plan.dtype]
    words += ["--max-model-len", str(shape.context_tokens), "--max-num-seqs", str(shape.max_num_seqs)]
    words += ["--max-num-batched-tokens", str(shape.max_num_batched_tokens)]
    words += ["--tensor-parallel-size", str(shape.tensor_parallel), "--shutdown-timeout", str(SHUTDOWN_S)]
    words += ["--disable-access-log-for-endpoints", "/health,/metrics,/v1/completions,/v1/chat/completions"]
    words += ["--enable-prompt-tokens-details"]
    words += _device_flags(plan)
    words += ["--enable-sleep-mode"] if plan.may_sleep else []
    return [*words, *_optional_flags(plan), *plan.extra_args]


def _device_flags(plan: EnginePlan) -> list[str]:
    if plan.gpu_uuids:
        eager = ["--enforce-eager"] if plan.shape.enforce_eager else []
        return ["--gpu-memory-utilization", f"{plan.gpu_memory_utilization:.4f}", *eager]
    # Compiling for the CPU takes minutes and gains little on the small models that a CPU can serve. Prompts are taken
    # whole, because a prompt in pieces with a `seed` ends the CPU engine ("CPU Generator does not use offset").
    return ["--enforce-eager", "--no-enable-chunked-prefill"]


def _optional_flags(plan: EnginePlan) -> list[str]:
    flags = {
        "--num-gpu-blocks-override": plan.kv_blocks,
        "--quantization": plan.shape.quantization,
        "--kv-cache-dtype": None if plan.shape.kv_cache_dtype == AUTO else plan.shape.kv_cache_dtype,
        "--max-num-queued-reqs": plan.max_num_queued_reqs,
    }
    return [word for flag, value in flags.items() if value is not None for word in (flag, str(value))]


def environment(plan: EnginePlan, user: Mapping[str, str], scratch: str) -> dict[str, str]:
    """The whole environment of one engine: the listed variables of the user's and our own."""
    env = {key: value for key, value in user.items() if key in PASSED or key.startswith(PASSED_PREFIXES)}
    env = {key: value for key, value in env.items() if key not in NEVER_PASSED}
    env |= {"TMPDIR": scratch, "PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "ignore"}
    # The routes for sleeping are of the development mode (vLLM 0.33, entrypoints/serve/__init__.py).
    env |= {"VLLM_SERVER_DEV_MODE": "1"} if plan.may_sleep else {}
    env |= {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "VLLM_LOGGING_COLOR": "0"}
    if plan.gpu_uuids:
        # CUDA's own order is fastest first, NVML's is by PCI address: UUIDs are right in both.
        return env | {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": ",".join(plan.gpu_uuids)}
    env["VLLM_CPU_KVCACHE_SPACE"] = str(plan.cpu_kv_cache_gib)
    return env | {"VLLM_CPU_OMP_THREADS_BIND": threads_bind(plan.cores, plan.shape.tensor_parallel)}


def threads_bind(cores: Sequence[int], workers: int) -> str:
    """Which cores compute for which worker: `0-2|3-5`.

    vLLM's "auto" leaves a core to the HTTP server and the scheduler, but needs a core to spare and, for several
    workers, as many NUMA nodes. Where it cannot work the cores are split evenly, one left over if there are enough.
    """
    if workers == 1 and len(cores) > 1:
        return "auto"
    each = max(1, (len(cores) - 1) // workers)
    shares = [cores[number * each : (number + 1) * each] for number in range(workers)]
    return "|".join(",".join(str(core) for core in share) for share in shares)


def phase(line: str) -> tuple[str, Event | None] | None:
    """What a log line says of the start: words for the user and an event of the lifecycle; None if nothing."""
    if found := SHARDS.search(line):
        return f"loading weights, {found[1]} %", Event.LOAD
    return next(((words, event) for text, words, event in MARKERS if text in line), None)
