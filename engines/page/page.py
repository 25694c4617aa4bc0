"""The page that `spillway plan` prints: the hardware, every engine with its sum and command line, what does not fit.

Pure: a PlanView in, something for rich to print out. All that is not a bar is ASCII.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from string import ascii_letters

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from engines.page.cards import INDENT, gib, ranges, render_hardware
from engines.page.view import Elsewhere, EngineLine, PlanView, Source, Term, Unfit

# From this width on the sum of an engine stands beside its facts.
BESIDE = 110
LEFT = 60
KIB = 1024
SOURCE_STYLES = {Source.MEASURED: "green", Source.ESTIMATED: "yellow", Source.PLANNED: "dim"}


def render_plan(view: PlanView) -> RenderableType:
    """The whole page. Print it with `crop=False`, so that command lines keep their length."""
    letters = {engine.name: ascii_letters[number % len(ascii_letters)] for number, engine in enumerate(view.engines)}
    parts = [_head(view), *render_hardware(view, letters)]
    if view.engines:
        parts.append(Text("ENGINES", "bold"))
    for number, engine in enumerate(view.engines):
        same = next((each.name for each in view.engines[:number] if _figures(each) == _figures(engine)), None)
        parts.append(_engine(engine, letters, same))
    if view.elsewhere:
        parts.append(_elsewhere(view.elsewhere))
    if view.unplaced:
        parts.append(Text("DOES NOT FIT", "bold red"))
    parts += [_unfit(tuple(alike)) for _, alike in groupby(view.unplaced, lambda each: replace(each, name=""))]
    return _Trimmed(Group(*(each for part in parts for each in (part, ""))))


@dataclass(frozen=True, slots=True)
class _Trimmed:
    """The same without blanks at the ends of lines: tables fill theirs up, which is in the way of whoever copies."""

    inner: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in Segment.split_lines(console.render(self.inner, options)):
            while line and not line[-1].text.rstrip():
                line.pop()
            if line:
                line[-1] = line[-1]._replace(text=line[-1].text.rstrip())
            yield from (*line, Segment.line())


def _count(number: int, word: str) -> str:
    return f"{number} {word}" + ("" if number == 1 else "s")


def _head(view: PlanView) -> RenderableType:
    used = len({number for engine in view.engines for number in engine.gpus})
    where = f" on {used} of {_count(len(view.gpus), 'GPU')}" if view.gpus else ""
    text = Text(_count(len(view.engines), "engine") + where, "bold")
    if turns := sum(engine.is_alternate for engine in view.engines):
        text.append(f", {turns} of them in turn with others", "not bold")
    if view.unplaced:
        text.append(f"; {len(view.unplaced)} more {'has' if len(view.unplaced) == 1 else 'have'} no place", "bold red")
    facts = Text(f"profile {view.profile}   endpoint {view.endpoint}")
    facts.append(f"   driver {view.driver}" if view.driver else "")
    return Group(text, facts, *(Text(fault, "red") for fault in view.faults))


def _figures(engine: EngineLine) -> EngineLine:
    """All that replicas have in common: everything but who and where they are."""
    return replace(engine, name="", port=0, gpus=(), environment={}, command=())


def _engine(engine: EngineLine, letters: Mapping[str, str], same: str | None) -> RenderableType:
    """`same`: an engine before it of which all figures are those of this one."""
    of = "" if engine.model == engine.name else f" of {engine.model}"
    heading = Text.assemble(
        (letters[engine.name], "bold reverse"), "  ", (engine.name, "bold"), f"{of}   {_where(engine)}"
    )
    if same is None:
        figures: RenderableType = _Beside(_facts(engine), _sum(engine))
    else:
        figures = Text.assemble("all figures as for ", (letters[same], "bold reverse"), f" {same}")
    return Group(heading, Padding(figures, (0, 0, 0, INDENT), expand=False), Command(engine))


def _where(engine: EngineLine) -> str:
    parallel = engine.tensor_parallel
    if engine.gpus:
        where = f"GPU {ranges(engine.gpus)}" + (f" (tensor parallel {parallel})" if parallel > 1 else "")
    else:
        where = f"CPU cores {ranges(engine.cores)}" + (f" ({parallel} workers)" if parallel > 1 else "")
    return f"{where}   port {engine.port}   {engine.runtime}"


@dataclass(frozen=True, slots=True)
class _Beside:
    """Two things beside each other where there is room, else one below the other."""

    left: RenderableType
    right: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if options.max_width < BESIDE:
            yield Group(self.left, self.right)
            return
        grid = Table.grid(padding=(0, 4, 0, 0))
        grid.add_column(min_width=LEFT)
        grid.add_row(self.left, self.right)
        yield grid


def _facts(engine: EngineLine) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_row("at once", _at_once(engine))
    grid.add_row("KV cache", f"{engine.kv_tokens:,} tokens, {_size(engine.kv_bytes_per_token)} each{_each(engine)}")
    waiting = "" if engine.max_num_queued_reqs is None else f", {engine.max_num_queued_reqs:,} waiting"
    grid.add_row(
        "limits", f"{engine.max_num_seqs:,} sequences, {engine.max_num_batched_tokens:,} tokens a step{waiting}"
    )
    if engine.turns_with:
        grid.add_row("in turn", _turns(engine))
    if engine.headroom_bytes:
        free = f"wants {gib(engine.total_bytes + engine.headroom_bytes)} GiB free: Ollama fills four fifths of a GPU"
        grid.add_row("at start", free)
    return grid


def _turns(engine: EngineLine) -> str:
    """With whom, who is first, and what becomes of it while it rests."""
    first = "starts asleep" if engine.is_alternate else "starts awake"
    unloaded = "unloads its model" if engine.kind == "ollama" else "its weights go to host memory"
    rests = unloaded if engine.may_sleep else "its process ends"
    return f"with {', '.join(engine.turns_with)}; {first}; to rest {rests}"


def _at_once(engine: EngineLine) -> Text:
    text = Text(f"{engine.requests_at_once:,.1f}", "bold")
    text.append(f" requests of {engine.context_tokens:,} tokens", "not bold")
    if engine.promised_requests is not None:
        kept = engine.requests_at_once >= engine.promised_requests
        text.append("; ", "not bold").append(
            f"promised {engine.promised_requests:,.4g}", "green" if kept else "bold red"
        )
    return text


def _size(size: int) -> str:
    return f"{size / KIB:,.4g} KiB" if size >= KIB else f"{size} bytes"


def _each(engine: EngineLine) -> str:
    if engine.tensor_parallel == 1:
        return ""
    return " on each GPU" if engine.gpus else " in each worker"


def _sum(engine: EngineLine) -> Table:
    """The terms, a line for what the utilization stands for, and the total."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column()
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column(no_wrap=True)
    inside = [term for term in engine.terms if term.is_inside]
    for number, term in enumerate(inside):
        _add(grid, "+ " if number else "  ", term)
    if engine.utilization is not None and engine.utilization_of_bytes is not None:
        share = int(engine.utilization * engine.utilization_of_bytes)
        of = f"= {engine.utilization:.4f} x {gib(engine.utilization_of_bytes)} GiB"
        grid.add_row(Text(of, "bold"), Text(f"{gib(share)} GiB", "bold"), Text("utilization", "dim"))
    for term in engine.terms:
        if not term.is_inside:
            _add(grid, "+ ", term)
    where = _each(engine).strip() or ("on its GPU" if engine.gpus else "of RAM")
    grid.add_row(Text(f"= {where}", "bold"), Text(f"{gib(engine.total_bytes)} GiB", "bold"), "")
    return grid


