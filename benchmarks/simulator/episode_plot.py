"""An episode as a picture: load, room, line, first tokens and dollars over one axis of time. Values in, PNG out."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.offsetbox import AnchoredOffsetbox, HPacker, TextArea
from matplotlib.ticker import FuncFormatter, MaxNLocator

from benchmarks.report import plotting
from benchmarks.report.plotting import INK, MUTED, PAPER
from benchmarks.report.quantity import dollars, seconds
from benchmarks.simulator.episode import Episode

# Of Okabe and Ito's colours for the colour-blind (2008): blue and vermilion, which are told apart in grey as well.
HERE, CLOUD, PALE = "#0072b2", "#d55e00", "#9fc8e0"
HEIGHT_IN = 8.4
SUBTITLE_AT = 0.967
HEIGHTS = (1.5, 0.9, 0.9, 2.0, 1.1)
# In how many steps the load is counted, and over how many parts of the stretch the share spilled is said.
STEPS, PARTS = 60, 9
# The picture of first tokens ends at this many times the promise; what came later is drawn at its edge.
TOP = 1.75
LEAST_DOT, MOST_DOT, DOTS = 2.0, 14.0, 6000.0
MINUTE, HOUR = 60, 3600


def draw(episode: Episode, title: str, beneath: str, file: Path) -> None:
    """Writes a PNG, about 1,290 points wide. Raises OSError where it cannot be written."""
    made = plotting.canvas(True, HEIGHT_IN)
    panels = load, room, line, firsts, paid = made.subplots(5, 1, sharex=True, height_ratios=HEIGHTS)
    _load(load, episode)
    _level(room, episode, [100 * each for each in episode.kv_share], "KV cache used (%)", top=100.0)
    _level(line, episode, episode.waiting.tolist(), "Requests in line, served nowhere yet")
    _firsts(firsts, episode)
    _paid(paid, episode)
    for axes in panels:
        plotting.plain(axes)
        axes.set_xlim(episode.stretch.from_s, episode.stretch.to_s)
        axes.set_ylim(bottom=0)
    paid.xaxis.set_major_formatter(FuncFormatter(_clock))
    paid.set_xlabel("time in the trace", color=MUTED, fontsize=9)
    made.suptitle(f"{title}\n", x=0.01, ha="left", color=INK, fontsize=12, fontweight="bold")
    made.text(0.01, SUBTITLE_AT, beneath, ha="left", va="top", color=MUTED, fontsize=9.5)
    file.write_bytes(plotting.png_of(made))


def _load(axes: Axes, episode: Episode) -> None:
    """What came, by where it was served; above it, the share that was spilled."""
    step_s = episode.stretch.lasts_s / STEPS
    at_s, here, spilled = (np.append(each, each[-1]) for each in episode.rates(step_s))
    at_s[-1] = episode.stretch.to_s
    axes.fill_between(at_s, 0, here, step="post", color=HERE, linewidth=0)
    axes.fill_between(at_s, here, here + spilled, step="post", color=CLOUD, linewidth=0)
    axes.set_ylim(0, float((here + spilled).max()) * 1.35)
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    _named(axes, "Requests that came, a second", (("served here", HERE), ("spilled to the cloud", CLOUD)))
    said = "spilled: "
    edges = np.linspace(episode.stretch.from_s, episode.stretch.to_s, PARTS + 1).tolist()
    for from_s, to_s in pairwise(edges):
        part = episode.spilled[(episode.came_s >= from_s) & (episode.came_s < to_s)]
        if len(part):
            axes.annotate(
                f"{said}{100 * float(part.mean()):.0f} %", ((from_s + to_s) / 2, 0.98),
                xycoords=("data", "axes fraction"), ha="center", va="top", color=CLOUD if part.any() else MUTED,
                fontsize=9,
            )  # fmt: skip
            said = ""


def _level(axes: Axes, episode: Episode, values: Sequence[float], title: str, top: float | None = None) -> None:
    """As it was from each look to the next."""
    at_s = [*episode.looked_s, episode.stretch.to_s]
    held = [*values, values[-1]]
    axes.fill_between(at_s, 0, held, step="post", color=PALE, linewidth=0)
    axes.step(at_s, held, where="post", color=HERE, linewidth=1.0)
    axes.set_ylim(0, top or max(*held, 1.0) * 1.1)
    axes.yaxis.set_major_locator(MaxNLocator(2 if top else 3, integer=True))
    plotting.label(axes, title)


def _firsts(axes: Axes, episode: Episode) -> None:
    """Each request: a dot where its first token came; the line is where those served here were expected to be."""
    promise_s = episode.promise.ttft_s
    top_s = TOP * promise_s
    size = min(MOST_DOT, max(LEAST_DOT, DOTS / max(len(episode.came_s), 1)))
    drawn_s = np.where(np.isnan(episode.ttft_s), top_s, np.minimum(episode.ttft_s, top_s))
    told = ~np.isnan(episode.expected_ttft_s) & ~episode.spilled
    if told.any():
        came_s, expected_s = episode.came_s[told], np.minimum(episode.expected_ttft_s[told], top_s)
        # No line leads through a time in which nobody came.
        gaps = np.flatnonzero(np.diff(came_s) > episode.stretch.lasts_s / STEPS) + 1
        came_s, expected_s = (np.insert(each, gaps, np.nan) for each in (came_s, expected_s))
        axes.plot(came_s, expected_s, color=INK, linewidth=0.8, alpha=0.8, zorder=1)
    for who, colour in ((~episode.spilled, HERE), (episode.spilled, CLOUD)):
        for beyond, mark, times in ((drawn_s < top_s, "o" if colour == HERE else "D", 1), (drawn_s >= top_s, "^", 2)):
            axes.scatter(
                episode.came_s[who & beyond], drawn_s[who & beyond], s=size * times, color=colour, marker=mark,
                linewidths=0, clip_on=False, zorder=2,
            )  # fmt: skip
    axes.set_ylim(0, top_s)
    _limit(axes, promise_s, f"promised: {promise_s:g} s")
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value_s, _: f"{value_s:g} s"))
    names = [("served here", HERE), ("in the cloud", CLOUD)]
    if told.any():
        off_s = float(np.nanmedian(np.abs(episode.ttft_s[told] - episode.expected_ttft_s[told])))
        names.append((f"line: predicted, median error {seconds(off_s)}", INK))
    _named(axes, "Time to the first token", names)


def _paid(axes: Axes, episode: Episode) -> None:
    """Since the stretch began."""
    at_s, paid_usd, all_usd = episode.paid()
    at_s = np.append(at_s, episode.stretch.to_s)
    paid_usd, all_usd = (np.append(each, each[-1]) for each in (paid_usd, all_usd))
    axes.step(at_s, all_usd, where="post", color=MUTED, linewidth=1.6)
    axes.step(at_s, paid_usd, where="post", color=CLOUD, linewidth=1.6)
    axes.fill_between(at_s, 0, paid_usd, step="post", color=CLOUD, alpha=0.25, linewidth=0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda usd, _: dollars(usd)))
    share = float(paid_usd[-1] / all_usd[-1]) if all_usd[-1] else 0.0
    _named(
        axes,
        "Paid to the cloud since the beginning of this picture",
        (
            (f"all cloud would be {dollars(float(all_usd[-1]))}", MUTED),
            (f"paid {dollars(float(paid_usd[-1]))}, {100 * share:.0f} % of it", CLOUD),
        ),
    )


def _limit(axes: Axes, at: float, words: str) -> None:
    """A level line that says what it is."""
    axes.axhline(at, color=INK, linewidth=1.2, linestyle=plotting.DASHED, zorder=3)
    axes.annotate(
        words, (0.005, at), xycoords=("axes fraction", "data"), xytext=(0, 3), textcoords="offset points", ha="left",
        va="bottom", color=INK, fontsize=8.5, zorder=4,
        bbox={"boxstyle": "square,pad=0.15", "facecolor": PAPER, "edgecolor": "none", "alpha": 0.8},
    )  # fmt: skip


def _named(axes: Axes, title: str, names: Sequence[tuple[str, str]]) -> None:
    """A title, and beside it what each colour is, in that colour."""
    plotting.label(axes, title)
    said: list[Artist] = [
        TextArea(words, textprops={"color": colour, "fontsize": 9, "fontweight": "bold"}) for words, colour in names
    ]
    packed = HPacker(children=said, align="baseline", pad=0, sep=14)
    beside = AnchoredOffsetbox(
        "lower right", child=packed, frameon=False, bbox_to_anchor=(1.0, 1.0), bbox_transform=axes.transAxes,
        pad=0.35, borderpad=0.0,
    )  # fmt: skip
    axes.add_artist(beside)


def _clock(at_s: float, _: object = None) -> str:
    """`26:40`, `9:26:40`."""
    whole = round(at_s)
    minutes = f"{whole % HOUR // MINUTE:02d}:{whole % MINUTE:02d}"
    return f"{whole // HOUR}:{minutes}" if whole >= HOUR else minutes
