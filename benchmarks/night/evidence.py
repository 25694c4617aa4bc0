"""What one trial brought to light. Values only; `judgement` says what it means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.night.visit import Visit


@dataclass(frozen=True, slots=True)
class Evidence:
    """Times in seconds after the fault, None: it did not happen. `back_s`: the supervisor shows the plan fulfilled and
    the engine at home has answered a request that came after that.

    `unanswered` requests had no end when all was over. `changed`: engines that are not the process from before.
    `restless`: what moved that was to keep quiet, in words. `course`: what the supervisor said and when.
    `failure`: why the trial itself could not be done.
    """

    visits: Sequence[Visit]
    struck_s: float
    found_s: float | None
    away_s: float | None
    back_s: float | None
    unanswered: int
    strays: tuple[str, ...]
    changed: tuple[str, ...]
    restless: tuple[str, ...] = ()
    course: tuple[str, ...] = ()
    failure: str = ""
    seconds: float = 0.0
