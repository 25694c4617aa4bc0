"""A process of its own that reads the GPUs of a driver of ours when told to: the binding loads a library only once."""

from __future__ import annotations

import base64
import os
import pickle
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from benchmarks.double.nvml_double import DoubleGpu
from engines.gpus.gpu import Gpu, Gpus
from engines.gpus.nvml import GpuDraw

PROGRAM = """
import base64, pickle, sys
from engines.gpus import nvml
reader, meter = nvml.open_reader(), None
for line in sys.stdin:
    if line == "read\\n":
        told = reader.read()
    elif line == "draw\\n":
        meter = meter or nvml.GpuMeter()
        told = meter.read()
    else:
        reader.close()
        if meter:
            meter.close()
            meter.close()
        told = meter.read() if meter else ()
    print(base64.b64encode(pickle.dumps(told)).decode(), flush=True)
"""


class Asked:
    """A process of its own, which answers each line that it is told with a line."""

    def __init__(self, program: str, env: Mapping[str, str], *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", program, *arguments],
            env=os.environ | env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.kill()
        self.end()

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, line: str) -> str:
        """Its answer."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the process died"
        return answer.strip()

    def kill(self) -> None:
        """It dies; nobody waits for it yet."""
        self._process.kill()

    def end(self) -> int:
        """Ask no more, and wait until it has ended. Its exit code."""
        self._process.communicate(timeout=60)
        return self._process.returncode


class Readings(Asked):
    """One session with the driver, open between reads."""

    def __init__(self, env: Mapping[str, str]) -> None:
        super().__init__(PROGRAM, env)

    def read(self) -> Gpus:
        """Everything of all GPUs, now."""
        told = self._told("read")
        assert isinstance(told, Gpus)
        return told

    def draw(self) -> tuple[GpuDraw, ...]:
        """What a meter reads, which is opened at the first call."""
        told = self._told("draw")
        assert isinstance(told, tuple)
        return told

    def close(self) -> tuple[GpuDraw, ...]:
        """End the session and close the meter, twice; what the meter reads after that."""
        told = self._told("close")
        assert isinstance(told, tuple)
        return told

    def _told(self, what: str) -> object:
        told: object = pickle.loads(base64.b64decode(self.ask(what)))
        return told


def read_once(env: Mapping[str, str]) -> Gpus:
    """One read in a process of its own."""
    with Readings(env) as readings:
        return readings.read()


def card(number: int, **facts: Any) -> DoubleGpu:
    """An H100 with UUID, address and NUMA node of its own."""
    made = DoubleGpu(uuid=f"GPU-{number}", pci_address=f"00000000:{0x10 + number:02X}:00.0", numa_node=number // 4)
    return replace(made, **facts)


def cards(count: int, **facts: Any) -> list[DoubleGpu]:
    """Several of the same."""
    return [card(number, **facts) for number in range(count)]


def only(gpus: Gpus) -> Gpu:
    """The one GPU that is seen."""
    (gpu,) = gpus.seen
    return gpu
