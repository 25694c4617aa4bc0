"""The hardware part of the plan's page: every GPU as a bar under a heading that says what card it is, with figures.

Pure: a PlanView in, something for rich to print out. All that is not a bar is ASCII.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from engines.page.bar import LOOKS, Bar, Legend
from engines.page.view import Card, Host, Part, PartKind, PlanView
from engines.plan import GIB

INDENT = 3
# Of a UUID: enough to find it in nvidia-smi, and what `[gpus] use` takes.
UUID_SHOWN = 12
OF_ENGINES = {PartKind.WEIGHTS: "weights", PartKind.KV: "KV", PartKind.OVERHEAD: "overhead"}
OF_NO_ENGINE = {
    PartKind.FREE: "free",
    PartKind.FOREIGN: "others",
    PartKind.KEPT: "kept free",
    PartKind.DRIVER: "driver",
}

Letters = Mapping[str, str]


def render_hardware(view: PlanView, letters: Letters) -> Iterator[RenderableType]:
    """The legend, then each kind of card (or the machine's memory). `letters`: that of each engine in its bars."""
    heading = Text("GPUS" if view.gpus else "CPU", "bold")
    if view.why_no_gpu and not view.gpus:
        heading.append(f"   no GPU: {view.why_no_gpu}", "not bold")
    bars = [card.parts for card in view.gpus] + ([view.host.parts] if view.host else [])
    yield Group(heading, Legend(frozenset(part.kind for parts in bars for part in parts))) if bars else heading
    models = {engine.name: engine.model for engine in view.engines}
    for _, alike in groupby(view.gpus, lambda card: (card.name, card.total_bytes, card.parent_uuid)):
        yield _cards(tuple(alike), models, letters)
    if view.host:
        yield _host(view.host, models, letters)


def gib(size: int) -> str:
    """`14.96`; what is there and would read as nothing is `<0.01`."""
    return "<0.01" if 0 < size < GIB * 0.005 else f"{size / GIB:,.2f}"


def ranges(numbers: Sequence[int]) -> str:
    """`0-3, 6` for 0, 1, 2, 3, 6, which are ascending."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def _cards(cards: Sequence[Card], models: Mapping[str, str], letters: Letters) -> RenderableType:
    """Cards of one kind. Those that hold the same follow each other and share their figures."""
    parts: list[RenderableType] = [_heading(cards)]
    for _, alike in groupby(
        cards, lambda card: (_contents(card.parts, models), _contents(card.turns, models), card.notes)
    ):
        run = tuple(alike)
        grid = Table.grid(padding=(0, 1), expand=True)
        grid.add_column(justify="right", width=INDENT - 1, no_wrap=True)
        grid.add_column(no_wrap=True)
        grid.add_column(ratio=1)
        for card in run:
            short = "declared" if card.is_declared else card.uuid[:UUID_SHOWN]
            grid.add_row(str(card.number), short, Bar(card.parts, letters))
        below = [*_figures([card.parts for card in run], models, letters), _rest(run[0].parts, run[0].over_bytes)]
        below += _turns([card.turns for card in run], models, letters)
        below += [Text(note, "bold red") for note in run[0].notes]
        parts += [grid, *(Padding(each, (0, 0, 0, INDENT), expand=False) for each in below)]
    return Group(*parts)


def _contents(parts: Sequence[Part], models: Mapping[str, str]) -> tuple[tuple[PartKind, int, str | None], ...]:
    """What makes two cards look alike: bytes and models, whichever replica it is."""
    return tuple((part.kind, part.bytes, models.get(part.engine or "")) for part in parts)


def _heading(cards: Sequence[Card]) -> Text:
    first = cards[0]
    text = Text(f"{len(cards)} x " if len(cards) > 1 else "").append(first.name, "bold")
    text.append(f", {gib(first.total_bytes)} GiB" + (" each" if len(cards) > 1 else ""))
    text.append(f", capability {first.capability}" if first.capability else "")
    text.append(f", part of {first.parent_uuid[:UUID_SHOWN]}" if first.parent_uuid else "")
    islands = sorted({card.island for card in cards if card.island is not None})
    joined = [ranges([card.number for card in cards if card.island == island]) for island in islands]
    text.append(f", NVLink joins {' and '.join(joined)}" if joined else "")
    if first.is_declared:
        text.append(" (declared, not in this machine)", "yellow")
    return text


def _figures(run: Sequence[Sequence[Part]], models: Mapping[str, str], letters: Letters) -> Iterator[RenderableType]:
    """A line with the exact figures of each engine, or of the replicas that stand in its place on the other cards."""
    grid = Table.grid(padding=(0, 1))
    grid.add_column()
    grid.add_column(overflow="fold")
    for _ in range(len(OF_ENGINES) + 1):
        grid.add_column(no_wrap=True)
        grid.add_column(justify="right", no_wrap=True)
    for engines in zip(*(_engines_of(parts) for parts in run), strict=True):
        own = list(dict.fromkeys(engines))
        name = own[0] if len(own) == 1 else f"{len(own)} x {models[own[0]]}"
        sizes = {part.kind: part.bytes for part in run[0] if part.engine == engines[0]}
        terms: list[RenderableType] = []
        for kind, word in OF_ENGINES.items():
            terms += [Text.assemble("+ " if terms else " ", (word, LOOKS[kind].style)), gib(sizes.get(kind, 0))]
        mark = Text("".join(letters[engine] for engine in own), "bold reverse")
        grid.add_row(mark, Text(name), *terms, "=", gib(sum(sizes.values())), "GiB")
    if grid.rows:
        yield grid


def _turns(run: Sequence[Sequence[Part]], models: Mapping[str, str], letters: Letters) -> Iterator[RenderableType]:
    """What starts asleep there, and is in no bar."""
    if run[0]:
        yield Text("in place of others, when it is wanted:", "dim")
        yield from _figures(run, models, letters)


def _engines_of(parts: Sequence[Part]) -> list[str]:
    return list(dict.fromkeys(part.engine for part in parts if part.engine is not None))


def _rest(parts: Sequence[Part], over_bytes: int) -> Text:
    """What is not an engine's."""
    sizes = {part.kind: part.bytes for part in parts if part.engine is None}
    said = [kind for kind in OF_NO_ENGINE if kind in sizes or kind is PartKind.FREE]
    text = Text(", ".join(f"{OF_NO_ENGINE[kind]} {gib(sizes.get(kind, 0))}" for kind in said) + " GiB", "dim")
    if over_bytes:
        text.append(f"; {gib(over_bytes)} GiB more than there is", "not dim red")
    return text


def _host(host: Host, models: Mapping[str, str], letters: Letters) -> RenderableType:
    """Without GPUs: the engines as a bar of the machine's memory."""
    heading = Text(f"RAM {gib(host.total_bytes)} GiB, {'core' if len(host.cores) == 1 else 'cores'} ")
    heading.append(ranges(host.cores))
    below = [Bar(host.parts, letters), *_figures([host.parts], models, letters), _rest(host.parts, host.over_bytes)]
    below += _turns([host.turns], models, letters)
    return Group(heading, *(Padding(each, (0, 0, 0, INDENT), expand=False) for each in below))
