"""The fake engine in vLLM's clothes: its command line, its log lines, and what it is told to do wrong.

A process of its own, started by the supervisor in place of vLLM: `python -m benchmarks.night.dressed CONDUCT FLAGS`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.batch import Limits
from benchmarks.engine import Engine
from benchmarks.loopback import PortTaken, listening, serve
from benchmarks.night.conduct import Conduct, read_conduct

# The blocks of a KV cache on a processor, and the words of an answer to a question that sets no limit.
BLOCK_TOKENS = 128
BLOCKS = 64
ANSWER_TOKENS = 64


def _flags(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--served-model-name", nargs="+", default=["smoke"])
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--max-model-len", type=int, default=4096)
    parser.add_argument("--max-num-seqs", type=int, default=64)
    parser.add_argument("--num-gpu-blocks-override", type=int, default=BLOCKS)
    return parser.parse_known_args(words)[0]


def _limits(flags: argparse.Namespace, conduct: Conduct) -> Limits:
    room = max(flags.num_gpu_blocks_override * BLOCK_TOKENS, flags.max_model_len)
    return Limits(flags.max_model_len, room, flags.max_num_seqs, conduct.prefill_tokens_per_s, conduct.step_ms / 1000)


def _hold(conduct: Conduct) -> None:
    """Say to the driver's double what this process holds; it is free again when the process has ended."""
    uuids = [uuid for uuid in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if uuid]
    if conduct.double and uuids:
        path = Path(conduct.double) / "processes" / str(os.getpid())
        path.write_text("".join(f"{uuid} {conduct.held_bytes}\n" for uuid in uuids), encoding="utf-8")


def main(words: Sequence[str]) -> int:
    """Serve until told to stop; the lines are those that vLLM 0.33 writes while it starts."""
    conduct, flags = read_conduct(Path(words[0])), _flags(words[1:])
    if conduct.ignores_term:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("INFO [model.py] Resolved architecture: LlamaForCausalLM", flush=True)
    print("INFO [gpu_model_runner.py] Starting to load model", flush=True)
    if conduct.ends_with is not None:
        print("RuntimeError: the fake engine was told to end", flush=True)
        return conduct.ends_with
    _hold(conduct)
    if conduct.is_mute:
        threading.Event().wait()
    time.sleep(conduct.load_s)
    print("INFO [default_loader.py] Loading weights took 0.10 seconds", flush=True)
    engine = Engine(flags.served_model_name, _limits(flags, conduct), ANSWER_TOKENS)
    try:
        listener = listening(flags.port)
    except PortTaken as error:
        print(f"OSError: [Errno 98] Address already in use: {error}", flush=True)
        return 1
    asyncio.run(
        serve(
            engine.application(),
            listener,
            lambda: print("INFO Application startup complete.", flush=True),
            heeds_term=not conduct.ignores_term,
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
