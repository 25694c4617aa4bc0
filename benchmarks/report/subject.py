"""What a document is about: its principal run, its load, the promise, the knee. Pure readings of a Document."""

from __future__ import annotations

import re
from dataclasses import dataclass

from benchmarks.figures.promise import Promise
from benchmarks.report.document import Document, Run

RATE = "requests/s"
USERS = "users"
SCALE = "times the trace"
LIMIT = re.compile(r"(\w+_s) <= ([\d.e+-]+)")
SHARE = re.compile(r"p([\d.]+) ")


@dataclass(frozen=True, slots=True)
class Offered:
    """How much was asked for, and in what: requests a second, users (closed loop), or the speed of a trace."""

    load: float
    unit: str

    def __str__(self) -> str:
        if self.unit == USERS:
            return f"{self.load:,.0f} user{'' if self.load == 1 else 's'}"
        return f"{self.load:,.4g} {self.unit}"


def offered(run: Run) -> Offered:
    """By `users`, `rate` or `scale` of the run's load; where it has none, the requests that ended in a second."""
    for key, unit in (("users", USERS), ("rate", RATE), ("scale", SCALE)):
        value = run.load.get(key)
        if isinstance(value, int | float) and value > 0:
            return Offered(float(value), unit)
    return Offered(run.summary.requests_per_s, RATE)


def principal(document: Document) -> Run | None:
    """The run that the verdict is about: whose summary the document repeats, else that of the knee, or the last."""
    for run in document.runs:
        if document.summary is not None and run.summary == document.summary:
            return run
    knee = (document.knee or {}).get("run")
    for run in document.runs:
        if run.name == knee:
            return run
    return document.runs[-1] if document.runs else None


def is_curve(document: Document) -> bool:
    """Whether the runs are one setting under different loads: then load is what to draw against."""
    return document.verb == "sweep" or (document.verb == "bench" and bool(curve_of(document)))


def curve_of(document: Document) -> list[Run]:
    """The runs of the search, from the smallest load to the largest: what was raised is the unit of the knee.

    A bench also has runs of users, which show what one of them gets and what many together do; they lie on no curve.
    """
    unit = str((document.knee or {}).get("unit", ""))
    searched = [run for run in document.runs if not unit or offered(run).unit == unit]
    return sorted(searched, key=lambda run: offered(run).load)


def knee_of(document: Document) -> Offered | None:
    """The highest load that kept the promise, where one was looked for and found.

    It is `{"load": 6.5, "unit": "requests/s", "run": "rate 6.5"}`; `rate` or `users` instead of `load` are read too.
    """
    knee = document.knee or {}
    for key, unit in (("load", str(knee.get("unit", RATE))), ("users", USERS), ("rate", RATE)):
        value = knee.get(key)
        if isinstance(value, int | float) and value > 0:
            return Offered(float(value), unit)
    return None


def limits_in(promise: str) -> dict[str, float]:
    """The limits in seconds by name of the figure, from a promise in words."""
    return {name: float(limit) for name, limit in LIMIT.findall(promise)}


def share_in(promise: str) -> str:
    """Which quantile is promised: `p95`."""
    found = SHARE.search(promise)
    return f"p{found.group(1)}" if found else "p95"


def promise_of(text: str) -> Promise | None:
    """The promise itself; None where none was made."""
    limits_s = limits_in(text)
    return Promise(limits_s, float(share_in(text)[1:]) / 100) if limits_s else None


def keeps(run: Run) -> bool | None:
    """Whether the run kept its promise, and each of its parts theirs; None where none was made."""
    if run.parts:
        return not any(part.get("promise_broken") for part in run.parts)
    return None if not run.summary.promise else not run.summary.promise_broken


def ordered(document: Document) -> list[Run]:
    """A search tries loads to and fro; they are read from the smallest to the largest. Settings stay as they are."""
    if not is_curve(document):
        return list(document.runs)
    curve = curve_of(document)
    return [*(run for run in document.runs if run not in curve), *curve]
