"""What a job costs under a preset: the tokens of each of its tasks at the price of the place where they would run.

Pure. Where that is, `choose` itself says, of a Fleet in which everything is ready and idle: so it holds for a stack
that keeps its promises, and `most_usd` is what it costs where everything went to the dearest place that may serve it. A
local model costs no dollars: electricity and hardware are not counted. Nor are splits, shadows, and routes that hold
for some tenants, lengths or hours only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from router.imagined import at_rest
from router.question import Question, ask_of
from router.routing.chain import models_of, stand_ins
from router.routing.fleet import Fleet, Place, Target
from router.routing.gate import Decision
from router.routing.passing import Money
from router.routing.policy import choose
from router.tables.job import Use
from router.tables.route import Condition
from router.tables.rules import Rules

ENDLESS = Money(left_usd=math.inf)
LOCAL = Place.LOCAL
# No route that counts here looks at the clock.
NEVER_UNIX_S = 0.0


class TaskCost(msgspec.Struct, frozen=True):
    """Of one task in one job. `model` and `target` say where it would run, None where nobody may serve it: `why`.

    Dollars are None where the place is, or its price is not known. `off` is why the place cannot be used today.
    """

    task: str
    prompt_tokens: int
    completion_tokens: int
    model: str | None = None
    target: str | None = None
    usd: float | None = None
    most_usd: float | None = None
    off: str = ""
    why: str = ""

    @property
    def is_local(self) -> bool:
        return self.target is not None and self.target.startswith(LOCAL)


class JobCost(msgspec.Struct, frozen=True):
    """Of one job under one preset; None: stack.toml has no presets."""

    job: str
    preset: str | None
    tasks: tuple[TaskCost, ...]

    @property
    def usd(self) -> float | None:
        return _sum([task.usd for task in self.tasks])

    @property
    def most_usd(self) -> float | None:
        return _sum([task.most_usd for task in self.tasks])

    @property
    def tokens(self) -> int:
        return sum(task.prompt_tokens + task.completion_tokens for task in self.tasks)


def under(preset: str | None, rules: Rules) -> Rules:
    """The rules as if that preset were the active one, as far as they hold for every request of a task."""
    routes = tuple(route for route in rules.routes if _always_holds(route))
    return rules.model_copy(update={"active_preset": preset, "routes": routes, "splits": {}})


def _always_holds(condition: Condition) -> bool:
    lengths = (condition.prompt_tokens_from, condition.prompt_tokens_below)
    return condition.between is None and not condition.tenants and lengths == (None, None)


def job_cost(job: str, preset: str | None, rules: Rules, fleet: Fleet) -> JobCost:
    """`fleet` may be any that has all targets; what happens in it now does not count."""
    obeyed, ready = under(preset, rules), at_rest(fleet)
    off = {target.name: target.off for target in fleet.targets if target.off}
    tasks = [_task_cost(task, use, obeyed, ready) for task, use in rules.jobs[job].tasks.items()]
    return JobCost(job, preset, tuple(replace(each, off=off.get(each.target or "", "")) for each in tasks))


def costs(rules: Rules, fleet: Fleet) -> list[JobCost]:
    """Every job under the active preset."""
    return [job_cost(job, rules.active_preset, rules, fleet) for job in rules.jobs]


def _task_cost(task: str, use: Use, rules: Rules, fleet: Fleet) -> TaskCost:
    decision = _where(task, rules, fleet)
    blank = TaskCost(task, use.prompt_tokens, use.completion_tokens)
    if not decision.targets:
        return replace(blank, why=decision.refusal.message if decision.refusal else "nobody")
    first = decision.targets[0]
    prices = [_usd(use, target) for target in decision.targets]
    most_usd = None if None in prices else max(price for price in prices if price is not None)
    model = _model(task, rules, first)
    return replace(blank, model=model, target=first.name, usd=prices[0], most_usd=most_usd)


def _where(task: str, rules: Rules, fleet: Fleet) -> Decision:
    return choose(ask_of(Question(task=task), rules, NEVER_UNIX_S), fleet, rules, ENDLESS)


def _usd(use: Use, target: Target) -> float | None:
    if target.place is LOCAL:
        return 0.0
    return None if target.price is None else target.price.usd(use.prompt_tokens, use.completion_tokens)


def _model(task: str, rules: Rules, target: Target) -> str:
    """By which of its names it was chosen."""
    models = models_of(task, rules)
    wanted = (*models, *stand_ins(models, rules.tasks[task].tier, rules))
    return next((model for model in wanted if model in target.models), min(target.models, default=target.served_name))


def _sum(dollars: Sequence[float | None]) -> float | None:
    known = [each for each in dollars if each is not None]
    return sum(known) if len(known) == len(dollars) else None
