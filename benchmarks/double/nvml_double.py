"""A driver of ours: a C library that the unmodified NVML binding loads, and the state that it reads on every call.

    double = Double(tmp_path, [H100, replace(H100, uuid="GPU-b")])
    subprocess.run(command, env=os.environ | double.env)     # sees these GPUs and no others
    double.take(pid, {"GPU-b": 20 * GIB})                    # memory of a process, for as long as it lives
    double.lose(1)                                           # Xid 79, then "GPU is lost" on every call
    double.xid(0, 48); double.change_gpu(0, recovery=1)      # an error, then the driver asks for a reset
    double.change_gpu(0, clock_reasons=0x40)                 # too hot
    double.change(slow_ms=60_000)                            # a driver that does not answer

A process that stands in for an engine says itself what it holds: `hold({"GPU-b": 20 * GIB})`, which writes
`$NVML_DOUBLE/processes/<its pid>` with a line "UUID BYTES" for each GPU. It need not take it back: the memory is free
when the process ends, however it ends, unless the state says that memory lingers (`Double.linger`).

What holds of one process only (a library that is loaded once) means that every reader is a process of its own.
Nothing here needs pytest, so that a stand-in engine may import it.
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

GIB = 2**30
MIB = 2**20
FUNCTION_NOT_FOUND = 13
GPU_IS_LOST = 15
RESET_REQUIRED = 16
LIB_RM_VERSION_MISMATCH = 18
XID_EVENT = 8
# Xids, retired rows and their failure, fatal poison, GPU unavailable, recovery action changed (nvml.h, nvmlEventType).
EVENT_KINDS = 0xEC08
MOST_EVENTS = 48

# It has the driver's own name: who has it loaded finds it by that name alone.
FLAGS = (
    "-shared",
    "-fPIC",
    "-O1",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wno-stringop-truncation",
    "-Wno-format-truncation",
    "-Wl,-soname,libnvidia-ml.so.1",
)


@dataclass(frozen=True)
class Part:
    """One MIG instance."""

    uuid: str
    total_bytes: int
    reserved_bytes: int = 0
    name: str = "NVIDIA H100 80GB HBM3 MIG 1g.10gb"


@dataclass(frozen=True)
class DoubleGpu:
    """One card. None is what it does not tell (NVML_ERROR_NOT_SUPPORTED).

    `switch_links`: its NVLinks to switches, which join all cards that have some. `code`: what every call for it
    returns, when that is not success. `event_kinds`: the bits of the events that it tells.
    """

    uuid: str = "GPU-a"
    name: str = "NVIDIA H100 80GB HBM3"
    total_bytes: int = 81559 * MIB
    reserved_bytes: int = 551 * MIB
    used_bytes: int = 0
    capability: tuple[int, int] | None = (9, 0)
    pci_address: str | None = "00000000:17:00.0"
    numa_node: int | None = 0
    temperature_c: int | None = 31
    power_mw: int | None = 70_500
    power_limit_mw: int | None = 700_000
    energy_mj: int | None = 7_000_000_000
    clock_reasons: int | None = 1
    ecc_errors: int | None = 0
    remapped_rows: tuple[int, int, int, int] | None = (0, 0, 0, 0)
    recovery: int | None = 0
    switch_links: int = 0
    is_mig: bool | None = False
    event_kinds: int | None = EVENT_KINDS
    parts: tuple[Part, ...] = ()
    code: int = 0

    def lines(self, number: int) -> Iterable[str]:
        """Its part of the state."""
        numbers = {
            "used": self.used_bytes,
            "total": self.total_bytes,
            "reserved": self.reserved_bytes,
            "uuid": self.uuid,
            "name": self.name,
            "capability": self.capability,
            "pci": self.pci_address,
            "numa": self.numa_node,
            "temperature": self.temperature_c,
            "power": self.power_mw,
            "limit": self.power_limit_mw,
            "energy": self.energy_mj,
            "reasons": self.clock_reasons,
            "ecc": self.ecc_errors,
            "rows": self.remapped_rows,
            "recovery": self.recovery,
            "switches": self.switch_links,
            "mig": None if self.is_mig is None else int(self.is_mig),
            "fault": self.code,
            "kinds": self.event_kinds,
        }
        for key, value in numbers.items():
            if value is not None:
                yield f"gpu {number} {key} {' '.join(map(str, value)) if isinstance(value, tuple) else value}"
        for slot, part in enumerate(self.parts):
            yield f"mig {number} {slot} {part.uuid} {part.total_bytes} {part.reserved_bytes} {part.name}"


@dataclass(frozen=True)
class Wire:
    """What lies between two cards: the level of their common ancestor (0, 10 ... 50), direct NVLinks, peer access."""

    one: int
    other: int
    level: int = 30
    nvlinks: int = 0
    can_read: bool = True


@dataclass(frozen=True)
class Foreign:
    """A process that is none of ours. `kind`: c computes, g draws, m computes through MPS. Bytes may be untold."""

    uuid: str
    pid: int
    used_bytes: int | None
    kind: str = "c"


@dataclass(frozen=True)
class State:
    """All that the library knows but the memory of living processes. `init_code` is what nvmlInit returns.

    `answers`: function -> code, for all cards ("name") or one ("name", number). `pid_offset` is added to the pids of
    our processes, as in a container with pids of its own. `linger`: memory of the dead is not given back, for as long
    as that is set. `slow_ms`: so long each call takes. `events`: (card, kind, data); each is told once to each process
    that had registered for it when it was added.
    """

    gpus: tuple[DoubleGpu, ...] = (DoubleGpu(),)
    driver: str | None = "595.58.03"
    cuda: int | None = 13_020
    init_code: int = 0
    wires: tuple[Wire, ...] = ()
    foreign: tuple[Foreign, ...] = ()
    events: tuple[tuple[int, int, int], ...] = ()
    answers: tuple[tuple[str, int, int], ...] = ()
    slow_ms: int = 0
    pid_offset: int = 0
    linger: bool = False
    counts: bool = False

    def text(self) -> str:
        """As the library reads it, a fact a line."""
        lines = [line for number, gpu in enumerate(self.gpus) for line in gpu.lines(number)]
        lines += [f"link {w.one} {w.other} {w.level} {w.nvlinks} {int(w.can_read)}" for w in self.wires]
        for each in self.foreign:
            lines.append(
                f"process {each.kind} {each.uuid} {each.pid} {-1 if each.used_bytes is None else each.used_bytes}"
            )
        # The library has room for so many; older ones were told long ago.
        for number, (gpu, kind, value) in list(enumerate(self.events))[-MOST_EVENTS:]:
            lines.append(f"event {number} {gpu} {kind} {value}")
        lines += [f"answer {name} {gpu} {code}" for name, gpu, code in self.answers]
        lines += [f"driver {self.driver}"] if self.driver else []
        lines += [f"cuda {self.cuda}"] if self.cuda else []
        lines += [f"init {self.init_code}", f"slow_ms {self.slow_ms}", f"pid_offset {self.pid_offset}"]
        lines += [f"linger {int(self.linger)}", f"counts {int(self.counts)}"]
        return "\n".join(lines) + "\n"


class Double:
    """The driver of one test. Its state is one frozen value, written whole whenever it changes."""

    def __init__(self, folder: Path, gpus: Sequence[DoubleGpu] = (DoubleGpu(),)) -> None:
        """`folder` is the double's own; it is made."""
        self.home = folder / "nvml"
        (self.home / "processes").mkdir(parents=True)
        self.state = State(gpus=tuple(gpus))
        self.change()

    @property
    def env(self) -> dict[str, str]:
        """What a process needs in its environment to see these GPUs."""
        return {"LD_LIBRARY_PATH": _first(library().parent), "NVML_DOUBLE": str(self.home)}

    def change(self, **facts: Any) -> None:
        """Facts of `State`; the next call of any reader sees them."""
        self.state = replace(self.state, **facts)
        _write(self.home / "state", self.state.text())

    def change_gpu(self, number: int, **facts: Any) -> None:
        """Facts of one `DoubleGpu`."""
        gpus = list(self.state.gpus)
        gpus[number] = replace(gpus[number], **facts)
        self.change(gpus=tuple(gpus))

    def take(self, pid: int, memory: Mapping[str, int]) -> None:
        """A process holds this many bytes on these UUIDs from now on, instead of what it held before."""
        hold(memory, pid, self.home)

    def give_back(self, pid: int) -> None:
        """A process holds nothing any more, though it lives."""
        (self.home / "processes" / str(pid)).unlink(missing_ok=True)

    def lose(self, number: int, xid: int = 79, code: int = GPU_IS_LOST) -> None:
        """The card falls off the bus: an Xid event, and every call for it fails."""
        gpus = list(self.state.gpus)
        gpus[number] = replace(gpus[number], code=code)
        self.change(gpus=tuple(gpus), events=(*self.state.events, (number, XID_EVENT, xid)))

    def xid(self, number: int, xid: int) -> None:
        """The driver reports an error of a card, which goes on answering."""
        self.event(number, XID_EVENT, xid)

    def event(self, number: int, kind: int, data: int = 0) -> None:
        """An event of any kind, for those who wait for it."""
        self.change(events=(*self.state.events, (number, kind, data)))

    def divide(self, number: int, parts: Sequence[Part]) -> None:
        """The card becomes MIG instances."""
        self.change_gpu(number, is_mig=True, parts=tuple(parts))

    def answer(self, function: str, code: int, gpu: int = -1) -> None:
        """What a function of the library returns, for one card or for all. A missing one returns FUNCTION_NOT_FOUND."""
        self.change(answers=(*self.state.answers, (function, gpu, code)))

    def calls(self) -> list[str]:
        """The functions called since `change(counts=True)`, in order, by all processes."""
        path = self.home / "calls"
        return path.read_text().split() if path.exists() else []


