"""The plan before, as the next one asks for it: where engines were, and which of them may go on as they are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from engines.home import last_plan
from engines.placement.place import Kept
from engines.placement.steady import Ran
from engines.placement.want import Want
from engines.plan import EnginePlan
from engines.running import living_records, running_engines


def places_before(at: Path) -> tuple[Kept, ...]:
    """Where the engines of the plan before are, or were last."""
    before = last_plan(at)
    engines = before.engines if before else ()
    return tuple(Kept(each.name, each.gpu_uuids, each.shape.tensor_parallel, each.sum.kv_bytes) for each in engines)


def ran_before(at: Path, wants: Sequence[Want]) -> tuple[Ran, ...]:
    """The engines of the plan before, with the same weights and arguments as they are wanted with; none where none of
    them runs, so that nothing is lost if all are placed afresh."""
    before, wanted = last_plan(at), {want.name: want for want in wants}
    if before is None or not running_engines(at, living_records(at)):
        return ()
    return tuple(
        Ran(
            name=each.name,
            gpu_uuids=each.gpu_uuids,
            shape=each.shape,
            utilization=each.gpu_memory_utilization,
            is_alternate=each.is_alternate,
            may_sleep=each.may_sleep,
        )
        for each in before.engines
        if each.gpu_uuids and _is_alike(each, wanted.get(each.model))
    )


def _is_alike(before: EnginePlan, want: Want | None) -> bool:
    if want is None:
        return False
    return (before.revision, before.extra_args) == (want.model.identity(), want.extra_args)
