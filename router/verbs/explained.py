"""An Explanation for a terminal: what was asked, where it goes and why, who was considered, what follows failures."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.text import Text

from ground.table import Column, Fitted
from router.explain import Explanation, Failing, Seen
from router.health.triggers import CONTEXT
from router.verbs.shown import dollars, line

NOTHING = "-"
# Those that serve another model are many, and are all alike.
UNASKED = "serves_model: "


def shown(found: Explanation) -> RenderableType:
    parts: list[RenderableType] = [*_asked(found), "", _goes(found), "", _targets(found)]
    others = [seen.target for seen in found.targets if seen.why.startswith(UNASKED)]
    parts += [line(f"{len(others)} serve none of these models: {', '.join(others)}", "dim")] if others else []
    parts += ["", line("IF IT FAILS BEFORE ITS FIRST TOKEN", "bold"), _failing(found)] if found.on_failure else []
    return Group(*parts)


def _asked(found: Explanation) -> Iterator[Text]:
    work = f"task {found.task}, " if found.task else ""
    preset = f"   preset {found.preset}" if found.preset else ""
    yield line(f"{work}tier {found.tier}{preset}", "bold")
    needs = f", needs {', '.join(found.needs)}" if found.needs else ""
    private = ", local-only" if found.local_only else ""
    yield line(f"prompt    about {found.prompt_tokens:,} tokens{needs}{private}")
    yield line(f"models    {', then '.join(found.models) or 'any'}")
    weights = ", ".join(f"{name} {weight:g}" for name, weight in found.strategy.items())
    yield line(
        f"order     {', '.join(found.order)}; among equals {weights}; first token within {found.ttft_target_s:g} s"
    )
    if found.route:
        yield line(f"route     {found.route}")
    if found.arm:
        yield line(f"split     {found.arm}")
    if found.assumed:
        yield line("no router runs that reads this file: all its engines are taken to be ready and idle", "yellow")


def _goes(found: Explanation) -> Text:
    if found.target is not None:
        first = found.targets[0]
        return Text.assemble("goes to   ", (found.target, "bold green"), f"   {found.reason}: {first.why}")
    waits = "; it would wait for an engine first" if found.waits else ""
    return Text.assemble(("nobody    ", "bold red"), f"{found.refused or 'no target'}{waits}", overflow="fold")


def _targets(found: Explanation) -> RenderableType:
    columns = [Column("#", is_number=True), Column("target"), Column("model", rank=2)]
    columns += [Column("first token", is_number=True), Column("dollars", is_number=True, rank=1)]
    columns += [Column("score", is_number=True, rank=3), Column("", is_whole=False)]
    rows = [_row(seen) for seen in found.targets if not seen.why.startswith(UNASKED)]
    return Fitted(columns, rows)


def _row(seen: Seen) -> list[Text | str]:
    style = "bold green" if seen.rank == 1 else "" if seen.rank else "dim"
    score = NOTHING if seen.score is None else f"{seen.score:.2f}"
    figures = ", ".join(f"{name} {figure:.2f}" for name, figure in seen.scores.items())
    why = "first" if seen.rank == 1 else seen.why
    cells = [
        str(seen.rank or NOTHING),
        seen.target,
        seen.model or NOTHING,
        NOTHING if seen.ttft_s is None else f"{seen.ttft_s:.2f} s",
        NOTHING if seen.usd is None else dollars(seen.usd, 6) if seen.usd else "$0",
        score,
        f"{why} ({figures})" if len(seen.scores) > 1 else why,
    ]
    return [Text(cell, style=style) for cell in cells]


def _failing(found: Explanation) -> RenderableType:
    columns = [Column("target"), Column("full, broken or too slow", is_whole=False)]
    columns.append(Column("prompt too long for it", is_whole=False))
    rows: list[list[Text | str]] = [
        [each.target, _then(each, USUAL), _then(each, CONTEXT)] for each in found.on_failure
    ]
    return Group(Fitted(columns, rows), line(OTHERWISE, "dim"))


USUAL = "5xx"
OTHERWISE = (
    "What is wrong with the request itself the client hears at once, and what breaks after the first token as well."
)


def _then(failing: Failing, cause: str) -> Text:
    step = next(step for step in failing.steps if cause in step.on)
    if step.then is not None:
        return Text(step.then)
    return Text("once more, after a pause" if step.again else "the client hears it", style="dim")
