"""How vLLM is told what to do, and what it says while it starts. The only file that knows vLLM's flags and log lines.

Pure: a plan in, a command line and an environment out; a log line in, a phase out. Facts from vLLM 0.32 (CPU) and 0.33.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from engines.lifecycle import Event
from engines.plan import GIB, EnginePlan

SHUTDOWN_S = 10
# vLLM may use its time to finish requests and then some to free the devices.
GRACE_S = SHUTDOWN_S + 15.0
CPU_BLOCK_TOKENS = 128
LEAST_BATCHED_TOKENS = 2048
GPU_BLOCK_TOKENS = 16
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

# What ended an engine, by its last words: (text in the log, cause, what to do).
CAUSES: tuple[tuple[str, str, str], ...] = (
    ("ddress already in use", "its port was taken meanwhile", "Nothing: another port is tried."),
    ("on startup is less than desired GPU memory", "the GPU has less free memory than planned", "Free the GPU."),
    ("No available memory for the cache blocks", "no memory is left for the KV cache", "Lower max_num_seqs or share."),
    (
        "to serve at least one request with the models's max seq len",
        "the KV cache is too small",
        "Lower context_tokens.",
    ),
    ("out of memory", "the GPU ran out of memory", "Lower max_num_seqs or context_tokens."),
    ("Not enough memory", "the machine has too little memory", "Lower cpu_kv_cache_gib."),
    ("No space left on device", "the disk or /dev/shm is full", "Free some space."),
    ("unrecognized arguments", "a flag is unknown to this vLLM", "Check extra_args in stack.toml."),
    ("is not supported for the current GPU", "the GPU is too old for this quantization", "Choose another model."),
    ("libcuda.so", "the NVIDIA driver is not usable", "Install the driver, or use the profile cpu."),
)
PORT_TAKEN = CAUSES[0][1]


def command(plan: EnginePlan, port: int) -> list[str]:
    """The command line of one engine. The port is chosen at the last moment, so it is not part of the plan."""
    model = plan.model
    where = [model.folder] if plan.runtime.command[-1] == "serve" else ["--model", model.folder]
    words = [*plan.runtime.command, *where, "--served-model-name", model.name]
    words += ["--host", "127.0.0.1", "--port", str(port), "--dtype", model.dtype]
    words += ["--max-model-len", str(model.context_tokens), "--max-num-seqs", str(model.max_num_seqs)]
    words += ["--tensor-parallel-size", str(model.tensor_parallel), "--shutdown-timeout", str(SHUTDOWN_S)]
    words += ["--disable-access-log-for-endpoints", "/health,/metrics,/v1/completions,/v1/chat/completions"]
    words += ["--enable-prompt-tokens-details"]
    words += _device_flags(plan)
    if model.kv_blocks is not None:
        words += ["--num-gpu-blocks-override", str(model.kv_blocks)]
    if model.quantization is not None:
        words += ["--quantization", model.quantization]
    return [*words, *model.extra_args]


def _device_flags(plan: EnginePlan) -> list[str]:
    if plan.gpu_uuids:
        return ["--gpu-memory-utilization", f"{plan.gpu_memory_utilization:.2f}"]
    # Compiling for the CPU takes minutes and gains little on the small models that a CPU can serve. Prompts are taken
    # whole, because a prompt in pieces with a `seed` ends the CPU engine ("CPU Generator does not use offset").
    whole = ["--no-enable-chunked-prefill", "--max-num-batched-tokens"]
    return ["--enforce-eager", *whole, str(max(LEAST_BATCHED_TOKENS, plan.model.context_tokens))]


def environment(plan: EnginePlan, user: Mapping[str, str], scratch: str) -> dict[str, str]:
    """The whole environment of one engine: the listed variables of the user's and our own."""
    env = {key: value for key, value in user.items() if key in PASSED or key.startswith(PASSED_PREFIXES)}
    env = {key: value for key, value in env.items() if key not in NEVER_PASSED}
    env |= {"TMPDIR": scratch, "PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "ignore"}
    env |= {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "VLLM_LOGGING_COLOR": "0"}
    if plan.gpu_uuids:
        # CUDA's own order is fastest first, NVML's is by PCI address: UUIDs are right in both.
        return env | {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": ",".join(plan.gpu_uuids)}
    env["VLLM_CPU_KVCACHE_SPACE"] = str(plan.model.cpu_kv_cache_gib)
    return env | {"VLLM_CPU_OMP_THREADS_BIND": threads_bind(plan.cores, plan.model.tensor_parallel)}


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


def kv_tokens(plan: EnginePlan, gpu_total_bytes: int) -> int:
    """KV cache tokens as planned; `gpu_total_bytes` is the memory of the smallest GPU, 0 on a CPU.

    On GPUs an upper bound, all of the allowed memory that the weights leave: activations and graphs are known only at
    the start. Weights and KV heads are split over the GPUs; on a CPU every worker has the whole cpu_kv_cache_gib.
    """
    model = plan.model
    if model.kv_blocks is not None:
        return model.kv_blocks * (GPU_BLOCK_TOKENS if plan.gpu_uuids else CPU_BLOCK_TOKENS)
    if not plan.gpu_uuids:
        return model.cpu_kv_cache_gib * GIB * model.tensor_parallel // model.kv_bytes_per_token
    left_bytes = gpu_total_bytes * (plan.gpu_memory_utilization or 0.0) * len(plan.gpu_uuids) - model.weights_bytes
    return max(0, int(left_bytes / model.kv_bytes_per_token))


def phase(line: str) -> tuple[str, Event | None] | None:
    """What a log line says of the start: words for the user and an event of the lifecycle; None if nothing."""
    if found := SHARDS.search(line):
        return f"loading weights, {found[1]} %", Event.LOAD
    return next(((words, event) for text, words, event in MARKERS if text in line), None)


def cause_of_death(said: Iterable[str], ended: str) -> str:
    """Why an engine ended, from its last log lines and how it ended (`exit code 1`, `signal SIGKILL`)."""
    lines = list(said)
    for text, cause, mend in CAUSES:
        if any(text in line for line in lines):
            return f"{cause} ({ended}). {mend}"
    if "SIGKILL" in ended:
        return f"it was killed ({ended}), most likely for lack of memory. Look at the kernel log."
    last = next((line for line in reversed(lines) if re.search(r"\b\w*(Error|Exception)\b", line)), "")
    error = re.sub(r"^\(\w+ pid=\d+\)\s*(ERROR [\d:. -]+\[\S+\]\s*)?", "", last).strip()
    return f"it ended with {ended}" + (f": {error}" if error else ".")
