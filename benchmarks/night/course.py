"""What the supervisor said over time, in words: each change of an engine, a GPU, or of the supervisor. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from benchmarks.night.witness import Sight
from engines.snapshot import Snapshot

SHOWN_CHARS = 160


def course(sights: Iterable[Sight], struck_s: float) -> tuple[str, ...]:
    """Seconds after the fault, and what is different from the Snapshot before."""
    words, before = list[str](), dict[str, str]()
    for sight in sights:
        now = _said(sight.snapshot)
        words += [f"{sight.at_s - struck_s:+.2f} s {line}" for line in _news(before, now)]
        before = now
    return tuple(words)


def _said(snapshot: Snapshot) -> dict[str, str]:
    said = {"supervisor": str(snapshot.supervisor_pid), "busy": snapshot.busy, "refused": snapshot.refused}
    for view in snapshot.engines:
        error = f", {view.last_error[:SHOWN_CHARS]}" if view.last_error else ""
        said[view.name] = f"{view.state}, pid {view.pid}, restart {view.restarts}{error}"
    for gpu in snapshot.gpus:
        said[gpu.uuid] = f"{gpu.state} {gpu.why}"
    return said


def _news(before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    for name in before.keys() | now.keys():
        if before.get(name, "") != now.get(name, ""):
            yield f"{name}: {now.get(name, 'gone') or '-'}"
