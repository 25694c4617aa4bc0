"""Why engines end: real texts of vLLM and of what it stands on, and what each means for the user and the next try."""

from collections.abc import Sequence

import pytest

from engines.processes.process import how_ended
from engines.processes.registration import OOM_END
from engines.starting import failure
from engines.starting.failure import Stage, classify, stage
from engines.starting.symptoms.symptom import Kind, Trouble
from engines.starting.symptoms.table import SYMPTOMS

SAME, CHANGED, PERMANENT = Kind.RETRY_SAME, Kind.RETRY_CHANGED, Kind.PERMANENT
CORE = "(EngineCore pid=7) ERROR 11-21 17:36:46 [core.py:1510] "
ULIMIT = (
    "(APIServer pid=1) WARNING 11-21 17:36:26 [system_utils.py:255] Found ulimit of 20000 and failed to automatically "
    "increase. This can cause fd limit errors like `OSError: [Errno 24] No space left on device`."
)
FREE = (
    "ValueError: Free memory on device cuda:0 (10.5/79.1 GiB) on startup is less than desired GPU memory utilization "
    "(0.9, 71.2 GiB). Decrease GPU memory utilization or reduce GPU memory used by other processes."
)
KV = (
    "ValueError: To serve at least one request with the model's max seq len (4096), (0.5 GiB KV cache is needed, which "
    "is larger than the available KV cache memory (0.3 GiB). Based on the available memory, the estimated maximum "
    "model length is 2432. Try increasing `gpu_memory_utilization`"
)
OOM = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.1 GiB"
LOADED = "(Worker pid=9) INFO 11-21 [gpu_model_runner.py:5150] Model loading took 14.99 GiB memory and 3.500000 seconds"
SIZED = "(Worker pid=9) INFO 11-21 17:36:45 [gpu_worker.py:760] Available KV cache memory: 50.11 GiB"
SAMPLER = (
    "RuntimeError: CUDA out of memory occurred when warming up sampler with 1024 dummy requests. Please try lowering"
)
HOST = (
    "ValueError: Available memory on node 0 ({}/16.84 GiB) on kv cache allocation is less than requested memory for kv "
    "({} GiB). Decrease --kv-cache-memory-bytes, VLLM_CPU_KVCACHE_SPACE"
)
DIVIDE = "  Value error, Total number of attention heads (4) must be divisible by tensor parallel size (3). [type=value"
LONG = (
    "  Value error, User-specified max_model_len (8192) is greater than the derived max_model_len "
    "(max_position_embeddings=4096.0 or model_max_length=None in model's config.json). To allow overriding"
)
WORLD = (
    "ValueError: World size (4) is larger than the number of available GPUs (2) in this node. If this is intentional"
)
CAPABILITY = (
    "ValueError: The quantization method mxfp4 is not supported for the current GPU. Minimum capability: 80. "
    "Current capability: 75."
)
BATCH = "  Value error, max_num_batched_tokens (2048) is smaller than max_model_len (4096). This effectively limits"

