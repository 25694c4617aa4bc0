"""What it all comes to, in plain sentences. Pure: outcomes in, words out."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.cases.fault import Break, Fault
from benchmarks.cases.outcome import Outcome
from benchmarks.cases.phase import Phase
from benchmarks.report.quantity import dollars, seconds, share
from benchmarks.report.verdict import spoken

READY = ": ready"
LOCAL = "local/"


def of_ways(local: Outcome, cloud: Outcome, hybrid: Outcome) -> list[str]:
    """Three ways, compared."""
    got = [f"{share(each.kept_share)} ({each.name})" for each in (hybrid, local, cloud)]
    said = [f"Got what was promised: {got[0]} against {got[1]} and {got[2]}."]
    for each in (local, cloud, hybrid):
        said.append(f"{each.name.capitalize()}: {_standing(each)}.")
    said.append(f"The hybrid answered {share(hybrid.cloud_share)} in the cloud{_mostly(hybrid)}.")
    if hybrid.usd is not None and cloud.usd:
        said.append(
            f"It spent {dollars(hybrid.usd)} there, {share(hybrid.usd / cloud.usd)} of the {dollars(cloud.usd)} "
            "that all cloud cost."
        )
    return said


def of_phases(
    phases: Sequence[Phase], outcomes: Sequence[Outcome], faults: Sequence[Fault], events: Sequence[tuple[float, str]]
) -> list[str]:
    """Phase by phase, and how long it took until a killed engine served again."""
    said = []
    for phase, outcome in zip(phases, outcomes, strict=True):
        what = f"{phase.name}, {phase.from_s:.1f}-{phase.to_s:.1f} s"
        if not outcome.requests:
            said.append(f"{what}: nothing was due.")
            continue
        got = share(outcome.kept_share)
        said.append(f"{what}: {got} of {outcome.requests} got what was promised; {_standing(outcome)}.")
    return said + [_back(fault, events) for fault in faults if fault.what is Break.KILL_ENGINE]


def _standing(outcome: Outcome) -> str:
    return f"broken, {'; '.join(map(spoken, outcome.broken))}" if outcome.broken else "kept"


def back_after_s(at_s: float, events: Sequence[tuple[float, str]]) -> float | None:
    """Seconds from a fault until a local target was seen to be ready again; None if it never was."""
    later = [(when_s, text) for when_s, text in events if when_s >= at_s and text.startswith(LOCAL)]
    ready_s = [when_s for when_s, text in later if text.endswith(READY)]
    return ready_s[0] - at_s if ready_s else None


def _back(fault: Fault, events: Sequence[tuple[float, str]]) -> str:
    after_s = back_after_s(fault.at_s, events)
    if after_s is None:
        return f"The engine killed at {fault.at_s:g} s was not seen ready again while the load ran."
    return f"The engine killed at {fault.at_s:g} s was ready again after {seconds(after_s)}."


def _mostly(outcome: Outcome) -> str:
    away = {name: count for name, count in outcome.reasons.items() if name.startswith(("spill", "fallback"))}
    if not away:
        return ""
    name = max(away, key=lambda each: away[each])
    return f" (mostly spilled: {name}, {away[name]} of {outcome.requests} requests)"
