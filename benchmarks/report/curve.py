"""The throughput-latency curve: what each load costs in waiting, the promise, and the knee."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from benchmarks.report import plotting
from benchmarks.report.document import Document, Figure, Run
from benchmarks.report.plotting import BAD, DASHED, INK, LINE, MUTED, PAPER, SECOND, THIRD
from benchmarks.report.subject import curve_of, keeps, knee_of, limits_in, offered

# Between such extremes a linear axis would show only the largest.
LOG_FROM = 15.0
TITLES = ("Time to first token", "Time per output token", "Output tokens per second", "Good answers per second")


def drawn(document: Document, is_wide: bool) -> Canvas:
    """First token, time per token, tokens and good answers per second against the load."""
    made = plotting.canvas(is_wide, 5.8 if is_wide else 9.6)
    panels = (made.subplots(2, 2) if is_wide else made.subplots(4, 1)).flatten()
    runs = curve_of(document)
    knee, unit = knee_of(document), offered(runs[0]).unit
    _latency(panels[0], runs, "ttft_s", ("p50", "p95", "p99"))
    _latency(panels[1], runs, "tpot_s", ("p50", "p95"))
    _rate(panels[2], runs, lambda run: run.summary.output_tokens_per_s)
    _rate(panels[3], runs, _goodput)
    for axes, title in zip(panels, TITLES, strict=True):
        plotting.plain(axes)
        plotting.label(axes, title, lifted=knee is not None)
        axes.set_xlim(left=0)
        if knee is not None:
            axes.axvline(knee.load, color=INK, linewidth=1.0, linestyle=DASHED, zorder=2)
            plotting.name_line(axes, knee.load, f"kept up to {knee.load:,.4g}", INK)
    for axes in panels[-2:] if is_wide else panels[-1:]:
        axes.set_xlabel(f"load: {unit}", color=MUTED, fontsize=9)
    for axes in panels[:2]:
        plotting.legend(axes, lifted=knee is not None)
    return made


def _latency(axes: Axes, runs: Sequence[Run], name: str, statistics: Sequence[str]) -> None:
    """One line for each statistic, with its interval; hollow where the promise was broken."""
    shown = [(offered(run).load, run, figure) for run in runs if (figure := _figure(run, name)) is not None]
    highest, lowest = 0.0, float("inf")
    for statistic, colour in zip(statistics, (LINE, SECOND, MUTED), strict=False):
        values = [getattr(figure, statistic) for _, _, figure in shown]
        if not values:
            continue
        low = [figure.low.get(statistic, value) for (_, _, figure), value in zip(shown, values, strict=True)]
        high = [figure.high.get(statistic, value) for (_, _, figure), value in zip(shown, values, strict=True)]
        each = [load for load, _, _ in shown]
        loads, middle = _by_load(each, values, fmean)
        axes.plot(loads, middle, color=colour, linewidth=1.7, label=statistic, zorder=3)
        below, above = _by_load(each, low, min)[1], _by_load(each, high, max)[1]
        axes.fill_between(loads, below, above, color=colour, alpha=0.15, linewidth=0)
        _dots(axes, shown, values, colour)
        highest, lowest = max(highest, *values), min(lowest, *values)
    limit_s = limits_in(runs[0].summary.promise).get(name)
    _limit(axes, limit_s)
    if lowest > 0 and highest / lowest > LOG_FROM:
        axes.set_yscale("log")
    else:
        axes.set_ylim(0, max(highest, limit_s or 0.0) * 1.12 or 1.0)
    plotting.ticks_in(axes, vertical="seconds")
    axes.minorticks_off()


def _by_load(
    loads: Sequence[float], values: Sequence[float], joined: Callable[[Sequence[float]], float]
) -> tuple[list[float], list[float]]:
    """One value for each load: a search repeats some."""
    groups: dict[float, list[float]] = {}
    for load, value in zip(loads, values, strict=True):
        groups.setdefault(load, []).append(value)
    return list(groups), [joined(group) for group in groups.values()]


def _dots(axes: Axes, shown: Sequence[tuple[float, Run, Figure]], values: Sequence[float], colour: str) -> None:
    for (load, run, _), value in zip(shown, values, strict=True):
        inside = PAPER if keeps(run) is False else colour
        axes.plot([load], [value], marker="o", markersize=5, color=colour, markerfacecolor=inside, zorder=4)


def _rate(axes: Axes, runs: Sequence[Run], reading: Callable[[Run], float]) -> None:
    loads, values = [offered(run).load for run in runs], [reading(run) for run in runs]
    axes.plot(*_by_load(loads, values, fmean), color=THIRD, linewidth=1.7, zorder=3)
    for run, load, value in zip(runs, loads, values, strict=True):
        inside = PAPER if keeps(run) is False else THIRD
        axes.plot([load], [value], marker="o", markersize=5, color=THIRD, markerfacecolor=inside, zorder=4)
    axes.set_ylim(0, max(values) * 1.12 or 1.0)
    plotting.ticks_in(axes, vertical="numbers")


def _goodput(run: Run) -> float:
    """Without a promise, every answer is good."""
    return run.summary.requests_per_s if run.summary.goodput_per_s is None else run.summary.goodput_per_s


def _limit(axes: Axes, limit_s: float | None) -> None:
    if limit_s is not None:
        axes.axhline(limit_s, color=BAD, linewidth=1.1, linestyle=DASHED, zorder=2)
        plotting.name_line(axes, limit_s, "promised", BAD, limit=True)


def _figure(run: Run, name: str) -> Figure | None:
    found: Figure | None = getattr(run.summary, name)
    return found