def _add(grid: Table, sign: str, term: Term) -> None:
    grid.add_row(f"{sign}{term.name}", f"{gib(term.bytes)} GiB", Text(term.source.value, SOURCE_STYLES[term.source]))


@dataclass(frozen=True, slots=True)
class Command:
    """A command line as a shell takes it: on a terminal over several lines, elsewhere in one."""

    engine: EngineLine

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        groups = command_groups(self.engine)
        width = options.max_width - INDENT - 2 if options.is_terminal else None
        for line in wrapped(groups, width):
            yield Text(" " * INDENT + line, "cyan", no_wrap=True, overflow="ignore")


def command_groups(engine: EngineLine) -> list[str]:
    """Shell words that stay together on a line: each flag with its values; all before the first flag stand alone."""
    groups = [f"{name}={shlex.quote(value)}" for name, value in engine.environment.items()]
    flagged = False
    for word in engine.command:
        if word.startswith("-") or not flagged:
            groups.append(shlex.quote(word))
        else:
            groups[-1] += f" {shlex.quote(word)}"
        flagged = flagged or word.startswith("-")
    return groups


def wrapped(groups: Sequence[str], width: int | None) -> list[str]:
    """Lines of at most `width` where no group is wider alone, all but the last with a backslash to go on; with None all
    in one."""
    lines: list[str] = []
    for group in groups:
        if lines and (width is None or len(lines[-1]) + len(group) + 1 <= width):
            lines[-1] += f" {group}"
        else:
            lines.append(group if not lines else f"  {group}")
    return [*(f"{line} \\" for line in lines[:-1]), *lines[-1:]]


def _elsewhere(servers: Sequence[Elsewhere]) -> RenderableType:
    grid = Table.grid(padding=(0, 3, 0, 0))
    for each in servers:
        grid.add_row(Text(each.name, "bold"), Text(each.url), Text(", ".join(each.models) or "all that it lists"))
    return Group(Text("RUN BY OTHERS", "bold"), Padding(grid, (0, 0, 0, INDENT), expand=False))


def _unfit(alike: Sequence[Unfit]) -> RenderableType:
    """Replicas that lack a place for the same reason are named together."""
    first = alike[0]
    of = "" if all(each.name == each.model for each in alike) else f" of {first.model}"
    lines = [Text(first.needs, overflow="fold")]
    if first.ways:
        lines.append(Text.assemble("fits with: ", Text(" | ").join(Text(way, "bold green") for way in first.ways)))
    heading = Text.assemble((", ".join(each.name for each in alike), "bold"), of)
    return Group(heading, Padding(Group(*lines), (0, 0, 0, INDENT), expand=False))