# The lines, what they mean, what may be tried, and words that the user reads.
SAMPLES: list[tuple[list[str], Trouble, Kind, str]] = [
    ([FREE], Trouble.SHARE_NOT_FREE, CHANGED, "has 10.5 GiB free and this engine was to take 71.2 GiB of 79.1"),
    (["ValueError: No available memory for the cache blocks. Try"], Trouble.NO_KV_MEMORY, CHANGED, "leave no memory"),
    ([KV], Trouble.KV_TOO_SMALL, CHANGED, "Lower context_tokens in stack.toml to 2432"),
    ([KV.partition("Based on")[0]], Trouble.KV_TOO_SMALL, CHANGED, "too small for one request of the whole context"),
    (
        ["ValueError: Cannot auto-fit max_model_len: not enough"],
        Trouble.NO_KV_MEMORY,
        CHANGED,
        "not hold a single token",
    ),
    (
        ["AssertionError: Error in memory profiling. Initial free"],
        Trouble.MEMORY_MOVED,
        SAME,
        "Keep other programs off",
    ),
    ([OOM], Trouble.OUT_OF_MEMORY_LOADING, SAME, "too little memory for the model's weights"),
    ([LOADED, OOM], Trouble.OUT_OF_MEMORY_PROFILING, CHANGED, "Lower max_num_batched_tokens or max_num_seqs"),
    ([LOADED, SIZED, OOM], Trouble.OUT_OF_MEMORY_SERVING, CHANGED, "reserve_gib"),
    ([LOADED, OOM, SAMPLER], Trouble.OUT_OF_MEMORY_SAMPLING, CHANGED, "Lower max_num_seqs"),
    ([HOST.format("1.39", "4.0")], Trouble.HOST_MEMORY, SAME, "has 1.39 of 16.84 GiB of memory free"),
    ([HOST.format("15.39", "500.0")], Trouble.HOST_MEMORY, PERMANENT, "Lower cpu_kv_cache_gib"),
    (
        ["RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory"],
        Trouble.HOST_MEMORY,
        SAME,
        "too little",
    ),
    (["OSError: [Errno 98] Address already in use"], Trouble.PORT, SAME, "another port is tried"),
    (["OSError: [Errno 28] No space left on device"], Trouble.DISK, SAME, "Free some space"),
    (["Fatal Python error: Bus error"], Trouble.DISK, SAME, "--shm-size"),
    (["cannot start /x/python: No such file or directory"], Trouble.RUNTIME, PERMANENT, "/x/python cannot be started"),
    (["RuntimeError: Failed to find C compiler. Please specify"], Trouble.RUNTIME, PERMANENT, "Install gcc"),
    (["ModuleNotFoundError: No module named 'mamba_ssm'"], Trouble.RUNTIME, PERMANENT, "No module named 'mamba_ssm'"),
    (["api_server.py: error: unrecognized arguments: --nonsense"], Trouble.FLAGS, PERMANENT, "flags --nonsense"),
    (["vllm: error: argument --seed: invalid int value: 'x'"], Trouble.FLAGS, PERMANENT, "--seed: invalid int value"),
    (["huggingface_hub.errors.LocalEntryNotFoundError: Cannot find"], Trouble.FILES, PERMANENT, "do not download"),
    (["huggingface_hub.errors.GatedRepoError: 401 Client Error."], Trouble.FILES, PERMANENT, "set HF_TOKEN"),
    ([CAPABILITY], Trouble.CARD, PERMANENT, "needs compute capability 80 (x 10) and the GPU has 75"),
    (["ValueError: Bfloat16 is only supported on GPUs with"], Trouble.CARD, PERMANENT, "too old for bfloat16"),
    (["RuntimeError: CUDA error: no kernel image is available for"], Trouble.CARD, PERMANENT, "no code for this GPU"),
    ([WORLD], Trouble.CARD, PERMANENT, "sees fewer GPUs than tensor_parallel"),
    (
        ["RuntimeError: Failed to infer device type, please set"],
        Trouble.DRIVER,
        PERMANENT,
        "NVIDIA driver is not usable",
    ),
    ([DIVIDE], Trouble.DIVISION, PERMANENT, "4 attention heads cannot be divided over 3 GPUs"),
    (
        ["ValueError: Weight output_partition_size = 96 is not divisible by weight quantization block_n = 128."],
        Trouble.DIVISION,
        PERMANENT,
        "Change tensor_parallel",
    ),
    (["RuntimeError: CUDA error: uncorrectable ECC error encountered"], Trouble.GPU_FAULT, SAME, "grep Xid"),
    ([LONG], Trouble.CONTEXT, PERMANENT, "8192 tokens is longer than the 4096"),
    ([BATCH], Trouble.CONTEXT, PERMANENT, "Raise max_num_batched_tokens to 4096"),
    (
        ["  Value error, Model architectures ['Odd'] are not supported for now. Supported"],
        Trouble.MODEL,
        PERMANENT,
        "Odd",
    ),
    (
        ["OSError: It looks like the config file at 'x' is not a valid JSON file."],
        Trouble.MODEL,
        PERMANENT,
        "config.json",
    ),
    (["ValueError: x contains custom code which must be executed"], Trouble.MODEL, PERMANENT, "--trust-remote-code"),
    (
        ["  Value error, Unknown quantization method: gguf. Must be one of"],
        Trouble.MODEL,
        PERMANENT,
        "quantization gguf",
    ),
    (
        ["ValueError: Quantization method specified in the model config (gptq) does not match the quantization method"],
        Trouble.MODEL,
        PERMANENT,
        "stored as gptq",
    ),
    (
        ["ValueError: torch.bfloat16 is not supported for quantization method awq. Supported dtypes: [torch.float16]"],
        Trouble.MODEL,
        PERMANENT,
        "quantization awq does not go with torch.bfloat16",
    ),
    (
        ["safetensors._safetensors_rust.SafetensorError: Error while deserializing header: incomplete metadata"],
        Trouble.FILES,
        PERMANENT,
        "a weight file of the model is damaged",
    ),
    (
        ["RuntimeError: Cannot find any model weights with `/models/x`"],
        Trouble.FILES,
        PERMANENT,
        "files of the model are",
    ),
    (
        ["RuntimeError: start (0) + length (512) exceeds dimension size (384)."],
        Trouble.FILES,
        PERMANENT,
        "do not belong",
    ),
    (["RuntimeError: NCCL error: unhandled cuda error"], Trouble.FABRIC, SAME, "do not reach each other"),
    (["Worker proc VllmWorker-1 died unexpectedly (exit code: -9), shutting down"], Trouble.KILLED, SAME, "was killed"),
]


