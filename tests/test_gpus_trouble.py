"""Which GPUs may be used is judged from what the driver tells; a judgement rises at once, falls slowly, never flaps."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from engines.gpus.gpu import Gpu, GpuProcess, Gpus, Health, Lost
from engines.gpus.trouble import HOLD_S, XID_REST_S, Trouble, expected, judged, weight
from engines.gpus.views import Strangers, strangers_of, views_of
from engines.gpus.watch import NOT_YET, Reading
from engines.gpus.xids import XidEvent
from engines.snapshot import GpuState

GIB = 2**30
OK, SLOWED, DRAINING, QUARANTINED = GpuState
HOT = ("hardware thermal",)


def _gpu(uuid: str = "GPU-0", **health: Any) -> Gpu:
    return Gpu(uuid, "H100", 80 * GIB, 20 * GIB, 60 * GIB, health=replace(Health(recovery="none"), **health))


@dataclass
class Course:
    """What becomes of the judgement, second by second."""

    now_s: float = 1000.0
    troubles: Mapping[str, Trouble] = field(default_factory=dict)

    def tell(self, *seen: Gpu, lost: tuple[Lost, ...] = (), **facts: Any) -> Trouble:
        """One judgement a second later; that of GPU-0."""
        gpus = Gpus(seen, None if seen else "none", lost=lost)
        return self.judge(Reading(gpus, self.now_s), **facts)

    def judge(self, reading: Reading, xids: tuple[int, ...] = (), unreturned: str = "", uuid: str = "GPU-0") -> Trouble:
        self.now_s += 1
        events = [XidEvent(uuid, xid, self.now_s) for xid in xids]
        keeping = {"GPU-0": unreturned} if unreturned else {}
        self.troubles = judged(self.troubles, reading, events, keeping, self.now_s)
        return self.troubles["GPU-0"]

    def states(self, seconds: float, *seen: Gpu, **facts: Any) -> set[GpuState]:
        return {self.tell(*seen, **facts).state for _ in range(round(seconds))}


def _lost(why: str = "has fallen off the bus: power-cycle the machine") -> tuple[Lost, ...]:
    return (Lost(_gpu(), why),)


def test_a_sound_gpu_is_ok_since_it_was_seen_first() -> None:
    course = Course()
    assert course.tell(_gpu()) == Trouble(OK, "", 1001, _gpu(), 1001)
    assert course.tell(_gpu()).since_s == 1001


def test_a_lost_gpu_is_closed_until_it_has_answered_for_a_while() -> None:
    course = Course()
    course.tell(_gpu())
    found = course.tell(lost=_lost())
    assert (found.state, found.since_s) == (QUARANTINED, 1002)
    assert found.why == "has fallen off the bus: power-cycle the machine"
    assert found.gpu == _gpu()
    assert course.states(5, _gpu()) == {QUARANTINED}
    assert course.tell(lost=_lost()).since_s == 1002
    assert course.states(HOLD_S - 1, _gpu()) == {QUARANTINED}
    assert course.tell(_gpu()) == Trouble(OK, "", course.now_s, _gpu(), course.now_s)


def test_a_lost_gpu_is_told_with_the_error_that_came_before() -> None:
    course = Course()
    course.tell(_gpu())
    found = course.tell(lost=_lost(), xids=(79,))
    assert found.why == "has fallen off the bus: power-cycle the machine (it had Xid 79 (the GPU fell off the bus))"
    # Its return is a reset: nothing is left of the error.
    assert course.states(HOLD_S - 1, _gpu()) == {QUARANTINED}
    assert (course.tell(_gpu()).state, course.troubles["GPU-0"].mark) == (OK, None)


def test_a_gpu_of_the_plan_that_the_driver_does_not_show_is_closed() -> None:
    course = Course(troubles=expected(["GPU-0"], 1000))
    assert course.judge(Reading(NOT_YET, 1000)).state is OK
    found = course.tell(_gpu("GPU-1"))
    assert (found.state, found.gpu) == (QUARANTINED, None)
    assert "is not there" in found.why
    assert course.troubles["GPU-1"].state is OK


@pytest.mark.parametrize("xid", [48, 79, 95, 119, 120])
def test_an_error_of_the_hardware_closes_its_gpu_alone(xid: int) -> None:
    course = Course()
    course.tell(_gpu(), _gpu("GPU-1"))
    found = course.tell(_gpu(), _gpu("GPU-1"), xids=(31, xid, 154))
    assert found.state is QUARANTINED
    assert f"had Xid {xid} (" in found.why
    assert "nvidia-smi --gpu-reset -i GPU-0" in found.why
    assert course.troubles["GPU-1"].state is OK


@pytest.mark.parametrize("xid", [13, 31, 43, 45, 63, 64, 74, 92, 94, 154, 999])
def test_an_error_of_a_program_closes_nothing(xid: int) -> None:
    course = Course()
    assert course.tell(_gpu(), xids=(xid,)).state is OK


def test_after_an_error_a_gpu_whose_driver_asks_for_nothing_is_used_again_when_it_has_rested() -> None:
    course = Course()
    found = course.tell(_gpu(), xids=(119,))
    assert "without one it is used again 10 min after its last error" in found.why
    assert course.states(XID_REST_S / 2, _gpu()) == {QUARANTINED}
    # Another one, and its rest begins anew.
    found = course.tell(_gpu(), xids=(119,))
    assert "without one it is used again 10 min after its last error" in found.why
    assert course.states(XID_REST_S + HOLD_S - 2, _gpu()) == {QUARANTINED}
    assert course.states(4, _gpu()) >= {OK}


def test_a_driver_that_tells_no_action_gives_no_gpu_back_but_for_a_reset() -> None:
    course = Course()
    found = course.tell(_gpu(recovery=None), xids=(48,))
    assert "and it is used again; `spillway down`" in found.why
    assert course.states(2 * XID_REST_S, _gpu(recovery=None)) == {QUARANTINED}
    course.tell(lost=_lost("must be reset"))
    assert course.states(HOLD_S - 1, _gpu(recovery=None)) == {QUARANTINED}
    assert course.tell(_gpu(recovery=None)).state is OK


def test_the_action_that_the_driver_asks_for_goes_before_what_we_know_of_an_error() -> None:
    course = Course()
    course.tell(_gpu(), xids=(95,))
    found = course.tell(_gpu(recovery="gpu reset"))
    assert found.state is QUARANTINED
    assert found.why == "asks for a reset: stop what runs on it, then `nvidia-smi --gpu-reset -i GPU-0`"
    # It was reset: the action is gone, and the error with it.
    course.states(HOLD_S - 1, _gpu())
    assert course.tell(_gpu()).state is OK


def test_a_count_of_errors_that_begins_anew_tells_of_a_reset() -> None:
    course = Course()
    course.tell(_gpu(recovery=None, uncorrected_ecc_errors=2), xids=(48,))
    assert course.states(XID_REST_S, _gpu(recovery=None, uncorrected_ecc_errors=2)) == {QUARANTINED}
    assert OK in course.states(HOLD_S + 1, _gpu(recovery=None, uncorrected_ecc_errors=0))


@pytest.mark.parametrize(
    ("action", "state"),
    [
        ("gpu reset", QUARANTINED),
        ("bus reset", QUARANTINED),
        ("node reboot", QUARANTINED),
        ("system reboot", QUARANTINED),
        ("drain p2p", DRAINING),
        ("drain and reset", DRAINING),
        ("recover imex domain", DRAINING),
        ("action 12", DRAINING),
    ],
)
def test_every_action_of_the_driver_is_followed(action: str, state: GpuState) -> None:
    course = Course()
    found = course.tell(_gpu(recovery=action))
    assert found.state is state
    assert found.why


def test_a_row_that_cannot_be_replaced_closes_the_gpu_and_one_that_waits_for_it_does_not() -> None:
    course = Course()
    assert course.tell(_gpu(remap_pending=True)).state is OK
    found = course.tell(_gpu(remap_failed=True))
    assert (found.state, "have the card replaced" in found.why) == (QUARANTINED, True)


def test_memory_that_is_not_given_back_closes_the_gpu_until_it_is() -> None:
    course = Course()
    found = course.tell(_gpu(), unreturned="keeps 12.0 GiB of memory that no process holds: reset it")
    assert (found.state, found.why) == (QUARANTINED, "keeps 12.0 GiB of memory that no process holds: reset it")
    assert course.states(HOLD_S - 1, _gpu()) == {QUARANTINED}
    assert course.tell(_gpu()).state is OK


def test_throttling_slows_a_gpu_after_a_while_and_no_sooner() -> None:
    course = Course()
    course.tell(_gpu())
    assert course.states(HOLD_S, _gpu(throttles=HOT)) == {OK}
    found = course.tell(_gpu(throttles=HOT))
    assert (found.state, found.why) == (SLOWED, "is slowed down (hardware thermal): look at its cooling and its power")
    assert (weight(course.troubles, ["GPU-0"]), weight(course.troubles, ["GPU-9"])) == (0.5, 1.0)
    assert course.states(HOLD_S - 1, _gpu()) == {SLOWED}
    assert course.tell(_gpu()).state is OK
    assert weight(course.troubles, ["GPU-0"]) == 1.0


def test_throttling_that_comes_and_goes_is_throttling_and_does_not_flap() -> None:
    course = Course()
    told = [course.tell(_gpu(throttles=HOT if second % 5 == 0 else ())).state for second in range(60)]
    assert told == [OK] * told.count(OK) + [SLOWED] * told.count(SLOWED)
    assert told.count(SLOWED) > 40


def test_one_moment_of_throttling_now_and_then_is_nothing() -> None:
    course = Course()
    assert {course.tell(_gpu(throttles=HOT if second % 15 == 0 else ())).state for second in range(90)} == {OK}


@pytest.mark.parametrize("is_stuck", [True, False])
def test_a_driver_that_tells_nothing_lets_run_what_runs_and_opens_nothing(is_stuck: bool) -> None:
    course = Course()
    course.tell(_gpu(), _gpu("GPU-1", recovery="gpu reset"))
    words = "the NVIDIA driver has not answered for 31 s"
    gpus = Gpus((_gpu(),), None, faults=(words,)) if is_stuck else Gpus((), words, is_down=True)
    found = course.judge(Reading(gpus, course.now_s, is_stuck))
    assert (found.state, found.why) == (DRAINING, f"is not known of: {words}")
    assert course.troubles["GPU-1"].state is QUARANTINED
    for _ in range(30):
        course.judge(Reading(gpus, course.now_s, is_stuck))
    assert course.troubles["GPU-1"].state is QUARANTINED
    assert course.states(HOLD_S - 1, _gpu(), _gpu("GPU-1")) == {DRAINING}
    assert course.tell(_gpu(), _gpu("GPU-1")).state is OK


def test_an_error_of_a_card_is_one_of_its_instances_too() -> None:
    course = Course()
    part = replace(_gpu("MIG-0"), parent_uuid="GPU-0")
    course.troubles = judged({}, Reading(Gpus((part,), None), 1000), [XidEvent("GPU-0", 48, 1000)], {}, 1000)
    assert course.troubles["MIG-0"].state is QUARANTINED
    assert "--gpu-reset -i GPU-0" in course.troubles["MIG-0"].why


def test_views_have_what_was_told_when_and_those_that_are_gone() -> None:
    gpu = _gpu(temperature_c=71, power_w=300.5)
    course = Course()
    course.tell(gpu, _gpu("GPU-1"))
    course.tell(gpu, lost=(Lost(_gpu("GPU-1"), "has fallen off the bus"),))
    reading = Reading(Gpus((gpu,), None), 1000.0)
    foreign = {"GPU-0": Strangers(3 * GIB, "others hold 3.0 GiB of it")}
    here, gone = views_of(reading, course.troubles, foreign, 1004.0)
    assert (here.uuid, here.state, here.in_state_s, here.age_s) == ("GPU-0", OK, 3.0, 4.0)
    assert (here.temperature_c, here.power_w, here.foreign_bytes) == (71, 300.5, 3 * GIB)
    assert here.why == "others hold 3.0 GiB of it"
    assert (gone.uuid, gone.name, gone.state, gone.why) == ("GPU-1", "H100", QUARANTINED, "has fallen off the bus")
    assert (gone.free_bytes, gone.total_bytes, gone.foreign_bytes) == (0, 80 * GIB, None)


def _held(*processes: GpuProcess, used_bytes: int = 20 * GIB) -> Strangers:
    gpu = replace(_gpu(), used_bytes=used_bytes, processes=processes)
    names = {7: "python3", 8: "Xorg"}
    return strangers_of([gpu], {1, 2}, {"GPU-0": 8 * GIB}, names.get)["GPU-0"]


def test_strangers_are_named_with_what_they_hold() -> None:
    ours, theirs = GpuProcess(1, 8 * GIB), [GpuProcess(7, 9 * GIB), GpuProcess(8, 2 * GIB), GpuProcess(9, None)]
    told = _held(ours, *theirs)
    assert told.held_bytes == 12 * GIB
    assert told.words == ("others hold 12.0 GiB of it: python3 (pid 7) 9.0 GiB, Xorg (pid 8) 2.0 GiB, process (pid 9)")
    many = _held(ours, *theirs, GpuProcess(10, None), GpuProcess(11, None))
    assert many.words.endswith("process (pid 9), 2 more")


def test_a_gpu_on_which_nothing_of_ours_runs_yet_may_be_full_of_others() -> None:
    both = [
        replace(_gpu(), processes=(GpuProcess(1, 20 * GIB),)),
        replace(_gpu("GPU-1"), processes=(GpuProcess(7, 20 * GIB),)),
    ]
    told = strangers_of(both, {1}, {"GPU-0": 20 * GIB, "GPU-1": 20 * GIB}, {7: "python3"}.get)
    assert told == {
        "GPU-0": Strangers(0, ""),
        "GPU-1": Strangers(20 * GIB, "others hold 20.0 GiB of it: python3 (pid 7) 20.0 GiB"),
    }
    # None of ours is listed anywhere, but all that are have names here.
    (alone,) = strangers_of(both[1:], {1}, {"GPU-1": 20 * GIB}, {7: "python3"}.get).values()
    assert alone.held_bytes == 20 * GIB


def test_where_the_driver_does_not_tell_what_ours_hold_the_plan_does() -> None:
    assert _held(GpuProcess(1, None), GpuProcess(7, None)).held_bytes == 12 * GIB


def test_where_the_driver_knows_our_processes_by_other_pids_the_plan_says_what_is_ours() -> None:
    # In a container: nothing listed is known to be ours, and nobody is accused.
    assert _held(GpuProcess(4711, 8 * GIB)) == Strangers(12 * GIB, "others hold 12.0 GiB of it")
    assert _held(GpuProcess(4711, 8 * GIB), used_bytes=5 * GIB) == Strangers(0, "")
