"""Lists the presets of stack.toml, or makes one of them the active one: that changes one line of the file, and nothing
restarts. A preset with a hole is refused before anything is written.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from typing import Any

from rich.text import Text

from ground.prices import PRICES
from ground.table import Column, Fitted
from router.costs import job_cost
from router.gaps import gaps
from router.tables.read import rules_of
from router.verbs.given import FAILED, Given, VerbError, given, one_of, options
from router.verbs.line import read_exactly, with_preset, write_whole
from router.verbs.running import Running, another, running_at
from router.verbs.shown import dollars, line

# The promise is five seconds; a router that takes twice as long does not obey.
LONGEST_WAIT_S = 10.0
LOOK_EACH_S = 0.05


def run(arguments: Sequence[str]) -> int:
    parser = options("preset", __doc__)
    parser.add_argument("name", nargs="?", metavar="NAME", help="makes this one active; left out: lists them")
    parser.add_argument("--router", metavar="HOST:PORT", help="where the router runs; left out: as stack.toml says")
    asked = parser.parse_args(arguments)
    known = given(asked)
    if asked.name is None:
        _list(known)
        return 0
    running = running_at(asked.router, known.rules.endpoint)
    return _change(known, one_of("preset", asked.name, known.rules.presets), running)


def _list(known: Given) -> None:
    rules, fleet = known.rules, known.fleet()
    if not rules.presets:
        raise VerbError(f"{known.path}: there are no presets; a table [presets.NAME] is one")
    columns = [Column(""), Column("preset"), *(Column(f"one {job}", is_number=True) for job in rules.jobs)]
    rows: list[list[Text | str]] = []
    for name, preset in rules.presets.items():
        style = "green" if name == rules.active_preset else ""
        usd = [dollars(job_cost(job, name, rules, fleet).usd) for job in rules.jobs]
        rows.append([Text("*" if style else "", style=style), Text(name, style=style), *usd, preset.about])
    known.console.print(Fitted([*columns, Column("", is_whole=False)], rows))


def _change(known: Given, name: str, running: Running) -> int:
    before = read_exactly(known.path)
    after = with_preset(before, name)
    status = running.status()
    other = another(status, known.path)
    _require_whole(known, after, None if other else status)
    began_s = time.monotonic()
    is_new = after != before
    if is_new:
        write_whole(known.path, before, after)
    known.console.print(_costs(known, name, "" if is_new else ", as it was already"))
    if status is None or other is not None:
        idle = f"nothing runs at {running.host}:{running.port}; it counts from the next start on"
        known.console.print(line(other or idle))
        return 0
    refused = _await(name, hashlib.sha256(after.encode()).hexdigest(), running, began_s)
    if refused and is_new:
        write_whole(known.path, after, before)
        raise VerbError(f"{refused}\nThe line is as it was before.")
    obeyed = f"obeyed after {time.monotonic() - began_s:.1f} s" if is_new else "every worker obeys it"
    known.console.print(line(refused or obeyed, "red" if refused else "green"))
    return FAILED if refused else 0


def _require_whole(known: Given, text: str, status: dict[str, Any] | None) -> None:
    """Raises ConfigError, VerbError with every hole in what is about to be written. Where a router runs that reads it,
    its keys and its engines count, not those that are seen from here."""
    rules = rules_of(text.encode(), str(known.path))
    said: dict[str, Any] = status["config"] if status else {"keys": {}, "is_open": False}
    theirs = {name: os.environ.get(name) or "set" if is_set else "" for name, is_set in said["keys"].items()}
    holes = gaps(rules, known.models, PRICES, {**os.environ, **theirs}, said["is_open"])
    if holes:
        raise VerbError("\n".join(["nothing was changed:", *(f"{known.path}: {hole}" for hole in holes)]))


def _costs(known: Given, name: str, since: str) -> Text:
    jobs = [job_cost(job, name, known.rules, known.fleet()) for job in known.rules.jobs]
    costs = ", ".join(f"{job.job} {dollars(job.usd)}" for job in jobs)
    return line(f'active_preset = "{name}"{since}' + (f"   {costs} a job" if costs else ""))


def _await(name: str, sha256: str, running: Running, began_s: float) -> str:
    """Until every worker of the running router obeys the file of this digest. Returns why not, "" if it does."""
    while True:
        status = running.status()
        if status is None:
            return "the router that ran does not answer any more; see `spillway status`"
        if status["presets"] == {name: status["workers"]}:
            return ""
        config = status["config"]
        if config["sha256"] == sha256 and (refused := config["refused"]):
            return f"the running router refuses it: {refused}"
        waited_s = time.monotonic() - began_s
        if waited_s > LONGEST_WAIT_S:
            return f"the running router does not obey after {waited_s:.0f} s; see `spillway logs router`"
        time.sleep(LOOK_EACH_S)
