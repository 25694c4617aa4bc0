"""The two arms of a split or shadow side by side, out of the ledger: requests, errors, times, tokens, dollars.

Times are of answers without error, those to the first token of streams. Of a shadow the control are the requests that
were copied, and those whose copy was not sent are left out on both sides.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path

from msgspec import to_builtins
from rich.console import Group, RenderableType

from engines.snapshot import state_home
from ground.table import Column, Fitted
from router.books import read_arms, read_compared
from router.comparing.arms import ArmFigures, arms_of
from router.comparing.split import CONTROL, TRIAL
from router.moves import LedgerError
from router.verbs.given import VerbError, console, one_of, options
from router.verbs.shown import dollars, line

HOUR_S = 3600.0
EXAMPLE = '[shadows.new]\npercent = 5\nmodel = "qwen-32b"'


def run(arguments: Sequence[str]) -> int:
    parser = options("arms", __doc__)
    parser.add_argument("name", nargs="?", metavar="NAME", help="of [splits.*] or [shadows.*]; left out: all of them")
    parser.add_argument("--hours", type=_hours, metavar="N", help="only the last N hours; left out: all")
    parser.add_argument("--ledger", type=Path, metavar="FILE", help="left out: that of SPILLWAY_HOME")
    parser.add_argument("--json", action="store_true", help="as JSON")
    asked = parser.parse_args(arguments)
    path = asked.ledger or state_home() / "ledger.sqlite3"
    since_unix_s = 0.0 if asked.hours is None else time.time() - asked.hours * HOUR_S
    try:
        found = _compared(path, asked.name, since_unix_s)
    except LedgerError as error:
        raise VerbError(str(error)) from error
    if asked.json:
        plain = {name: {"control": to_builtins(one), "trial": to_builtins(other)} for name, (one, other) in found}
        print(json.dumps(plain))
        return 0
    for name, arms in found:
        console().print(_page(name, *arms))
    return 0


def _hours(text: str) -> float:
    try:
        hours = float(text)
    except ValueError:
        hours = math.nan
    if not 0 < hours < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} must be a number above 0")
    return hours


Arms = tuple[ArmFigures, ArmFigures]


def _compared(path: Path, name: str | None, since_unix_s: float) -> list[tuple[str, Arms]]:
    """Raises LedgerError, VerbError."""
    names = list(dict.fromkeys(arm.rpartition("/")[0] for arm in read_arms(path, since_unix_s)))
    if not names:
        raise VerbError(f"{path}: nothing has been compared in this time; compare something, for example\n{EXAMPLE}")
    chosen = names if name is None else [one_of("comparison", name, names)]
    return [(each, _arms(path, each, since_unix_s)) for each in chosen]


def _arms(path: Path, name: str, since_unix_s: float) -> Arms:
    return arms_of(read_compared(path, (name + CONTROL, name + TRIAL), since_unix_s), name + TRIAL)


def _page(name: str, control: ArmFigures, trial: ArmFigures) -> RenderableType:
    columns = [Column(""), Column("control", is_number=True), Column("trial", is_number=True)]
    cells = list(zip(_cells(control), _cells(trial), strict=True))
    rows = [[heading, one, other] for (heading, one), (_, other) in cells if (one, other) != ("0", "0")]
    return Group(line(name, "bold"), Fitted(columns, rows), line(""))


def _cells(arm: ArmFigures) -> list[tuple[str, str]]:
    """What one arm shows, line by line."""
    each = max(1, arm.answered)
    return [
        ("requests", f"{arm.requests:,}"),
        ("not sent", f"{arm.unsent:,}"),
        ("errors", f"{arm.errors:,}"),
        ("client left", f"{arm.left:,}"),
        ("first token p50", _seconds(arm.ttft_p50_s)),
        ("first token p95", _seconds(arm.ttft_p95_s)),
        ("whole answer p50", _seconds(arm.e2e_p50_s)),
        ("whole answer p95", _seconds(arm.e2e_p95_s)),
        ("prompt tokens", f"{arm.prompt_tokens:,}"),
        ("answer tokens", f"{arm.completion_tokens:,}"),
        ("tokens an answer", f"{arm.completion_tokens / each:,.1f}"),
        ("cost", dollars(arm.usd)),
        ("served by", "\n".join(arm.targets) or "nobody"),
    ]


def _seconds(value_s: float | None) -> str:
    return "unknown" if value_s is None else f"{value_s:.3f} s"
