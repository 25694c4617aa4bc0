"""The bill against the number of engines and against the promise, as a PNG. It must not know how it was reckoned."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from operator import itemgetter
from pathlib import Path
from textwrap import fill

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from benchmarks.report import plotting
from benchmarks.report.plotting import BAD, CYCLE, INK, PAPER
from benchmarks.whatifs.answer import Answer
from benchmarks.whatifs.reckoned import Reckoned
from benchmarks.whatifs.sentence import usd

HEIGHT_IN = 4.0
TITLE_LETTERS = 102
LARGE, SMALL = 9.0, 5.5
# Room above the highest point for what is written at it.
HEAD = 1.2

Point = tuple[float, Reckoned]


def draw(answers: Sequence[Answer], title: str, file: Path) -> None:
    """Write it. A line for each model; the point of today is large, a hollow one breaks the promise."""
    made = plotting.canvas(True, HEIGHT_IN)
    engines, promise = made.subplots(1, 2)
    for answer, colour in zip(answers, cycle(CYCLE), strict=False):
        is_alone = len(answers) == 1
        # Half the engines cost so much more that nothing else could be seen beside them.
        by_engines = [each for case, each in answer.cases.items() if case.factor == 1 and case.more >= -1]
        by_promise = [each for case, each in answer.cases.items() if not case.more]
        _line(engines, [(each.engines, each) for each in by_engines], answer.now, colour, is_alone)
        _line(promise, [(each.ttft_s, each) for each in by_promise], answer.now, colour, is_alone)
    word = answers[0].word if len(answers) == 1 else "engine"
    _panel(engines, "by engines" if word == "engine" else f"by engines ({word})")
    _panel(promise, "by promised time to first token")
    engines.xaxis.set_major_locator(MaxNLocator(integer=True))
    promise.set_xticks(sorted({each.ttft_s for answer in answers for each in answer.cases.values()}))
    plotting.ticks_in(promise, horizontal="seconds")
    promise.xaxis.set_minor_locator(NullLocator())
    _name_marks(engines, answers)
    made.suptitle(fill(title, TITLE_LETTERS), x=0.01, ha="left", color=INK, fontsize=9.5, fontweight="bold")
    file.write_bytes(plotting.png_of(made))


def _line(axes: Axes, points: Sequence[Point], now: Reckoned, colour: str, is_alone: bool) -> None:
    """With a word at each point; where there are other lines, only at that of today."""
    points = sorted(points, key=itemgetter(0))
    bills = [each.month_usd for _, each in points]
    axes.plot([at for at, _ in points], bills, color=colour, linewidth=1.7, zorder=3, clip_on=False)
    axes.set_ylim(0, max(axes.get_ylim()[1], max(bills) * HEAD))
    for at, each in points:
        is_now = each == now
        axes.plot(
            [at], [each.month_usd], "o", markersize=LARGE if is_now else SMALL, color=colour, zorder=4,
            markerfacecolor=colour if each.is_kept else PAPER, clip_on=False,
        )  # fmt: skip
        if is_now or is_alone:
            axes.annotate(
                f"now: {usd(each.month_usd)}" if is_now else usd(each.month_usd), (at, each.month_usd), xytext=(5, 6),
                textcoords="offset points", ha="left", color=INK if each.is_kept else BAD, fontsize=8.5,
                fontweight="bold" if is_now else "normal", zorder=5,
            )  # fmt: skip


def _panel(axes: Axes, title: str) -> None:
    plotting.plain(axes)
    plotting.label(axes, f"Cloud bill a month {title}")
    axes.margins(x=0.15)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: usd(value)))


def _name_marks(axes: Axes, answers: Sequence[Answer]) -> None:
    """Which line is whose, and what a hollow point means, where there are any."""
    marks = []
    if len(answers) > 1:
        marks += [
            Line2D([], [], color=colour, label=each.name) for each, colour in zip(answers, cycle(CYCLE), strict=False)
        ]
    if not all(each.is_kept for answer in answers for case, each in answer.cases.items() if case.more >= -1):
        marks.append(Line2D([], [], linestyle="", marker="o", color=BAD, markerfacecolor=PAPER, label="promise broken"))
    if marks:
        axes.legend(handles=marks, frameon=False, fontsize=8.5, labelcolor=INK, loc="upper right")
