"""Whoever watches the GPUs never waits for the driver, and is told when it does not answer."""

import threading
import time
from pathlib import Path

import pytest

from benchmarks.double.nvml_double import GIB, Double
from engines.gpus.gpu import Gpus
from engines.gpus.watch import GpuWatch, read_once
from tests.gpu_readings import Asked, card
from tests.routers import until

NONE = Gpus((), "none here")
# Watches, says a line for each line of input, and ends though the driver still owes an answer.
WATCHES = """
import sys
from engines.gpus.nvml import open_reader
from engines.gpus.watch import GpuWatch
watch = GpuWatch(open_reader(), every_s=0.01, patience_s=0.2)
for line in sys.stdin:
    reading = watch.latest()
    print([gpu.used_bytes for gpu in reading.gpus.seen], reading.is_stuck, flush=True)
watch.close()
"""


READS_ONCE = """
import sys
from engines.gpus.nvml import open_reader
from engines.gpus.watch import read_once
for line in sys.stdin:
    gpus = read_once(open_reader(), patience_s=float(line))
    print(len(gpus.seen), gpus.why_none, flush=True)
"""


class Reader:
    """Answers when it is let."""

    def __init__(self) -> None:
        self.reads = 0
        self.may = threading.Event()
        self.may.set()
        self.closed = threading.Event()

    def read(self) -> Gpus:
        self.may.wait()
        self.reads += 1
        return NONE

    def close(self) -> None:
        self.closed.set()


def test_the_last_reading_is_there_at_once_and_none_is_older_than_its_beginning() -> None:
    reader = Reader()
    reader.may.clear()
    watch = GpuWatch(reader, every_s=0.001)
    assert watch.latest().gpus.why_none == "the GPUs have not been read yet"
    reader.may.set()
    until(lambda: reader.reads >= 3)
    reading = watch.latest()
    assert reading.gpus == NONE
    assert reading.began_s <= time.monotonic()
    watch.close()


def test_a_reading_can_be_had_before_its_time() -> None:
    reader = Reader()
    watch = GpuWatch(reader, every_s=3600)
    until(lambda: watch.latest().gpus == NONE)
    before_s = time.monotonic()
    watch.hurry()
    until(lambda: watch.latest().began_s >= before_s)
    watch.close()


def test_told_to_let_go_it_holds_no_session_between_reads() -> None:
    reader = Reader()
    watch = GpuWatch(reader, every_s=0.001)
    until(lambda: reader.reads >= 3)
    assert not reader.closed.is_set()
    watch.let_go(True)
    assert reader.closed.wait(timeout=30)
    watch.let_go(False)
    reads = reader.reads
    until(lambda: reader.reads > reads + 1)
    reader.closed.clear()
    reads = reader.reads
    until(lambda: reader.reads > reads + 2)
    assert not reader.closed.is_set()
    watch.close()


def test_closed_it_reads_no_more_and_closes_the_reader() -> None:
    reader = Reader()
    watch = GpuWatch(reader, every_s=3600)
    watch.close()
    assert reader.closed.wait(timeout=30)


def test_a_driver_that_does_not_answer_is_told_of_and_what_it_told_last_stays(tmp_path: Path) -> None:
    double = Double(tmp_path, [card(0, used_bytes=GIB)])
    with Asked(WATCHES, double.env) as watching:
        until(lambda: watching.ask("") == f"[{GIB}] False")
        double.change(slow_ms=3_600_000)
        until(lambda: watching.ask("") == f"[{GIB}] True")
        double.change(slow_ms=0)
        double.change_gpu(0, used_bytes=2 * GIB)
        until(lambda: watching.ask("") == f"[{2 * GIB}] False")
        # A wedged driver keeps nobody from ending.
        double.change(slow_ms=3_600_000)
        until(lambda: watching.ask("").endswith("True"))
        assert watching.end() == 0


def test_one_read_of_a_driver_that_does_not_answer_ends_with_a_reason(tmp_path: Path) -> None:
    double = Double(tmp_path, [card(0)])
    with Asked(READS_ONCE, double.env) as reading:
        assert reading.ask("60") == "1 None"
        double.change(slow_ms=3_600_000)
        assert reading.ask("0.1").startswith("0 the NVIDIA driver has not answered for 0 s: ")
        assert reading.end() == 0


def test_a_mistake_while_reading_reaches_who_asked() -> None:
    class Wrong(Reader):
        def read(self) -> Gpus:
            raise UnicodeError("a name of no letters")

    wrong = Wrong()
    with pytest.raises(UnicodeError, match="no letters"):
        read_once(wrong)
    assert wrong.closed.wait(timeout=30)


def test_stuck_from_the_start_there_is_a_reason_and_a_fault() -> None:
    reader = Reader()
    reader.may.clear()
    watch = GpuWatch(reader, every_s=1, patience_s=0.01)
    until(lambda: watch.latest().is_stuck)
    gpus = watch.latest().gpus
    assert gpus.seen == ()
    assert "the NVIDIA driver has not answered for 0 s" in str(gpus.why_none)
    assert gpus.faults == (gpus.why_none,)
    watch.close()
    reader.may.set()
