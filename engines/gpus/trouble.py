"""Which GPUs are in trouble, judged from readings of the driver, its events, and memory that is not given back.

Pure, with the clock passed in: what was judged before and what is told now in, what is judged now out. The first rule
that applies decides. A state rises at once and falls only after HOLD_S in which nothing asked for it, so that it never
flaps; every `why` says what an operator has to do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from engines.gpus import xids
from engines.gpus.gpu import Gpu, Lost
from engines.gpus.watch import NOT_YET, Reading
from engines.gpus.xids import XidEvent
from engines.snapshot import GpuState

# For so long nothing may ask for a state before it is left; and for so long a GPU is throttled before it is slowed.
HOLD_S = 10.0
# After an error that a program may have caused, a GPU whose driver asks for nothing is used again.
XID_REST_S = 600.0
SLOWED_WEIGHT = 0.5
_NONE = (None, "none")
_WORST = (GpuState.OK, GpuState.SLOWED, GpuState.DRAINING, GpuState.QUARANTINED)

# What the driver asks for (nvml.h, nvmlDeviceGpuRecoveryAction_t; NVIDIA, "GPU Debug Guidelines", recovery actions).
# With the draining ones, what runs may finish.
_ACTIONS = {
    "gpu reset": (
        GpuState.QUARANTINED,
        "asks for a reset: stop what runs on it, then `nvidia-smi --gpu-reset -i {uuid}`",
    ),
    "bus reset": (GpuState.QUARANTINED, "asks for a reset of its bus: reset it there, or reboot the machine"),
    "node reboot": (GpuState.QUARANTINED, "asks for a reboot: reboot the machine"),
    "system reboot": (GpuState.QUARANTINED, "asks for a reboot: reboot the machine"),
    "drain p2p": (GpuState.DRAINING, "asks to end what talks between GPUs: it takes nothing new until that has ended"),
    "drain and reset": (
        GpuState.DRAINING,
        "runs with less than it has: when its work is done, `nvidia-smi --gpu-reset -i {uuid}`",
    ),
    "recover imex domain": (GpuState.DRAINING, "asks to recover its IMEX domain: see the service nvidia-imex"),
}


@dataclass(frozen=True, slots=True)
class Mark:
    """The last error that closed a GPU. `ecc_errors`: the most that were counted since; `was_down`: since then it did
    not answer, or its driver asked for something."""

    event: XidEvent
    ecc_errors: int = 0
    was_down: bool = False


@dataclass(frozen=True, slots=True)
class Trouble:
    """How one GPU is judged, since when (monotonic), and why in words that begin with a verb.

    The rest is what the next judgement goes by: the GPU as it was seen last, when its state was last asked for, the
    first and the last sight of the throttling that goes on, and the error that closed it.
    """

    state: GpuState = GpuState.OK
    why: str = ""
    since_s: float = 0.0
    gpu: Gpu | None = None
    asked_s: float = 0.0
    throttled_s: tuple[float, float] | None = None
    mark: Mark | None = None


@dataclass(frozen=True, slots=True)
class _Case:
    """One GPU now. `before` has the throttling and the mark of now already. `gpu` is None where it is not seen, for the
    reason `away`; `down` says why the driver as a whole tells nothing."""

    uuid: str
    gpu: Gpu | None
    away: str
    down: str
    unreturned: str
    before: Trouble
    now_s: float


_Found = tuple[GpuState, str]


def judged(
    before: Mapping[str, Trouble],
    reading: Reading,
    events: Sequence[XidEvent],
    unreturned: Mapping[str, str],
    now_s: float,
) -> Mapping[str, Trouble]:
    """Every GPU that is seen or was judged before, by UUID. `events` are those since the last judgement; `unreturned`
    says of GPUs whose memory does not come back after the end of ours what is known of it."""
    if reading.gpus is NOT_YET:
        return before
    seen = {gpu.uuid: gpu for gpu in reading.gpus.seen}
    lost = {each.gpu.uuid: each for each in reading.gpus.lost}
    down = _down(reading)
    found = {}
    for uuid in dict.fromkeys([*before, *seen, *lost]):
        past = before.get(uuid) or Trouble(since_s=now_s, asked_s=now_s)
        gpu, away = seen.get(uuid), _away(lost.get(uuid))
        last = gpu or past.gpu or (lost[uuid].gpu if uuid in lost else None)
        past = replace(past, gpu=last, throttled_s=_throttled(gpu, past, now_s))
        past = replace(past, mark=_marked(past, gpu, _own(events, uuid, last), down, now_s))
        found[uuid] = _stepped(_Case(uuid, gpu, away, down, unreturned.get(uuid, ""), past, now_s))
    return found


def expected(uuids: Sequence[str], now_s: float) -> Mapping[str, Trouble]:
    """To begin with: GPUs of a plan are judged even if the driver never shows them."""
    return {uuid: Trouble(since_s=now_s, asked_s=now_s) for uuid in uuids}


def weight(troubles: Mapping[str, Trouble], uuids: Sequence[str]) -> float:
    """What an engine on these GPUs is worth beside its like: one slow GPU slows them all."""
    states = [troubles[uuid].state for uuid in uuids if uuid in troubles]
    return SLOWED_WEIGHT if GpuState.SLOWED in states else 1.0


def _down(reading: Reading) -> str:
    if reading.is_stuck:
        return reading.gpus.faults[-1]
    return (reading.gpus.why_none or "") if reading.gpus.is_down else ""


def _away(lost: Lost | None) -> str:
    return (
        lost.why if lost else "is not there any more: look for it with `nvidia-smi -L`; `spillway plan` shows the rest"
    )


def _own(events: Sequence[XidEvent], uuid: str, gpu: Gpu | None) -> Sequence[XidEvent]:
    """Those of this GPU; an error of a card is one of all its MIG instances."""
    names = (uuid, gpu.parent_uuid if gpu else None)
    return [event for event in events if event.uuid in names]


def _throttled(gpu: Gpu | None, past: Trouble, now_s: float) -> tuple[float, float] | None:
    """The first and the last sight of throttling without a gap of HOLD_S."""
    if gpu and gpu.health.throttles:
        return (past.throttled_s[0] if past.throttled_s else now_s, now_s)
    return past.throttled_s if past.throttled_s and now_s - past.throttled_s[1] < HOLD_S else None


def _marked(past: Trouble, gpu: Gpu | None, events: Sequence[XidEvent], down: str, now_s: float) -> Mark | None:
    """The error that closes the GPU, until it was reset or has rested.

    It was reset when it answers and asks for nothing after it was away or asked for something, or when its count of ECC
    errors, which runs from the last reset, has become less (nvml.h, NVML_VOLATILE_ECC).
    """
    closing = [event for event in events if xids.closes(event)]
    mark = Mark(closing[-1]) if closing else past.mark
    if mark is None:
        return None
    if gpu is None or down or gpu.health.recovery not in _NONE:
        return mark if down else replace(mark, was_down=True)
    errors = gpu.health.uncorrected_ecc_errors or 0
    has_rested = gpu.health.recovery == "none" and now_s - mark.event.at_s >= XID_REST_S
    if has_rested or mark.was_down or errors < mark.ecc_errors:
        return None
    return replace(mark, ecc_errors=errors)


def _stepped(case: _Case) -> Trouble:
    before, now_s = case.before, case.now_s
    state, why = next((found for rule in _RULES if (found := rule(case))), (GpuState.OK, ""))
    if _WORST.index(state) >= _WORST.index(before.state):
        since_s = before.since_s if state is before.state else now_s
        return replace(before, state=state, why=why, since_s=since_s, asked_s=now_s)
    if now_s - before.asked_s < HOLD_S:
        return before
    return replace(before, state=state, why=why, since_s=now_s, asked_s=now_s)


def _is_away(case: _Case) -> _Found | None:
    if case.gpu is not None or case.down:
        return None
    mark = case.before.mark
    return GpuState.QUARANTINED, f"{case.away} (it had {xids.words(mark.event)})" if mark else case.away


def _has_driver_down(case: _Case) -> _Found | None:
    """Nothing is known. What runs may run on; what was closed stays closed."""
    if not case.down:
        return None
    was_closed = case.before.state is GpuState.QUARANTINED
    return (
        (GpuState.QUARANTINED, case.before.why) if was_closed else (GpuState.DRAINING, f"is not known of: {case.down}")
    )


def _has_action(case: _Case) -> _Found | None:
    action = case.gpu.health.recovery if case.gpu else None
    if action in _NONE:
        return None
    unknown = (GpuState.DRAINING, f"asks for {action!r}, which is newer than this table: see `nvidia-smi -q`")
    state, why = _ACTIONS.get(action, unknown)
    return state, why.format(uuid=_card(case))


def _has_bad_row(case: _Case) -> _Found | None:
    if case.gpu is None or not case.gpu.health.remap_failed:
        return None
    return GpuState.QUARANTINED, "has a faulty row of memory that could not be replaced: have the card replaced"


def _has_mark(case: _Case) -> _Found | None:
    mark = case.before.mark
    if mark is None:
        return None
    tells = case.gpu is not None and case.gpu.health.recovery is not None
    rest = f"; without one it is used again {XID_REST_S / 60:.0f} min after its last error" if tells else ""
    way = f"reset it with `nvidia-smi --gpu-reset -i {_card(case)}`, and it is used again{rest}"
    return GpuState.QUARANTINED, f"had {xids.words(mark.event)}: {way}; `spillway down` and `up` use it at once"


def _keeps_memory(case: _Case) -> _Found | None:
    return (GpuState.QUARANTINED, case.unreturned) if case.unreturned else None


def _is_throttled(case: _Case) -> _Found | None:
    sights = case.before.throttled_s
    if case.gpu is None or sights is None or sights[1] - sights[0] < HOLD_S:
        return None
    words = ", ".join(case.gpu.health.throttles or ())
    if not words:
        return None
    return GpuState.SLOWED, f"is slowed down ({words}): look at its cooling and its power"


def _card(case: _Case) -> str:
    """What can be reset: the whole card."""
    gpu = case.before.gpu
    return gpu.parent_uuid or case.uuid if gpu else case.uuid


# The first that applies decides. What the driver asks for goes before what we know of Xids.
_RULES: tuple[Callable[[_Case], _Found | None], ...] = (
    _has_driver_down,
    _is_away,
    _keeps_memory,
    _has_bad_row,
    _has_action,
    _has_mark,
    _is_throttled,
)
