"""The bill against the number of engines and against the promise, as a PNG. It must not know how it was reckoned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from benchmarks.report import plotting
from benchmarks.report.plotting import BAD, CYCLE, INK, MUTED, PAPER
from benchmarks.whatifs.answer import Answer
from benchmarks.whatifs.case import NOW
from benchmarks.whatifs.reckoned import Reckoned
from benchmarks.whatifs.sentence import usd

HEIGHT_IN = 3.9


def draw(answers: Sequence[Answer], title: str, file: Path) -> None:
    """Write it. A line for each model; its point of today is large, hollow ones break the promise."""
    made = plotting.canvas(True, HEIGHT_IN)
    engines, promise = made.subplots(1, 2, sharey=True)
    for answer, colour in zip(answers, CYCLE * len(answers), strict=False):
        by_engines = [each for case, each in answer.cases.items() if case.factor == 1]
        by_promise = [each for case, each in answer.cases.items() if not case.more]
        _line(engines, answer, by_engines, lambda each: each.engines, colour)
        _line(promise, answer, by_promise, lambda each: each.ttft_s, colour)
    one = answers[0]
    _panel(engines, f"by number of engines{f' ({one.word})' if len(answers) == 1 and one.word != 'engine' else ''}")
    _panel(promise, "by promised time to first token")
    engines.xaxis.set_major_locator(MaxNLocator(integer=True))
    plotting.ticks_in(promise, horizontal="seconds")
    if len(answers) > 1:
        engines.legend(frameon=False, fontsize=8.5, labelcolor=INK)
    top = max(each.month_usd for answer in answers for each in answer.cases.values())
    engines.set_ylim(0, top * 1.18 or 1.0)
    engines.yaxis.set_major_formatter(FuncFormatter(lambda value, _: usd(value)))
    made.suptitle(title, x=0.01, ha="left", color=INK, fontsize=10.5, fontweight="bold", wrap=True)
    file.write_bytes(plotting.png_of(made))


def _line(axes: Axes, answer: Answer, each: Sequence[Reckoned], at: Callable[[Reckoned], float], colour: str) -> None:
    points = sorted(each, key=at)
    axes.plot([at(one) for one in points], [one.month_usd for one in points], color=colour, linewidth=1.7, zorder=3, label=answer.name)
    for one in points:
        is_now = one == answer.cases[NOW]
        inside = colour if one.is_kept else PAPER
        axes.plot([at(one)], [one.month_usd], "o", markersize=9 if is_now else 5.5, color=colour, markerfacecolor=inside, zorder=4)
        axes.annotate(
            f"{'now, ' if is_now else ''}{usd(one.month_usd)}", (at(one), one.month_usd), xytext=(6, 7),
            textcoords="offset points", color=INK if one.is_kept else BAD, fontsize=8.5,
            fontweight="bold" if is_now else "normal", zorder=5,
        )  # fmt: skip


def _panel(axes: Axes, title: str) -> None:
    plotting.plain(axes)
    plotting.label(axes, f"Cloud bill a month, {title}")
    axes.margins(x=0.12)
    axes.tick_params(colors=MUTED)
