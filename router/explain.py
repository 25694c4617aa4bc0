"""Why a request would go where it would go: every target considered, what decided, and who is next on each failure.

Pure, and off the hot path: it says again, in words and figures, what `choose` has decided, by the same functions.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from msgspec.structs import replace

from router.ask import BYTES_PER_TOKEN, Ask
from router.because import Case, Moment, Scores, why_behind, why_first, why_not_now, why_shut_out
from router.health.triggers import TRIGGERS, next_at
from router.routing.fleet import Fleet, Target
from router.routing.forecast import shown_ttft_s, tokens_of
from router.routing.gate import Decision
from router.routing.groups import groups_of
from router.routing.policy import choose
from router.routing.ranking import ranked, scene_of
from router.routing.scorers import LEAST_BUSY_ALONE, SCORERS, score
from router.routing.terms import terms_of
from router.tables.rules import Rules


class Seen(msgspec.Struct, frozen=True):
    """One target and what became of it. `rank` is its place among those that are tried, from 1; None: it is not.

    `model` is the one of the chain that it serves, `ttft_s` the expected time to first token, None where nothing is
    known of it; `usd` what an answer of the usual length costs. `scores` are the strategies' figures, 0 best and 1
    worst, `score` their weighted sum, among the targets that only a score tells apart.
    """

    target: str
    why: str
    rank: int | None = None
    model: str | None = None
    ttft_s: float | None = None
    usd: float | None = None
    score: float | None = None
    scores: dict[str, float] = {}


class Step(msgspec.Struct, frozen=True):
    """What follows these causes of a failure: `then` is asked next. None: nobody is; with `again` those whose failure
    may pass are asked once more, after a pause."""

    on: tuple[str, ...]
    then: str | None
    again: bool = False


class Failing(msgspec.Struct, frozen=True):
    """What happens when this target fails before its first token."""

    target: str
    steps: tuple[Step, ...]


class Explanation(msgspec.Struct, frozen=True):
    """`models` is the chain, empty where any model will do. `refused` is what the client would hear if nobody is asked;
    `waits`: it would wait for an engine first. `assumed`: no router was asked, all is taken to be ready and idle."""

    asked: str
    task: str | None
    tier: str
    preset: str | None
    route: str | None
    arm: str | None
    needs: tuple[str, ...]
    local_only: bool
    prompt_tokens: int
    models: tuple[str, ...]
    order: tuple[str, ...]
    strategy: dict[str, float]
    ttft_target_s: float
    target: str | None
    reason: str
    refused: str | None
    waits: bool
    targets: tuple[Seen, ...]
    on_failure: tuple[Failing, ...]
    assumed: bool = False


def explain(ask: Ask, fleet: Fleet, rules: Rules, moment: Moment) -> Explanation:
    """What `choose` says of the same values, and why."""
    decision = choose(ask, fleet, rules, moment.money, moment.past)
    if moment.through is not None:
        decision = moment.through(ask, decision)
    terms = terms_of(ask, rules, fleet.now_s, moment.money.stretch)
    order = ranked(ask, groups_of(ask, fleet, decision.chain, rules), terms, moment.past)
    case = Case(ask, terms, order, decision, moment)
    case = replace(case, scores=_scores(case))
    first = next(iter((*decision.targets, *fleet.targets)), None)
    refusal = decision.refusal
    return Explanation(
        asked=ask.requested,
        task=ask.task,
        tier=ask.tier,
        preset=rules.active_preset,
        route=ask.route,
        arm=ask.arm,
        needs=tuple(sorted(ask.needs)),
        local_only=ask.local_only,
        prompt_tokens=_prompt_tokens(ask, first),
        models=decision.chain,
        order=tuple(terms.order),
        strategy={str(name): weight for name, weight in (terms.weights or LEAST_BUSY_ALONE).items()},
        ttft_target_s=terms.ttft_target_s,
        target=decision.targets[0].name if decision.targets else None,
        reason=decision.reason,
        refused=f"{refusal.status} {refusal.code}: {refusal.message}" if refusal else None,
        waits=decision.can_wait and not decision.targets,
        targets=tuple(_seen(case, fleet)),
        on_failure=tuple(_failing(decision, at) for at in range(len(decision.targets))),
    )


def _prompt_tokens(ask: Ask, target: Target | None) -> int:
    """As counted for that target, else as estimated."""
    models = target.models if target else frozenset()
    measured = [each for each in ask.lengths if not each.models or not each.models.isdisjoint(models)]
    if measured:
        return (measured[0].least + measured[0].most) // 2
    return round(tokens_of(ask, target)[0] if target else ask.prompt_bytes / BYTES_PER_TOKEN)


def _scores(case: Case) -> Scores:
    found: dict[str, tuple[float, dict[str, float]]] = {}
    scene, weights = scene_of(case.ask, case.terms, case.moment.past), case.terms.weights or LEAST_BUSY_ALONE
    for peers in _peers(case):
        sums = score(weights, case.ask, peers, scene)
        figures = {str(name): SCORERS[name](case.ask, peers, scene) for name in weights}
        for at, target in enumerate(peers):
            found[target.name] = (sums[at], {name: each[at] for name, each in figures.items()})
    return found


def _peers(case: Case) -> list[list[Target]]:
    """Targets that only a score tells apart: those of one group and one place in the order, that are on."""
    alike: dict[tuple[int, int], list[Target]] = {}
    for target in case.order.targets:
        if target.off is None:
            alike.setdefault(case.place(target), []).append(target)
    return [peers for peers in alike.values() if len(peers) > 1]


def _seen(case: Case, fleet: Fleet) -> Iterator[Seen]:
    """Those that are tried, those that could be but for now, those shut out, and the rest."""
    tried, ranks = case.decision.targets, case.order
    for at, target in enumerate(tried):
        yield _with_figures(case, target, why_behind(case, at) if at else why_first(case), at + 1)
    names = {target.name for target in tried}
    for target in ranks.targets:
        if target.name not in names:
            yield _with_figures(case, target, why_not_now(case, target), None)
    for out in ranks.shut_out:
        yield Seen(out.target.name, why_shut_out(case, out), None, case.model(out.target))
    names |= {target.name for target in ranks.targets} | {out.target.name for out in ranks.shut_out}
    for target in fleet.targets:
        if target.name not in names:
            yield Seen(target.name, f"serves_model: it serves none of {', '.join(case.decision.chain)}")


def _with_figures(case: Case, target: Target, why: str, rank: int | None) -> Seen:
    total, figures = case.scores.get(target.name, (None, {}))
    prompt_tokens, answer_tokens = tokens_of(case.ask, target)
    usd = None if target.price is None else target.price.usd(prompt_tokens, answer_tokens * case.ask.answers)
    ttft_s = shown_ttft_s(case.ask, target, case.terms.now_s)
    return Seen(target.name, why, rank, case.model(target), ttft_s, usd, total, figures)


def _failing(decision: Decision, at: int) -> Failing:
    """Causes with the same consequence are one step."""
    steps: dict[tuple[str | None, bool], list[str]] = {}
    for cause, trigger in TRIGGERS.items():
        following = next_at(decision.targets, at, cause)
        then = None if following is None else decision.targets[following].name
        steps.setdefault((then, then is None and trigger.passes), []).append(cause)
    return Failing(decision.targets[at].name, tuple(Step(tuple(on), *what) for what, on in steps.items()))
