"""`spillway up` with an Ollama beside a vLLM on one GPU: both are stand-ins, the card is a double, all else is real."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from benchmarks.double.nvml_double import GIB, Double, DoubleGpu
from engines.checkout import default_lock
from engines.following import follow
from engines.kinds.ollama import BINARY_ENV, MODELS_ENV, RUN_ENV
from engines.models.lock import LockedFile, read_lock
from engines.models.lock_text import to_toml
from engines.models.ollama_names import REGISTRY_ENV
from engines.processes.orphans import marked_members
from engines.processes.record import read_records
from engines.runtime import MARKER, runtime
from engines.snapshot import EngineView
from tests.locked import locked
from tests.routers import until
from tests.running_ollama import NAME, add_model
from tests.stacks import Place, place_in
from tests.stand_in_ollama import binary, switch
from tests.stand_in_registry import standing_in_registry
from tests.supervised import STAND_IN

CARD = "GPU-a"
VLLM = """#!{python}
import os, pathlib, sys
share = float(sys.argv[sys.argv.index("--gpu-memory-utilization") + 1])
held = pathlib.Path({processes!r}) / str(os.getpid())
held.write_text(os.environ["CUDA_VISIBLE_DEVICES"] + f" {{int(share * 24 * 2**30) + 600 * 2**20}}\\n")
os.execv(sys.executable, [sys.executable, {stand_in!r}, *sys.argv[2:]])
"""
WANTED = f"""
[models.llama]
source = "ollama:{NAME}"
engine = "ollama"
context_tokens = 4096
concurrent_requests = 2
"""


@dataclass(frozen=True)
class Stack:
    """The shipped stack and a model of Ollama on a card of 24 GiB."""

    place: Place
    lock: Path
    double: Double

    def up(self) -> None:
        said = self.place.run("up", "--config", str(self.place.config), "--lock", str(self.lock))
        assert said.returncode == 0, said.stdout + said.stderr

    def ollama(self) -> EngineView:
        return next(each for each in next(follow(self.place.home)).engines if each.kind == "ollama")

    def mark(self) -> str:
        """What all processes of the run have in their environment."""
        record = next(each for each in read_records(self.place.home) if each.name == "llama")
        return next(word for word in record.command if word.startswith(f"{RUN_ENV}="))


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    double = Double(tmp_path / "nvml", [DoubleGpu(uuid=CARD, total_bytes=24 * GIB, reserved_bytes=0)])
    state = tmp_path / "ollama"
    with standing_in_registry() as registry:
        variables = {BINARY_ENV: str(binary(state)), MODELS_ENV: str(tmp_path / "models"), REGISTRY_ENV: registry.url}
        variables |= {"NO_PROXY": "127.0.0.1,localhost", "SPILLWAY_RUNTIMES": str(tmp_path / "runtimes"), **double.env}
        place = place_in(tmp_path, variables)
        place.config.write_text(place.config.read_text() + WANTED)
        _make_runtime(place, double)
        switch(state, nvml={"home": str(double.home), "memory": {CARD: GIB}})
        files = (LockedFile("blobs/sha256-0", "0" * 64, GIB),)
        model = replace(locked("Q4_K_M"), source=f"ollama:{NAME}", revision=add_model(registry), files=files)
        shipped = read_lock(default_lock())
        lock = tmp_path / "models.lock"
        lock.write_text(to_toml(replace(shipped, models={**shipped.models, "llama": model})))
        yield Stack(place, lock, double)
        place.down()


def _make_runtime(place: Place, double: Double) -> None:
    root = runtime("vllm", place.variables).root
    (root / "bin").mkdir(parents=True)
    (root / MARKER).touch()
    (root / "bin" / "python").symlink_to(sys.executable)
    script = root / "bin" / "vllm"
    script.write_text(VLLM.format(python=sys.executable, processes=str(double.home / "processes"), stand_in=STAND_IN))
    script.chmod(0o755)


def test_an_ollama_shares_a_gpu_with_vllm_and_comes_back_when_it_is_killed(stack: Stack) -> None:
    stack.up()
    answer = stack.place.complete("llama")
    assert answer["usage"]["completion_tokens"] == 8
    first, mark = stack.ollama(), stack.mark()
    assert (first.state, first.slots, first.device) == ("ready", 2, CARD)
    assert first.pid
    assert len(marked_members(mark)) == 2
    os.kill(first.pid, signal.SIGKILL)
    assert stack.place.complete("llama")["usage"]["completion_tokens"] == 8
    until(lambda: stack.ollama().restarts == 1 and stack.ollama().state == "ready")
    assert marked_members(mark) == set()
    after = stack.mark()
    assert stack.place.down() == 0
    assert marked_members(after) == set()
    assert not list((stack.place.home / "processes").iterdir())
