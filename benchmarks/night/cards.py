"""Faults of GPUs, by the double of NVIDIA's driver: memory that is not given back, a lost card, a hot one, a clock."""

from __future__ import annotations

from benchmarks.night.case import Aims, Case
from benchmarks.night.deaths import DEATH, kill_server
from benchmarks.night.night import Night
from benchmarks.night.scenery import MODEL, Engines, Scenery
from benchmarks.night.signs import all_ready, as_before, both, disturbed, elsewhere, gpu_trouble, gpus_well
from benchmarks.night.stage import StageError
from engines.snapshot import EngineState

TWO = Scenery(Engines.GPUS)
RELEASE_S = 4.0
QUARANTINED_S = 60.0
HW_THERMAL = 0x40
IDLE = 1


async def release_slowly(night: Night) -> None:
    """What the engine held is free only a while after its end: nothing may start there before."""
    double = night.stage.double
    assert double is not None
    double.change(linger=True)
    await kill_server(night)
    await night.sleep(RELEASE_S)
    view = night.view()
    is_early = view.state is EngineState.READY and view.device == night.witness.sights[0].snapshot.engines[0].device
    double.change(linger=False)
    if is_early:
        raise StageError(f"{view.name} was started on memory that was not free")


async def orphan_memory(night: Night) -> None:
    """What the engine held is never given back: its GPU is of no use any more."""
    double = night.stage.double
    assert double is not None
    night.afterwards.callback(lambda: double.change(linger=False))
    double.change(linger=True)
    await kill_server(night)


async def lose_card(night: Night) -> None:
    """The card falls off the bus: Xid 79, and every call for it fails."""
    double = night.stage.double
    assert double is not None
    night.mark()
    double.lose(_card(night))


async def heat_card(night: Night) -> None:
    """The card slows itself down because it is hot, and cools down again when that has been seen."""
    double, card = night.stage.double, _card(night)
    assert double is not None
    night.mark()
    double.change_gpu(card, clock_reasons=HW_THERMAL)
    try:
        await night.until(lambda now: gpu_trouble(now, now), QUARANTINED_S, "the supervisor sees a slow GPU")
    finally:
        double.change_gpu(card, clock_reasons=IDLE)


def _card(night: Night) -> int:
    """The number of the card on which the engine runs. Raises ValueError for one that runs on none of ours."""
    assert night.stage.double is not None
    return [gpu.uuid for gpu in night.stage.double.state.gpus].index(night.view().device)


CASES = (
    Case(
        "gpu-throttled", "its GPU slows down for heat, then cools", heat_card,
        Aims(found_s=20.0, back_s=60.0, keeps_streams=True, keeps=(MODEL,)), TWO, gpu_trouble,
        both(gpus_well, as_before),
    ),
    Case(
        "slow-gpu-release", f"killed; its GPU memory is free {RELEASE_S:g} s later", release_slowly, DEATH, TWO,
        disturbed, as_before,
    ),
    Case(
        "orphaned-gpu-memory", "killed; its GPU memory is never given back", orphan_memory,
        Aims(found_s=2.0, away_s=1.0, back_s=90.0), TWO, disturbed, both(elsewhere, all_ready), spoils=True,
    ),
    Case(
        "xid-79", "its GPU falls off the bus", lose_card, Aims(found_s=5.0, back_s=60.0), TWO, gpu_trouble,
        both(elsewhere, all_ready), spoils=True,
    ),
)  # fmt: skip