@pytest.mark.parametrize(("lines", "trouble", "kind", "words"), SAMPLES, ids=[each[3][:40] for each in SAMPLES])
def test_each_text_has_its_meaning(lines: list[str], trouble: Trouble, kind: Kind, words: str) -> None:
    found = classify(lines, "exit code 1")
    assert (found.trouble, found.kind) == (trouble, kind)
    assert words in found.words()
    assert "(exit code 1)" in found.words()
    assert "{" not in found.words()
    assert "None" not in found.words()


def test_every_symptom_has_a_sample_here() -> None:
    said = [line for lines, *_ in SAMPLES for line in lines]
    found = {classify(lines, "").trouble for lines, *_ in SAMPLES}
    silent = [each for each in SYMPTOMS if not any(each.pattern.search(line) for line in said)]
    assert {each.trouble for each in silent} <= found
    assert {each.pattern.pattern for each in silent} <= {"(?!)", "does not recognize this architecture"}


def test_numbers_are_read() -> None:
    assert classify([KV], "").longest_context_tokens == 2432
    found = classify([FREE], "")
    assert (found.free_gib, found.desired_gib, found.total_gib) == (10.5, 71.2, 79.1)


def of_process(who: str, *texts: str) -> list[str]:
    return [f"({who}) ERROR 11-21 17:37:25 [core.py:1] {text}" for text in texts]


def test_the_first_to_fail_counts_not_those_who_report_it() -> None:
    worker = of_process("Worker_TP0 pid=9", "WorkerProc failed to start.", "Traceback (most recent call last):", OOM)
    core = of_process("EngineCore pid=7", "Exception: WorkerProc initialization failed due to an exception in a")
    core += ["(EngineCore pid=7) RuntimeError: NCCL error: remote process exited or there was a network error"]
    server = ["RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {'x': -9}"]
    assert classify([LOADED, *worker, *core, *server], "").trouble is Trouble.OUT_OF_MEMORY_PROFILING


def test_what_may_be_a_mere_consequence_counts_last_even_if_it_is_said_first() -> None:
    lost = of_process("Worker_TP1 pid=8", "RuntimeError: NCCL error: remote process exited")
    assert (
        classify([*lost, LOADED, *of_process("Worker_TP0 pid=9", OOM)], "").trouble is Trouble.OUT_OF_MEMORY_PROFILING
    )


def test_warnings_and_arguments_tell_of_no_error() -> None:
    found = classify([ULIMIT, "(APIServer pid=1) INFO 11-21 17:36:26 [a.py:1] args: {'x': 'CUDA out of memory'}"], "x")
    assert found.trouble is Trouble.UNKNOWN


def test_an_unknown_error_is_told_in_the_words_of_the_process_that_failed_first() -> None:
    worker = of_process("Worker pid=9", "KeyError: 'a'", "RuntimeError: so it is")
    said = [*worker, "RuntimeError: Engine core initialization failed. See root cause above."]
    found = classify(said, "exit code 1")
    assert (found.kind, found.words()) == (SAME, "it ended with exit code 1: RuntimeError: so it is")


@pytest.mark.parametrize(
    ("lines", "ended", "words"),
    [
        ([], "signal SIGKILL", "it was killed from outside (signal SIGKILL). If nobody"),
        (["fine"], "exit code 0", "it ended with exit code 0."),
        (
            ["x.ValidationError: 1 validation error for M", "  Value error, no [type=y]"],
            "exit code 1",
            "it ended with exit code 1: no",
        ),
    ],
)
def test_an_end_without_a_known_text_is_told_as_it_was(lines: list[str], ended: str, words: str) -> None:
    assert classify(lines, ended).words().startswith(words)


@pytest.mark.parametrize(
    ("lines", "reached"),
    [([], Stage.LOADING), ([LOADED], Stage.PROFILING), ([LOADED, SIZED], Stage.SERVING)],
)
def test_the_log_tells_how_far_a_start_came(lines: Sequence[str], reached: Stage) -> None:
    assert stage(lines) is reached


def test_an_engine_that_has_served_can_always_start_again() -> None:
    assert classify(["ValueError: Bfloat16 is only supported on GPUs"], "").after_serving().kind is SAME
    assert classify([KV], "").after_serving().kind is CHANGED


def test_what_we_ended_ourselves_says_so() -> None:
    assert (
        "hangs while loading weights: nothing in its log and no work for 300 s"
        in failure.hang("loading weights", 300).words()
    )
    assert "it hung and was stopped: no step for 60 s" in failure.hung("no step for 60 s").words()


def test_what_the_kernel_killed_for_its_memory_says_so_whatever_the_log_tells() -> None:
    found = classify(["Worker proc VllmWorker-1 died unexpectedly (exit code: -9), shutting down"], how_ended(OOM_END))
    assert (found.trouble, found.kind) == (Trouble.HOST_OOM, SAME)
    assert "the machine ran out of memory" in found.words()
