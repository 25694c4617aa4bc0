"""Which models the stand-in for Ollama has loaded: one llama-server each, a semaphore of its slots, and reloads.

As Ollama 0.33, server/sched.go: one load at a time; a loaded model whose runner options are those of the request is
used at once, else it is unloaded and loaded anew; an unload is only asked for, and happens later.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.stand_in_llama_server import pass_gate, switches
from tests.stand_in_ollama_models import Model

KV_BYTES_PER_TOKEN = 1024
FOREVER_S = 292.0 * 365 * 86_400
STOPPED = (
    "model runner has unexpectedly stopped, this may be due to resource limitations or an internal error, "
    "check ollama server logs for details"
)
# api/types.go, Runner: a request that differs in one of these makes Ollama load the model anew.
RUNNER_OPTIONS = ("num_ctx", "num_batch", "num_gpu", "main_gpu", "use_mmap", "num_thread", "draft_num_predict")


class OllamaError(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Runner:
    """One loaded model."""

    model: Model
    options: Mapping[str, Any]
    process: subprocess.Popen[bytes]
    port: int
    slots: threading.BoundedSemaphore
    size: int
    size_vram: int
    expires_at_s: float = field(default_factory=lambda: time.time() + FOREVER_S)

    def is_well(self) -> bool:
        """Whether its /health answers (server/sched.go, needsReload, Ping)."""
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except OSError:
            return False

    def tokens(self, count: int) -> Iterator[str]:
        """Raises OllamaError when the llama-server is gone."""
        with self.slots:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self.port)
                connection.request("POST", "/completion", json.dumps({"n_predict": count}))
                for line in connection.getresponse():
                    piece = json.loads(line)
                    if piece["stop"]:
                        return
                    yield piece["content"]
            except (OSError, http.client.HTTPException) as error:
                raise OllamaError(500, STOPPED) from error
            raise OllamaError(500, "an error was encountered while running the model: unexpected EOF")


class Scheduler:
    """All loaded models."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._parallel = int(environment.get("OLLAMA_NUM_PARALLEL") or 1)
        self._most = int(environment.get("OLLAMA_MAX_LOADED_MODELS") or 3)
        self._context = int(environment.get("OLLAMA_CONTEXT_LENGTH") or 4096)
        self._has_gpu = environment.get("CUDA_VISIBLE_DEVICES", "").startswith("GPU-")
        self._loading, self._lock = threading.Lock(), threading.Lock()
        # One is being loaded, the others wait.
        self._queue = threading.BoundedSemaphore(1 + int(environment.get("OLLAMA_MAX_QUEUE") or 512))
        self._loaded: dict[str, Runner] = {}

    def loaded(self) -> list[Runner]:
        with self._lock:
            return list(self._loaded.values())

    def runner(self, model: Model, asked: Mapping[str, Any]) -> Runner:
        """The runner for a request, loaded if it must be. Raises OllamaError."""
        wanted = self._options(model, asked)
        if (found := self._loaded.get(str(model.weights))) and found.options == wanted and found.is_well():
            return found
        with self._turn():
            found = self._loaded.get(str(model.weights))
            if found and found.options == wanted and found.is_well():
                return found
            if found:
                self._unload(found)
            while len(self.loaded()) >= self._most:
                self._unload(self.loaded()[0])
            return self._load(model, wanted)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Only requests that need a load wait in a queue that has an end (server/sched.go, ErrMaxQueue)."""
        if not self._queue.acquire(blocking=False):
            raise OllamaError(503, "server busy, please try again.  maximum pending requests exceeded")
        try:
            with self._loading:
                yield
        finally:
            self._queue.release()

    def expire(self, model: Model) -> None:
        """Ask for the end of a runner; it comes some time after the answer (server/sched.go, expireRunner)."""
        if runner := self._loaded.get(str(model.weights)):
            runner.expires_at_s = time.time()
            threading.Thread(target=self._expire, args=(runner,), daemon=True).start()

    def _expire(self, runner: Runner) -> None:
        pass_gate("unload_gate")
        self._unload(runner)

    def kill_all(self) -> None:
        for runner in self.loaded():
            runner.process.kill()

    def _options(self, model: Model, asked: Mapping[str, Any]) -> dict[str, Any]:
        """num_batch is chosen by the context where nobody names it; "auto" stands for that."""
        named = {key: value for key, value in {**model.parameters, **asked}.items() if key in RUNNER_OPTIONS}
        options = {"num_ctx": self._context, "num_batch": 512, **named}
        found = self._loaded.get(str(model.weights))
        if "num_batch" not in named and (found is None or found.options["num_batch"] != 512):
            tokens = options["num_ctx"] * self._parallel
            options["num_batch"] = 2048 if tokens > 32_768 else 1024 if tokens > 4096 else 512
        return options

    def _load(self, model: Model, options: dict[str, Any]) -> Runner:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        command = [sys.executable, "-S", "-m", "tests.stand_in_llama_server", "--model", str(model.weights)]
        command += ["--port", str(port), "--host", "127.0.0.1", "-np", str(self._parallel)]
        command += ["-c", str(options["num_ctx"] * self._parallel), "-b", str(options["num_batch"])]
        print(f'level=INFO msg="starting llama-server" cmd="{" ".join(command)}"', file=sys.stderr, flush=True)
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        said = process.stdout.readline().decode().strip() if process.stdout else ""
        if process.poll() is not None or "offloaded" not in said:
            code = process.wait()
            raise OllamaError(500, f"llama-server process has terminated: exit status {code}: {said}")
        size = model.weights_bytes + options["num_ctx"] * self._parallel * KV_BYTES_PER_TOKEN
        on_gpu = float(switches().get("on_gpu", 1.0)) if self._has_gpu else 0.0
        slots = threading.BoundedSemaphore(self._parallel)
        runner = Runner(model, options, process, port, slots, size, int(size * on_gpu))
        self._wait(runner)
        with self._lock:
            self._loaded[str(model.weights)] = runner
        print('level=INFO msg="llama-server started in 0.10 seconds"', file=sys.stderr, flush=True)
        return runner

    def _wait(self, runner: Runner) -> None:
        """It serves a moment after its words."""
        while not runner.is_well():
            if runner.process.poll() is not None:
                raise OllamaError(500, "llama-server process has terminated")
            time.sleep(0.01)

    def _unload(self, runner: Runner) -> None:
        """Once its requests are done."""
        for _ in range(self._parallel):
            runner.slots.acquire()
        runner.process.kill()
        runner.process.wait()
        for _ in range(self._parallel):
            runner.slots.release()
        with self._lock:
            if self._loaded.get(str(runner.model.weights)) is runner:
                del self._loaded[str(runner.model.weights)]


def is_cloud_disabled() -> bool:
    return os.environ.get("OLLAMA_NO_CLOUD", "").lower() in ("1", "true")
