"""Draws what a soak has seen: memory above, file descriptors below, the phases shaded and named.

The one door to matplotlib. It must not know how anything was measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from benchmarks.memory_watch import Mark
from benchmarks.soak_report import Levels, Phase, Soaked

INK = "#1f2933"
MUTED = "#66717d"
LINE = "#1b6ca8"
SECOND = "#b3541e"
SHADES = ("#eef1f4", "#dfe5ea")
# In the other phases the router rests.
NAMED = (Phase.WARM_UP, Phase.REQUESTS, Phase.ABORTS, Phase.IDLE)


def draw(marks: Sequence[Mark], soaked: Soaked, seen: Levels, file: Path) -> None:
    """Write the picture; its suffix names the format."""
    figure = Figure(figsize=(11, 6.2), layout="constrained", facecolor="white")
    memory, descriptors = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    seconds = [mark.at_s for mark in marks]
    memory.plot(seconds, [mark.rss_bytes / 1e6 for mark in marks], color=LINE, linewidth=1.8)
    descriptors.plot(seconds, [mark.descriptors for mark in marks], color=SECOND, linewidth=1.5)
    _annotate(memory, marks, soaked, seen)
    for axes in (memory, descriptors):
        _shade(axes, marks)
        _plain(axes)
    _name_phases(memory, marks, soaked)
    memory.set_ylim(0, max(mark.rss_bytes for mark in marks) / 1e6 * 1.3)
    memory.set_ylabel("resident memory (MB)", color=INK)
    descriptors.set_ylim(0, seen.descriptors_peak * 1.15)
    descriptors.set_ylabel("file descriptors", color=INK)
    descriptors.set_xlabel("time (s)", color=INK)
    descriptors.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    descriptors.set_xlim(0, seconds[-1])
    figure.align_ylabels()
    figure.suptitle("The router's process in a soak", x=0.01, ha="left", color=INK, fontsize=12, fontweight="bold")
    figure.savefig(file, dpi=150)


def _annotate(axes: Axes, marks: Sequence[Mark], soaked: Soaked, seen: Levels) -> None:
    """The level from which growth counts, the growth, and the memory with idle streams."""
    warm_mb, settled_mb, idle_mb = (each / 1e6 for each in (seen.warm_bytes, seen.settled_bytes, seen.idle_bytes))
    begins_s, ends_s = (_spans(marks)[phase] for phase in (Phase.REQUESTS, Phase.SETTLED))
    axes.plot([begins_s[0], ends_s[1]], [warm_mb, warm_mb], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    said = f"{warm_mb:.1f} MB after warm-up, {settled_mb:.1f} MB after the aborts: {settled_mb - warm_mb:+.1f} MB"
    above = max(mark.rss_bytes for mark in marks if begins_s[0] <= mark.at_s <= ends_s[1]) / 1e6
    axes.annotate(
        said,
        ((begins_s[0] + ends_s[1]) / 2, above),
        xytext=(0, 8),
        textcoords="offset points",
        ha="center",
        color=INK,
        fontsize=10,
    )
    axes.annotate(
        f"{idle_mb:.1f} MB with {soaked.idle_streams:,} idle streams",
        (_spans(marks)[Phase.IDLE][1], idle_mb),
        xytext=(0, 8),
        textcoords="offset points",
        ha="right",
        color=INK,
        fontsize=10,
    )


def _spans(marks: Sequence[Mark]) -> dict[str, tuple[float, float]]:
    """From where to where each phase went, in seconds; a phase ends where the next begins."""
    begins = [(name, next(group).at_s) for name, group in groupby(marks, key=lambda mark: mark.phase)]
    ends = [at_s for _, at_s in begins[1:]] + [marks[-1].at_s]
    return {name: (at_s, end_s) for (name, at_s), end_s in zip(begins, ends, strict=True)}


def _shade(axes: Axes, marks: Sequence[Mark]) -> None:
    """Phases in which something happens are shaded, the rests between them are white."""
    for name, (begins_s, ends_s) in _spans(marks).items():
        if name in NAMED:
            shade = SHADES[NAMED.index(Phase(name)) % len(SHADES)]
            axes.axvspan(begins_s, ends_s, color=shade, linewidth=0, zorder=0)


def _name_phases(axes: Axes, marks: Sequence[Mark], soaked: Soaked) -> None:
    """Above the axes, in the middle of each phase."""
    counts = {
        Phase.WARM_UP: "",
        Phase.REQUESTS: f"{soaked.requests:,}",
        Phase.ABORTS: f"{sum(soaked.aborted.values()):,}",
        Phase.IDLE: f"{soaked.idle_streams:,}",
    }
    for name, (begins_s, ends_s) in _spans(marks).items():
        if name in NAMED:
            axes.annotate(
                f"{counts[Phase(name)]}\n{name}",
                ((begins_s + ends_s) / 2, 1.0),
                xycoords=("data", "axes fraction"),
                xytext=(0, 4),
                textcoords="offset points",
                ha="center",
                va="bottom",
                color=INK,
                fontsize=10,
            )


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)
    axes.tick_params(colors=MUTED)
    axes.grid(axis="y", color="#d5dbe1", linewidth=0.6)
    axes.set_axisbelow(True)
