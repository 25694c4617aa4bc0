"""Did a fault stay within what is promised? Pure: a case and its evidence in, a Row with figures and misses out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.night.case import Aims, Case
from benchmarks.night.evidence import Evidence
from benchmarks.night.visit import HOME, End, Visit

SHOWN = 3
# Who has seen nothing for so long waits at an engine that does nothing. Its prompt with the chat template around it.
WAITED_S = 1.0
PROMPT_TOKENS = 24


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `errors_before` counts all, `lost` those of them that could have been answered elsewhere.

    Times in seconds after the fault, None where it did not happen or none is to be had; `found_aim_s` is what `found_s`
    may be. `misses` is empty when every
    aim was met. `course` and `visits` stand in the file only.
    """

    name: str
    engines: str
    what: str
    sent: int
    home: int
    away: int
    refused: int
    errors_before: int
    errors_after: int
    lost: int
    wrong: int
    found_s: float | None
    found_aim_s: float | None
    away_s: float | None
    back_s: float | None
    leftovers: tuple[str, ...]
    misses: tuple[str, ...]
    seconds: float
    course: tuple[str, ...] = ()
    visits: tuple[Mapping[str, Any], ...] = ()

    @property
    def is_kept(self) -> bool:
        return not self.misses

    def to_json(self) -> dict[str, Any]:
        """As it stands in the file."""
        return asdict(self) | {"is_kept": self.is_kept}


def row_of(case: Case, evidence: Evidence, engines: str) -> Row:
    """Figures and misses of one trial."""
    ends = [visit.end for visit in evidence.visits]
    answered = [visit for visit in evidence.visits if visit.end is End.ANSWERED]
    return Row(
        name=case.name,
        engines=engines,
        what=case.what,
        sent=len(evidence.visits) + evidence.unanswered,
        home=sum(visit.target.startswith(HOME) for visit in answered),
        away=sum(visit.is_away for visit in answered),
        refused=ends.count(End.REFUSED),
        errors_before=ends.count(End.BEFORE),
        errors_after=ends.count(End.AFTER),
        lost=len(_lost(evidence.visits)),
        wrong=ends.count(End.WRONG),
        found_s=evidence.found_s,
        found_aim_s=_found_aim_s(case.aims, evidence),
        away_s=evidence.away_s,
        back_s=None if case.aims.is_quiet else evidence.back_s,
        leftovers=evidence.strays,
        misses=tuple(_misses(case.aims, evidence)),
        seconds=evidence.seconds,
        course=evidence.course,
        visits=tuple(_told(visit, evidence.struck_s) for visit in evidence.visits),
    )


def _told(visit: Visit, struck_s: float) -> dict[str, Any]:
    """For the file: times in seconds after the fault."""
    return {
        "from_s": round(visit.started_s - struck_s, 3),
        "seen_s": round(visit.seen_s - struck_s, 3),
        "to_s": round(visit.ended_s - struck_s, 3),
        "tier": visit.question.tier,
        "stream": visit.question.stream,
        "end": visit.end,
        "target": visit.target,
        "reason": visit.reason,
        "why": visit.why,
    }


def end_row(engines: str, leftovers: tuple[str, ...], failure: str, seconds: float) -> Row:
    """The end of a stage: `spillway down`, and what it left."""
    misses = (*((f"not down: {failure}",) if failure else ()), *_left(leftovers))
    what = "`spillway down` after all these faults"
    return Row("down", engines, what, 0, 0, 0, 0, 0, 0, 0, 0, None, None, None, None, leftovers, misses, seconds)


def _found_aim_s(aims: Aims, evidence: Evidence) -> float | None:
    """With the time that all who wait may take to be read, where that is granted."""
    if aims.found_s is None or aims.reading_tokens_per_s is None or evidence.found_s is None:
        return aims.found_s
    found_s = evidence.struck_s + evidence.found_s
    waiting = [v for v in evidence.visits if v.started_s < found_s and v.seen_s - v.started_s > WAITED_S]
    return aims.found_s + len(waiting) * PROMPT_TOKENS / aims.reading_tokens_per_s


def _lost(visits: Sequence[Visit]) -> list[Visit]:
    """Without an answer before their first token, though the cloud could have given it."""
    return [visit for visit in visits if visit.may_spill and visit.end in {End.BEFORE, End.REFUSED}]


def _misses(aims: Aims, evidence: Evidence) -> Iterator[str]:
    if evidence.failure:
        yield f"not carried out: {evidence.failure}"
        return
    yield from _of_visits(aims, evidence)
    yield from _of_times(aims, evidence)
    if aims.is_quiet:
        yield from evidence.restless
    yield from (f"{name} is another process" for name in evidence.changed if name in aims.keeps)
    yield from _left(evidence.strays)


def _of_visits(aims: Aims, evidence: Evidence) -> Iterator[str]:
    lost = _lost(evidence.visits)
    if lost and not aims.may_lose:
        yield f"{len(lost)} lost that may spill: {_first(lost)}"
    wrong = [visit for visit in evidence.visits if visit.end is End.WRONG]
    if wrong:
        yield f"{len(wrong)} answered wrong: {_first(wrong)}"
    broken = [visit for visit in evidence.visits if visit.end is End.AFTER]
    if broken and (aims.keeps_streams or aims.is_quiet):
        yield f"{len(broken)} streams broke: {_first(broken)}"
    if aims.is_quiet or aims.keeps_streams:
        stayed = [v for v in evidence.visits if not v.may_spill and v.end is End.BEFORE]
        if stayed and not aims.may_lose:
            yield f"{len(stayed)} lost at home: {_first(stayed)}"
    if evidence.unanswered:
        yield f"{evidence.unanswered} never ended"


def _of_times(aims: Aims, evidence: Evidence) -> Iterator[str]:
    if aims.is_quiet:
        if evidence.back_s is None:
            yield "home does not answer any more"
        return
    for what, took_s, limit_s in (
        ("found", evidence.found_s, _found_aim_s(aims, evidence)),
        ("answered from elsewhere", evidence.away_s, aims.away_s),
        ("back", evidence.back_s, aims.back_s),
    ):
        if limit_s is not None and took_s is None:
            yield f"never {what}"
        elif limit_s is not None and took_s is not None and took_s > limit_s:
            yield f"{what} after {took_s:.1f} s, not {limit_s:.3g} s"


def _left(leftovers: tuple[str, ...]) -> Iterator[str]:
    if leftovers:
        more = f" and {len(leftovers) - SHOWN} more" if len(leftovers) > SHOWN else ""
        yield f"left over: {'; '.join(leftovers[:SHOWN])}{more}"


def _first(visits: Sequence[Visit]) -> str:
    first = visits[0]
    return (
        f"{'stream' if first.question.stream else 'whole'}, {first.question.tier}, {first.target or '-'}: {first.why}"
    )
