"""What the driver reports of its own accord is heard once, and no trouble of a card or a driver ends the listening."""

import ast
import threading
import time
from collections import deque
from collections.abc import Collection
from pathlib import Path

import pytest

from benchmarks.double.nvml_double import FUNCTION_NOT_FOUND, Double
from engines.gpus import events as listening
from engines.gpus.events import GpuEvents
from engines.gpus.faults import DriverError
from engines.gpus.xids import XIDS, XidEvent, closes, words
from tests.gpu_readings import Asked, card, cards
from tests.routers import until

# Says for each line what was heard since the last, and ends though a wait is under way. Quick to listen again.
LISTENS = """
import sys
from engines.gpus import events as listening
listening.AGAIN_S, listening.GAP_S, listening.PART_S = 0.02, 0.02, 0.5
events = listening.GpuEvents()
for line in sys.stdin:
    print([(event.uuid, event.xid, event.kind) for event in events.take()], flush=True)
"""


def _heard(process: Asked) -> list[tuple[str, int | None, str]]:
    told: list[tuple[str, int | None, str]] = ast.literal_eval(process.ask(""))
    return told


def _hears(process: Asked, double: Double, number: int, xid: int) -> None:
    """An Xid of this card is heard, of as many as it takes until somebody listens, and as one of no other card."""
    heard: list[tuple[str, int | None, str]] = []

    def is_heard() -> bool:
        double.xid(number, xid)
        heard.extend(each for each in _heard(process) if each[1] == xid)
        return bool(heard)

    until(is_heard)
    assert set(heard) == {(f"GPU-{number}", xid, "xid")}


def test_an_xid_is_heard_of_its_card(tmp_path: Path) -> None:
    double = Double(tmp_path, cards(2))
    with Asked(LISTENS, double.env) as process:
        _hears(process, double, 0, 13)
        _hears(process, double, 1, 31)
        double.event(1, 0x8000)
        changed = ("GPU-1", None, "the driver changed the recovery action that it asks for")
        until(lambda: changed in _heard(process))
        # The thread that waits does not hold up the end of the process, nor does a driver that does not answer it.
        double.change(slow_ms=600_000, counts=True)
        until(lambda: bool(double.calls()))
        began_s = time.monotonic()
        assert process.end() == 0
        assert time.monotonic() - began_s < 10


def test_a_lost_card_is_left_out_and_the_others_are_heard(tmp_path: Path) -> None:
    double = Double(tmp_path, cards(2))
    with Asked(LISTENS, double.env) as process:
        _hears(process, double, 0, 13)
        double.lose(0)
        until(lambda: ("GPU-0", 79, "xid") in _heard(process))
        _hears(process, double, 1, 31)
        double.change_gpu(0, code=0)
        _hears(process, double, 1, 45)


def test_a_card_that_asks_for_a_reset_is_not_held_until_it_was_reset(tmp_path: Path) -> None:
    double = Double(tmp_path, [card(0), card(1, recovery=1)])
    with Asked(LISTENS, double.env) as process:
        _hears(process, double, 0, 13)
        double.xid(1, 45)
        double.xid(0, 31)
        heard: list[tuple[str, int | None, str]] = []

        def hears_the_other() -> bool:
            heard.extend(_heard(process))
            return ("GPU-0", 31, "xid") in heard

        until(hears_the_other)
        assert not [each for each in heard if each[0] == "GPU-1"]
        double.change_gpu(1, recovery=0)
        _hears(process, double, 1, 43)


def test_the_session_that_listens_has_not_looked_at_a_card_that_asks_for_a_reset(tmp_path: Path) -> None:
    double = Double(tmp_path, [card(0, recovery=1), card(1)])
    double.change(counts=True)
    with Asked(LISTENS, double.env):
        until(lambda: "nvmlEventSetWait_v2" in double.calls())
    calls = double.calls()
    *_, session = " ".join(calls[: calls.index("nvmlEventSetWait_v2")]).split("nvmlInitWithFlags")
    assert session.split().count("nvmlDeviceGetHandleByIndex_v2") == 1
    assert session.split().count("nvmlDeviceRegisterEvents") == 1
    assert calls.count("nvmlShutdown") >= 1


@pytest.mark.parametrize("is_deaf", ["no driver", "cards without events", "an old driver"])
def test_listening_begins_when_there_is_something_to_hear(tmp_path: Path, is_deaf: str) -> None:
    double = Double(tmp_path, [card(0)])
    before = double.state
    if is_deaf == "no driver":
        double.change(init_code=9)
    elif is_deaf == "cards without events":
        double.change_gpu(0, event_kinds=None)
    else:
        double.answer("nvmlEventSetCreate", FUNCTION_NOT_FOUND)
    with Asked(LISTENS, double.env) as process:
        double.xid(0, 13)
        assert _heard(process) == []
        double.state = before
        _hears(process, double, 0, 31)


def test_the_driver_may_be_loaded_anew_meanwhile(tmp_path: Path) -> None:
    double = Double(tmp_path, [card(0)])
    with Asked(LISTENS, double.env) as process:
        _hears(process, double, 0, 13)
        double.change(init_code=9, counts=True)
        until(lambda: _heard(process) == [] and double.calls().count("nvmlInitWithFlags") > 1)
        double.change(init_code=0, counts=False)
        _hears(process, double, 0, 31)


class Told:
    """A listener that tells what it is given, and remembers what it was asked."""

    def __init__(self, *told: XidEvent) -> None:
        self.told = deque(told)
        self.left: list[tuple[str, ...]] = []
        self.closes = 0

    def open(self, leave: Collection[str]) -> bool:
        self.left.append(tuple(leave))
        if not self.told:
            raise DriverError(9, "not loaded")
        return not leave

    def wait(self, limit_s: float) -> XidEvent | None:
        return self.told.popleft() if self.told else None

    def close(self) -> None:
        self.closes += 1


def test_a_card_with_an_error_that_closes_it_is_let_go_of_with_all_that_was_said_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listening, "GAP_S", 0.01)
    now_s = time.monotonic()
    told = [XidEvent("GPU-0", 48, now_s), XidEvent("GPU-0", 154, now_s), XidEvent("GPU-1", 31, now_s)]
    listener, hurried = Told(*told), threading.Semaphore(0)
    events = GpuEvents(listener, hurried.release)
    until(lambda: len(listener.left) > 1)
    assert listener.left[:2] == [(), ("GPU-0",)]
    assert listener.closes >= 1
    assert events.take() == tuple(told)
    assert events.take() == ()
    assert all(hurried.acquire(blocking=False) for _ in told)
    events.close()


def test_every_error_has_words_and_only_those_of_the_hardware_close_a_gpu() -> None:
    assert {xid for xid in XIDS if closes(XidEvent("GPU-0", xid, 0))} == {46, 48, 79, 95, 119, 120}
    assert words(XidEvent("GPU-0", 79, 0)) == "Xid 79 (the GPU fell off the bus)"
    assert words(XidEvent("GPU-0", 9999, 0)) == "Xid 9999 (see the list of Xid errors by NVIDIA)"
    assert not closes(XidEvent("GPU-0", None, 0, "a row of memory was retired"))
    assert words(XidEvent("GPU-0", None, 0, "a row of memory was retired")) == "a row of memory was retired"
