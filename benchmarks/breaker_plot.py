"""Draws what a breaker did: failures and traffic over time, and its states below. It must not know how it was seen."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from types import MappingProxyType

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from benchmarks.breaker import Bin, Spell

INK = "#1f2933"
FAILS, TRAFFIC = "#b3541e", "#1b6ca8"
SHADE = "#eef1f4"
STATES = MappingProxyType({"closed": "#7fb77e", "open": "#c8553d", "half-open": "#e9b44c", "returning": "#8fb8de"})


def draw(spells: Sequence[Spell], end_s: float, bins: Sequence[Bin], file: Path) -> None:
    """Write the picture; its suffix names the format."""
    figure = Figure(figsize=(11, 5.2), layout="constrained", facecolor="white")
    shares, states = figure.subplots(2, 1, sharex=True, height_ratios=(6, 1))
    at_s = [each.from_s for each in bins]
    step_s = bins[1].from_s - bins[0].from_s
    asked = [each.asked / each.requests if each.requests else 0.0 for each in bins]
    shares.step(at_s, asked, where="post", color=TRAFFIC, linewidth=1.6, label="asked first: share of all requests")
    tried = [each for each in bins if each.tried]
    shares.plot(
        [each.from_s + step_s / 2 for each in tried],
        [each.failed / each.tried for each in tried],
        "o",
        color=FAILS,
        markersize=3,
        label="failed: share of its own requests",
    )
    ends = [*(each.from_s for each in spells[1:]), end_s]
    for spell, until_s in zip(spells, ends, strict=True):
        if spell.share:
            shares.axvspan(spell.from_s, until_s, color=SHADE, zorder=0)
        shares.text((spell.from_s + until_s) / 2, 1.08, str(spell), ha="center", color=INK, fontsize=9)
    shares.set_ylim(-0.03, 1.15)
    shares.yaxis.set_major_formatter(PercentFormatter(1.0))
    shares.legend(loc="upper right", bbox_to_anchor=(1.0, 1.12), ncols=2, frameon=False, fontsize=9)
    for state, group in groupby(bins, key=lambda each: each.state):
        part = list(group)
        span = (part[0].from_s, part[-1].from_s + step_s - part[0].from_s)
        states.broken_barh([span], (0, 1), color=STATES[state])
    for at, (state, colour) in enumerate(STATES.items()):
        states.text(0.01 + at * 0.1, -1.15, f"\N{BLACK SQUARE} {state}", color=colour, transform=states.transAxes)
    states.set_yticks([])
    states.set_xlim(0, end_s)
    states.set_xlabel("time (s)", color=INK)
    for axes in (shares, states):
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(
        "A preferred cloud fails: its traffic and its breaker", x=0.01, ha="left", color=INK, fontweight="bold"
    )
    figure.savefig(file, dpi=150)
