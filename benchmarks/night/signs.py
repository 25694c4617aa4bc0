"""How a Snapshot shows that something was noticed, or that all is well again. Pure: two Snapshots in, yes or no out.

The first is from before the fault, the second is the one that is judged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from engines.snapshot import EngineState, EngineView, GpuState, Snapshot

Sign = Callable[[Snapshot, Snapshot], bool]


def by_name(snapshot: Snapshot) -> Mapping[str, EngineView]:
    """Its engines."""
    return {view.name: view for view in snapshot.engines}


def disturbed(before: Snapshot, now: Snapshot) -> bool:
    """An engine that was ready is not, or is another process."""
    then = by_name(before)
    return any(is_disturbed(then[name], view) for name, view in by_name(now).items() if name in then)


def is_disturbed(before: EngineView, now: EngineView) -> bool:
    """Of one engine."""
    return (now.state is not EngineState.READY) or now.restarts > before.restarts or now.pid != before.pid


def as_before(before: Snapshot, now: Snapshot) -> bool:
    """The same engines, all ready, none under another name, and no change under way."""
    return by_name(now).keys() == by_name(before).keys() and all_ready(before, now)


def all_ready(_: Snapshot, now: Snapshot) -> bool:
    """Whatever engines there are serve, and nothing is under way."""
    return bool(now.engines) and not now.busy and all(view.state is EngineState.READY for view in now.engines)


def never(_: Snapshot, __: Snapshot) -> bool:
    """What must not be noticed at all."""
    return False


def another_supervisor(before: Snapshot, now: Snapshot) -> bool:
    """The one from before is gone, and there is another."""
    return now.supervisor_pid != before.supervisor_pid


def ready(*names: str) -> Sign:
    """Exactly these engines, and all serve."""
    return lambda before, now: by_name(now).keys() == set(names) and all_ready(before, now)


def restarted(before: Snapshot, now: Snapshot) -> bool:
    """Another process of the same engine serves."""
    then = by_name(before)
    return as_before(before, now) and any(view.pid != then[view.name].pid for view in now.engines)


def changing(_: Snapshot, now: Snapshot) -> bool:
    """A change is under way: one engine comes beside another, or makes room for it."""
    return bool(now.busy) or any(view.state is EngineState.DRAINING or "~" in view.name for view in now.engines)


def has(name: str) -> Sign:
    """There is an engine of this name, in whatever state."""
    return lambda _, now: name in by_name(now)


def elsewhere(before: Snapshot, now: Snapshot) -> bool:
    """Every engine is there, and none is on the device where it was."""
    then, views = by_name(before), by_name(now)
    return views.keys() == then.keys() and all(view.device != then[name].device for name, view in views.items())


def gpu_trouble(_: Snapshot, now: Snapshot) -> bool:
    """A GPU is not as it should be."""
    return any(gpu.state is not GpuState.OK for gpu in now.gpus)


def gpus_well(_: Snapshot, now: Snapshot) -> bool:
    """All GPUs are as they should be."""
    return all(gpu.state is GpuState.OK for gpu in now.gpus)


def both(one: Sign, other: Sign) -> Sign:
    """One and the other."""
    return lambda before, now: one(before, now) and other(before, now)
