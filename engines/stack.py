"""What was asked for, read and checked: stack.toml, models.lock, the hardware, the runtime. `planning` places it.

Checks everything that can be checked before anything starts. Starts nothing but the router's own check of its tables.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from engines import runtime as runtimes
from engines.checkout import default_config, default_lock
from engines.config import Wanted, read_config
from engines.errors import SpillwayError
from engines.gpus.cards import declared
from engines.gpus.faults import is_absence
from engines.gpus.gpu import Gpus
from engines.gpus.nvml import read_gpus
from engines.models.lock import Lock, LockedModel, read_lock
from engines.models.locked import locked_models
from engines.models.resolve import unlocked
from engines.plan import RouterPlan
from engines.snapshot import models_to_json
from engines.tables import TableError, named_variables, read_toml

CHECK_S = 60.0


class StackError(SpillwayError):
    """Something that must be right before anything starts is not; the message says what, where and how to mend it."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the user asks for on the command line. `gpus` declares GPUs, as in `8xH100-80GB`; with `may_declare` those
    of stack.toml stand in where there are none: for a plan, never for a start."""

    config: Path
    lock: Path
    profile: str | None
    gpus: str | None = None
    may_declare: bool = False


@dataclass(frozen=True, slots=True)
class Stack:
    """What was asked for, read and checked, but not placed: free GPU memory is looked at as late as possible."""

    asked: Asked
    wanted: Wanted
    lock: Lock
    runtime: runtimes.Runtime
    gpus: Gpus
    fingerprint: str

    @property
    def is_declared(self) -> bool:
        """Whether the GPUs are not here, so that nothing can start on them."""
        return any(gpu.is_declared for gpu in self.gpus.seen)

    @property
    def needs_runtime(self) -> bool:
        """Whether anything here starts in it: Ollama has its own programs, and what others run needs none."""
        return any(model.engine == "vllm" for model in self.wanted.models.values())

    def locked(self) -> dict[str, LockedModel]:
        """The facts of the models that are wanted."""
        return {name: self.lock.models[name] for name in self.wanted.models}


def asked(profile: str | None, config: Path | None, lock: Path | None) -> Asked:
    """With this checkout's own files where none are named. Raises StackError for a profile that there is not."""
    if profile not in (None, "cpu", "gpu"):
        raise StackError(f"no profile is called {profile}; there are: cpu, gpu.")
    return Asked((config or default_config()).absolute(), (lock or default_lock()).absolute(), profile)


def read_stack(asked: Asked) -> Stack:
    """Raises TableError for the files, CardError for GPUs that cannot be declared so, RuntimeInstallError for a profile
    that cannot run here, StackError for GPUs that are there and in trouble."""
    wanted = read_config(asked.config)
    lock = read_lock(asked.lock)
    if missing := unlocked(wanted, lock):
        lines = [f"{asked.config}: {line}" for line in missing]
        raise TableError("\n".join([*lines, "Run `spillway lock`: models.lock is older than stack.toml."]))
    gpus = _gpus(asked, wanted)
    runtime = runtimes.runtime(runtimes.choose(len(gpus.seen), asked.profile))
    _check_pin(lock, runtime, asked.lock)
    usable = Gpus((), "the profile cpu was asked for") if runtime.name == "vllm-cpu" and gpus.seen else gpus
    return Stack(asked, wanted, lock, runtime, usable, _fingerprint(asked, runtime.name))


def _gpus(asked: Asked, wanted: Wanted) -> Gpus:
    if asked.gpus:
        return declared(asked.gpus)
    found = read_gpus()
    stand_in = wanted.gpus.declared if asked.may_declare and not found.seen and asked.profile != "cpu" else None
    is_in_trouble = not (found.seen or stand_in or asked.profile == "cpu" or is_absence(found.why_none))
    if wanted.models and is_in_trouble:
        # The processor is no place for what ran, or may still run, on these GPUs.
        raise StackError(f"{found.why_none}. Mend that, or ask for the processor instead: `--profile cpu`.")
    return declared(stand_in) if stand_in else found


def _check_pin(lock: Lock, runtime: runtimes.Runtime, path: Path) -> None:
    pinned = lock.runtimes.get(runtime.name)
    if pinned != runtime.version:
        raise TableError(
            f"{path}: [runtimes] {runtime.name} is {pinned!r}, but this checkout installs {runtime.version}. "
            "Run `spillway lock`."
        )


def _fingerprint(asked: Asked, runtime: str) -> str:
    """Changes with the files, the hardware's kind, and the keys in the environment that the files name."""
    parts = [asked.config.read_bytes(), asked.lock.read_bytes(), runtime.encode(), str(asked.config).encode()]
    parts += [os.environ.get(name, "").encode() for name in sorted(named_variables(read_toml(asked.config)))]
    return hashlib.sha256(b"\0".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


def check_router(asked: Asked) -> RouterPlan:
    """Let the router judge its own tables, by the locked facts of the models. Raises StackError with its words."""
    config, facts = asked.config, models_to_json(locked_models(asked.lock))
    command = (sys.executable, "-m", "router", "--config", str(config))
    try:
        said = subprocess.run(
            [*command, "--check", "--models", facts], capture_output=True, text=True, timeout=CHECK_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise StackError(f"`{' '.join(command)} --check` does not end within {CHECK_S:.0f} s.") from error
    if said.returncode != 0:
        raise StackError(said.stderr.strip() or f"the router's check of {config} ends with {said.returncode}.")
    try:
        answer = json.loads(said.stdout)
        host, port = answer.pop("host"), answer.pop("port")
        return RouterPlan(
            command,
            host,
            port,
            answer["endpoint"]["keys_env"],
            answer["limits"]["drain_s"],
            json.dumps(answer),
            tuple(sorted(set(named_variables(read_toml(config))))),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise StackError(f"the router's check of {config} gives no host and port: {said.stdout[:200]!r}.") from error
