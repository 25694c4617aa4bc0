"""What a job costs under each preset, or task by task under one.

Dollars are those of the places that the tiers prefer, while everything runs and has room; "at most" is what it costs if
all of it went to the dearest place that may serve it. A local model costs no dollars; electricity is not counted.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from typing import Any

from msgspec import to_builtins
from rich.console import Group, RenderableType
from rich.text import Text

from ground.table import Column, Fitted
from router.costs import JobCost, TaskCost, job_cost
from router.verbs.given import FAILED, Given, VerbError, given, one_of, options
from router.verbs.shown import dollars, line

EXAMPLE = "[jobs.audit]\ntasks.classification = { prompt_tokens = 100000, completion_tokens = 10000 }"
CENTS = 2


def run(arguments: Sequence[str]) -> int:
    parser = options("cost", __doc__)
    parser.add_argument("--preset", metavar="NAME", help="this one, task by task; left out: all of them")
    parser.add_argument("--job", metavar="NAME", help="of [jobs.*]; left out: all of them")
    parser.add_argument("--jobs", type=_count, metavar="N", help="so many jobs a month")
    parser.add_argument("--json", action="store_true", help="as JSON")
    asked = parser.parse_args(arguments)
    known = given(asked)
    found = _reckoned(known, asked.job, asked.preset)
    if asked.json:
        print(json.dumps([_plain(cost, asked.jobs) for costs in found for cost in costs]))
    else:
        for costs in found:
            known.console.print(_one(costs[0], asked.jobs) if asked.preset else _all(costs, known, asked.jobs))
            known.console.print()
    return FAILED if any(task.why for costs in found for cost in costs for task in cost.tasks) else 0


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number above 0")
    return int(text)


def _reckoned(known: Given, job: str | None, preset: str | None) -> list[list[JobCost]]:
    """Of each job, its cost under each preset. Raises VerbError."""
    rules = known.rules
    if not rules.jobs:
        raise VerbError(f"{known.path}: there is no job to reckon; say which tasks one takes, for example\n{EXAMPLE}")
    jobs = list(rules.jobs) if job is None else [one_of("job", job, rules.jobs)]
    presets: list[str | None] = list(rules.presets) or [None]
    if preset is not None:
        presets = [one_of("preset", preset, rules.presets)]
    fleet = known.fleet()
    return [[job_cost(each, name, rules, fleet) for name in presets] for each in jobs]


def _all(costs: Sequence[JobCost], known: Given, jobs: int | None) -> RenderableType:
    """A row a preset."""
    job, tokens = costs[0].job, costs[0].tokens
    columns = [Column(""), Column("preset"), Column("one job", is_number=True)]
    columns += [Column(f"{jobs:,} a month", is_number=True)] if jobs else []
    columns += [Column("at most a month" if jobs else "at most", is_number=True)]
    columns += [Column("", is_whole=False, rank=1)]
    rows = [_row(cost, known, jobs) for cost in costs]
    return Group(line(f"{job}: {tokens:,} tokens a job", "bold"), Fitted(columns, rows), *_notes(costs))


def _row(cost: JobCost, known: Given, jobs: int | None) -> list[Text | str]:
    rules = known.rules
    is_active = cost.preset == rules.active_preset
    mark = Text("*" if is_active and cost.preset else "", style="green")
    month = [dollars(_times(cost.usd, jobs), CENTS)] if jobs else []
    about = rules.presets[cost.preset].about if cost.preset else ""
    name = Text(cost.preset or "no presets", style="green" if is_active else "")
    return [mark, name, dollars(cost.usd), *month, dollars(_times(cost.most_usd, jobs or 1), _digits(jobs)), about]


def _one(cost: JobCost, jobs: int | None) -> RenderableType:
    """A row a task, and the sum."""
    columns = [Column("task"), Column("model"), Column("runs at"), Column("prompt", is_number=True, rank=1)]
    columns += [
        Column("answer", is_number=True, rank=2),
        Column("one job", is_number=True),
        Column("at most", is_number=True),
    ]
    rows = [_task(task) for task in cost.tasks]
    rows.append(_sum(cost, "one job", 1))
    rows += [_sum(cost, f"{jobs:,} a month", jobs)] if jobs else []
    title = f"{cost.job} under {cost.preset}: {cost.tokens:,} tokens a job"
    return Group(line(title, "bold"), Fitted(columns, rows), *_notes([cost]))


def _task(task: TaskCost) -> list[Text | str]:
    where = Text(task.target or "nowhere", style="green" if task.is_local else "" if task.target else "red")
    usd = Text("local, $0", style="green") if task.is_local else dollars(task.usd)
    used = [f"{task.prompt_tokens:,}", f"{task.completion_tokens:,}"]
    return [task.task, task.model or "", where, *used, usd, dollars(task.most_usd)]


def _sum(cost: JobCost, name: str, jobs: int) -> list[Text | str]:
    digits = _digits(None if jobs == 1 else jobs)
    usd, most = dollars(_times(cost.usd, jobs), digits), dollars(_times(cost.most_usd, jobs), digits)
    return [Text(name, style="bold"), "", "", "", "", Text(usd, style="bold"), most]


def _notes(costs: Sequence[JobCost]) -> Iterator[Text]:
    """What keeps the sums from being true today, each once."""
    off: dict[str, set[str]] = {}
    for cost in costs:
        for task in cost.tasks:
            if task.why:
                yield line(f"{cost.preset or 'stack.toml'} has a hole: {task.task}: {task.why}", "red")
            if task.off and task.target:
                off.setdefault(task.off, set()).add(task.target)
    for why, targets in off.items():
        yield line(f"reckoned as if on, but {why}: {', '.join(sorted(targets))}", "yellow")


def _times(usd: float | None, jobs: int | None) -> float | None:
    return None if usd is None or jobs is None else usd * jobs


def _digits(jobs: int | None) -> int:
    return CENTS if jobs else 4


def _plain(cost: JobCost, jobs: int | None) -> dict[str, Any]:
    own = {"job": cost.job, "preset": cost.preset, "tokens": cost.tokens, "usd": cost.usd, "most_usd": cost.most_usd}
    month = {"jobs": jobs, "month_usd": _times(cost.usd, jobs)} if jobs else {}
    return own | month | {"tasks": [to_builtins(task) for task in cost.tasks]}
