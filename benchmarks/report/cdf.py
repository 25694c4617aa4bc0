"""How latencies are distributed: which share of the requests, or of the gaps between tokens, was at most so slow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from numpy.typing import NDArray

from benchmarks.drive.sample import Sample
from benchmarks.figures.promise import values_of
from benchmarks.report import plotting
from benchmarks.report.plotting import BAD, CYCLE, DASHED, GRID, INK, MUTED
from benchmarks.report.subject import limits_in

# Enough that a curve looks smooth, few enough that a page of many stays small.
POINTS = 240
LOG_FROM = 15.0
# More curves than this cannot be told apart.
MOST = 5
MARKED = (0.5, 0.95)
STREAMED = {"ttft_s": "Time to first token", "itl_s": "Gap between tokens"}
WHOLE = {"e2e_s": "Time to the whole answer"}


def drawn(samples_by_run: Mapping[str, Sequence[Sample]], promise: str, is_wide: bool) -> Canvas:
    """One panel for the first token, one for the gaps, or one for whole answers; one curve for each run."""
    titles = STREAMED if _streams(samples_by_run) else WHOLE
    made = plotting.canvas(is_wide, 3.3 if is_wide else 3.1 * len(titles))
    shape = (1, len(titles)) if is_wide else (len(titles), 1)
    panels = made.subplots(*shape, squeeze=False).flatten()
    for axes, (name, title) in zip(panels, titles.items(), strict=True):
        for (run, samples), colour in zip(chosen(samples_by_run).items(), CYCLE, strict=False):
            _curve(axes, _values(samples, name), run, colour)
        _frame(axes, limits_in(promise).get(name))
        plotting.label(axes, title, lifted=True)
    _name_runs(made, panels[0])
    return made


def chosen(samples_by_run: Mapping[str, Sequence[Sample]]) -> dict[str, Sequence[Sample]]:
    """All runs, or some of them from the first to the last, evenly."""
    names = list(samples_by_run)
    if len(names) > MOST:
        names = [names[round(place)] for place in np.linspace(0, len(names) - 1, MOST)]
    return {name: samples_by_run[name] for name in names}


def has_values(samples_by_run: Mapping[str, Sequence[Sample]]) -> bool:
    """Whether anything was answered: without that there is nothing to draw."""
    return any(sample.ok for samples in samples_by_run.values() for sample in samples)


def _streams(samples_by_run: Mapping[str, Sequence[Sample]]) -> bool:
    return any(sample.ok and sample.first_s is not None for samples in samples_by_run.values() for sample in samples)


def _values(samples: Sequence[Sample], name: str) -> NDArray[np.float64]:
    return np.sort(np.array([value for sample in samples for value in values_of(sample, name)], dtype=np.float64))


def _curve(axes: Axes, values: NDArray[np.float64], name: str, colour: str) -> None:
    if values.size == 0:
        return
    # Denser towards the slow end, which is what people look at.
    shares = np.concatenate(
        [np.linspace(0, 0.9, POINTS // 2), 1 - np.geomspace(0.1, 1 / max(values.size, 20), POINTS // 2)]
    )
    axes.plot(np.quantile(values, shares), shares * 100, color=colour, linewidth=1.8, label=name)


def _name_runs(made: Canvas, axes: Axes) -> None:
    """Once for both panels, below them."""
    lines, names = axes.get_legend_handles_labels()
    if len(names) > 1:
        made.legend(
            lines, names, loc="outside lower left", frameon=False, fontsize=9, labelcolor=INK, ncols=min(len(names), 3),
            handlelength=1.6,
        )  # fmt: skip


def _frame(axes: Axes, limit_s: float | None) -> None:
    plotting.plain(axes)
    low, high = axes.dataLim.x0, axes.dataLim.x1
    if limit_s is not None and low <= limit_s * 3:
        axes.axvline(limit_s, color=BAD, linewidth=1.1, linestyle=DASHED)
        plotting.name_line(axes, limit_s, "promised", BAD)
        high = max(high, limit_s)
    if low > 0 and high / low > LOG_FROM:
        axes.set_xscale("log")
    else:
        axes.set_xlim(0, high * 1.05 or 1.0)
        axes.locator_params(axis="x", nbins=5)
    for share in MARKED:
        axes.axhline(share * 100, color=GRID, linewidth=1.4, zorder=0.9)
    axes.set_ylim(0, 101)
    axes.set_yticks([0, 25, 50, 75, 95], ["0 %", "25 %", "50 %", "75 %", "95 %"], color=MUTED)
    plotting.ticks_in(axes, horizontal="seconds")
    axes.minorticks_off()
