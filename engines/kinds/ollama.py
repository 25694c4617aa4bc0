"""How Ollama is told what to do, and what it says while it starts. The only file that knows its variables and log
lines.

One server for each engine, with one model loaded for good. Everything that decides its memory is in its environment, so
that no request can differ from it. Facts from Ollama 0.33: envconfig/config.go, server/sched.go, llm/llama_server.go,
docs/gpu.mdx.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from engines.kinds.ollama_pulse import OllamaPulse
from engines.kinds.wire import Wire
from engines.life.lifecycle import Event
from engines.memory.llama_cpp import FIT_MARGIN_MIB
from engines.memory.shape import AUTO
from engines.plan import EnginePlan

BINARY_ENV = "SPILLWAY_OLLAMA"
MODELS_ENV = "SPILLWAY_OLLAMA_MODELS"
# Names the run that a process belongs to, in the environment of the server and of each llama-server below it.
RUN_ENV = "SPILLWAY_RUN"
MISSING = (
    f"there is no `ollama` here. Install Ollama (https://ollama.com/download), or set {BINARY_ENV} to its binary; its "
    "own service need not run."
)
# What it has is cut off at TERM, so there is nothing to wait for but the driver.
GRACE_S = 10.0
# A tag has at most 80 characters (types/model/name.go, isValidLen); this many of the digest tell models apart.
DIGEST_LETTERS, TAG_LETTERS = 12, 80

# Nothing of a user's OLLAMA_*, LLAMA_ARG_* or CUDA_VISIBLE_DEVICES reaches the server: each would change the plan.
PASSED = ("PATH", "USER", "LOGNAME", "LANG", "TZ", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR")
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
PASSED_PREFIXES = ("LC_",)
NO_DEVICE = "-1"

# A line that holds the first text means the second; the event, if any, moves the engine's state.
MARKERS: tuple[tuple[str, str, Event | None], ...] = (
    ("Listening on ", "the server answers", None),
    ("inference compute", "devices found", None),
    ("starting llama-server", "loading weights", Event.LOAD),
    ("load_tensors: offloaded", "loading weights", Event.LOAD),
    ("KV buffer size", "KV cache sized", Event.LOAD),
    ("llama-server started in", "model loaded", None),
)


def find_binary() -> Path | None:
    """SPILLWAY_OLLAMA, else `ollama` on the PATH; None if there is no such file that can run."""
    found = shutil.which(os.environ.get(BINARY_ENV) or "ollama")
    return Path(found).absolute() if found else None


def models_folder(user: Mapping[str, str]) -> Path:
    """One models directory for all our servers, not that of the user's own: SPILLWAY_OLLAMA_MODELS, else in the cache
    of the user."""
    if named := user.get(MODELS_ENV):
        return Path(named).absolute()
    cache = user.get("XDG_CACHE_HOME") or f"{user.get('HOME') or Path.home()}/.cache"
    return Path(cache) / "spillway" / "ollama"


def pinned_name(name: str, digest: str) -> str:
    """What our servers call a model: its name with the beginning of its digest in the tag, `llama3.2:3b-0123456789ab`.

    All servers share one directory, and Ollama looks a name up at each request (server/routes.go, GetModel): were a tag
    that moves pulled for one engine, another that runs would go on with other weights.
    """
    path, _, tag = name.rpartition(":") if ":" in name.rpartition("/")[2] else (name, "", "latest")
    return f"{path}:{tag[: TAG_LETTERS - DIGEST_LETTERS - 1]}-{digest[:DIGEST_LETTERS]}"


class Ollama:
    """The kind "ollama"."""

    name = "ollama"
    grace_s = GRACE_S
    # A llama-server that dies is started again by Ollama.
    vital = ""

    def command(self, plan: EnginePlan, port: int, mark: str) -> list[str]:
        """`ollama serve` takes no word of ours, so `env` puts the mark into its environment; shell and `env` become it.
        On stdout it says nothing but a line for each request (server/routes.go, gin.Default), four of ours a second."""
        return ["sh", "-c", 'exec env "$@" >/dev/null', "sh", f"{RUN_ENV}={mark}", *plan.runtime.command]

    def environment(self, plan: EnginePlan, user: Mapping[str, str], scratch: str, port: int) -> dict[str, str]:
        """HOME is the scratch folder: what lies in ~/.ollama (keys, settings) is of the user's own server."""
        env = {key: value for key, value in user.items() if key in PASSED or key in PROXIES}
        env |= {key: value for key, value in user.items() if key.startswith(PASSED_PREFIXES)}
        env |= {"HOME": scratch, "TMPDIR": scratch, "OLLAMA_MODELS": str(models_folder(user))}
        env |= {"OLLAMA_HOST": f"127.0.0.1:{port}", "OLLAMA_NO_CLOUD": "1", "OLLAMA_NOPRUNE": "1"}
        env |= {"OLLAMA_NUM_PARALLEL": str(slots(plan)), "OLLAMA_MAX_LOADED_MODELS": "1", "OLLAMA_KEEP_ALIVE": "-1"}
        env |= {"OLLAMA_CONTEXT_LENGTH": str(plan.shape.context_tokens)}
        # llama-server inherits the environment: how much it leaves free on each device, and that it counts its steps.
        env |= {"LLAMA_ARG_FIT_TARGET": str(FIT_MARGIN_MIB), "LLAMA_ARG_ENDPOINT_METRICS": "1"}
        if plan.shape.kv_cache_dtype != AUTO:
            env |= {"OLLAMA_KV_CACHE_TYPE": plan.shape.kv_cache_dtype, "OLLAMA_FLASH_ATTENTION": "1"}
        return env | _devices(plan, user)

    def phase(self, line: str) -> tuple[str, Event | None] | None:
        return next(((words, event) for text, words, event in MARKERS if text in line), None)

    def pulse(self, http: Wire, plan: EnginePlan, port: int, mark: str) -> OllamaPulse:
        run = f"{RUN_ENV}={mark}" if mark else ""
        return OllamaPulse(http, plan, f"http://127.0.0.1:{port}", run, models_folder(os.environ))


def slots(plan: EnginePlan) -> int:
    """How many requests it serves at once."""
    return plan.slots or plan.shape.max_num_seqs


def _devices(plan: EnginePlan, user: Mapping[str, str]) -> dict[str, str]:
    """Only the planned GPUs, whatever library could see others: an id that does not exist hides all of them."""
    env = {"OLLAMA_VULKAN": "0", "HIP_VISIBLE_DEVICES": NO_DEVICE, "ROCR_VISIBLE_DEVICES": NO_DEVICE}
    if not plan.gpu_uuids:
        return env | {"CUDA_VISIBLE_DEVICES": NO_DEVICE}
    # Kernels that were compiled for the card once are not compiled at each start, though HOME is new.
    kept = user.get("CUDA_CACHE_PATH") or (f"{user['HOME']}/.nv/ComputeCache" if "HOME" in user else None)
    env |= {"CUDA_CACHE_PATH": kept} if kept else {}
    env |= {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": ",".join(plan.gpu_uuids)}
    # Planned on several, it must not squeeze itself onto the one with the most free memory.
    return env | ({"OLLAMA_SCHED_SPREAD": "1"} if len(plan.gpu_uuids) > 1 else {})


OLLAMA = Ollama()