def hold(memory: Mapping[str, int], pid: int | None = None, home: Path | None = None) -> None:
    """Say what a process holds, by default this one in the driver of its environment."""
    pid = os.getpid() if pid is None else pid
    home = Path(os.environ["NVML_DOUBLE"]) if home is None else home
    _write(home / "processes" / str(pid), "".join(f"{uuid} {count}\n" for uuid, count in memory.items()))


def pair(gpus: Sequence[DoubleGpu], **facts: Any) -> tuple[Wire, ...]:
    """The same wire between all of them."""
    numbers = range(len(gpus))
    every = [Wire(one, other) for one in numbers for other in numbers if one < other]
    return tuple(replace(wire, **facts) for wire in every)


def without_library(folder: Path) -> dict[str, str]:
    """The environment of a process for which there is no driver library, whatever the machine has."""
    (folder / "libnvidia-ml.so.1").write_text("no library\n")
    return {"LD_LIBRARY_PATH": _first(folder)}


@functools.cache
def library() -> Path:
    """The library, compiled once a machine and version of its source and flags. Several processes may ask at once."""
    source = Path(__file__).with_name("nvml_double.c")
    compiler = shutil.which("cc")
    if compiler is None:
        raise RuntimeError("no C compiler: the README names it among what is needed")
    digest = hashlib.sha256(source.read_bytes() + " ".join(FLAGS).encode()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"spillway-nvml-double-{os.getuid()}-{digest}"
    folder.mkdir(mode=0o700, exist_ok=True)
    made = folder / "libnvidia-ml.so.1"
    if not made.exists():
        new = folder / f"{os.getpid()}.so"
        subprocess.run([compiler, *FLAGS, "-o", new, source], check=True)
        new.replace(made)
    return made


def _first(folder: Path) -> str:
    return os.pathsep.join(filter(None, [str(folder), os.environ.get("LD_LIBRARY_PATH")]))


def _write(path: Path, text: str) -> None:
    # A reader sees the old text or the new, never half. Its name is no pid, so the library passes it by.
    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    new.write_text(text)
    new.replace(path)
