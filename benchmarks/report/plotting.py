"""How our pictures look, and the one door to matplotlib: axes in, PNG or SVG out.

Every colour is a role. In a PNG a role has the colour of a light page; in an SVG it is a CSS variable, so that the page
decides, in light and in dark. Text stays text in an SVG: it can be read aloud, searched and copied.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from types import MappingProxyType

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter
from matplotlib.transforms import ScaledTranslation

from benchmarks.report.quantity import digits, seconds

INK = "#1f2933"
MUTED = "#66717d"
GRID = "#d5dbe1"
PAPER = "#ffffff"
LINE = "#1b6ca8"
SECOND = "#b3541e"
THIRD = "#2e7d4f"
FOURTH = "#7a4fa3"
FIFTH = "#8a6d1d"
BAD = "#c0272d"
CYCLE = (LINE, SECOND, THIRD, FOURTH, FIFTH)
# The CSS variable of each role; the page gives it a colour for light and for dark.
ROLES = MappingProxyType(
    {
        INK: "--ink",
        MUTED: "--muted",
        GRID: "--grid",
        PAPER: "--paper",
        LINE: "--line",
        SECOND: "--second",
        THIRD: "--third",
        FOURTH: "--fourth",
        FIFTH: "--fifth",
        BAD: "--bad",
    }
)
DASHED = (0, (4, 3))
DPI = 150
POINTS_AN_INCH = 72
TITLE_POINTS = 10.5
RAISED_POINTS = 5.0
LIFTED_POINTS = 17.0
# Inches, at 72 points each; a phone gets pictures drawn for its width, not wide ones made small.
WIDE_IN = 8.6
NARROW_IN = 4.1
PROLOGUE = re.compile(r"^.*?(?=<svg)", re.DOTALL)
SIZE = re.compile(r'(<svg[^>]*?) (?:width|height)="[^"]*"')
# A page needs neither, and then holds no address at all.
NAMESPACE = re.compile(r' xmlns(?::xlink)?="[^"]*"')
METADATA = re.compile(r"<metadata>.*?</metadata>\s*", re.DOTALL)
GROUP_NAME = re.compile(r'<g id="[^"]*"')
# What would reach beyond the picture, and what keeps its text from looking like that of the page.
STYLE = re.compile(r"<style.*?</style>", re.DOTALL)
FONT = re.compile(r"font-family: [^;\"]*;? ?")


@dataclass(frozen=True, slots=True)
class Picture:
    """What to see, in words; PNG for files, and SVG for a wide and for a narrow page."""

    name: str
    title: str
    caption: str
    png: bytes
    wide_svg: str
    narrow_svg: str


def canvas(is_wide: bool, height_in: float) -> Canvas:
    """An empty one; nothing but its caller ever draws on it."""
    return Canvas(figsize=(WIDE_IN if is_wide else NARROW_IN, height_in), layout="constrained", facecolor=PAPER)


def png_of(drawn: Canvas) -> bytes:
    """For files, pull requests and slides: on white."""
    written = io.BytesIO()
    drawn.savefig(written, format="png", dpi=DPI)
    return written.getvalue()


def svg_of(drawn: Canvas, name: str) -> str:
    """To stand inside a page: transparent, as wide as there is room, colours by CSS. The same drawing, the same text.

    `name` keeps the ids of several pictures on one page apart.
    """
    written = io.StringIO()
    # A date would make every page differ from the last.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        drawn.savefig(written, format="svg", transparent=True, metadata={"Date": None})
    text = METADATA.sub("", PROLOGUE.sub("", written.getvalue()))
    text = NAMESPACE.sub("", text).replace("xlink:href", "href")
    for _ in ("width", "height"):
        text = SIZE.sub(r"\1", text, count=1)
    text = FONT.sub("", STYLE.sub("", GROUP_NAME.sub("<g", text)))
    for colour, role in ROLES.items():
        text = text.replace(colour, f"var({role})")
    return text.strip()


def plain(axes: Axes) -> None:
    """A grid to read values from, and no frame."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)
    axes.tick_params(colors=MUTED, which="both", labelsize=9)
    axes.grid(axis="y", color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)


def label(axes: Axes, title: str, *, lifted: bool = False) -> None:
    """What is drawn, above the axes on the left, where reading begins; lifted where a mark is named below it."""
    axes.set_title(title, loc="left", color=INK, fontsize=TITLE_POINTS, pad=LIFTED_POINTS if lifted else RAISED_POINTS)


def legend(axes: Axes, *, lifted: bool = False) -> None:
    """Names of the lines where there is more than one: above the axes on the right, where they hide nothing."""
    _, names = axes.get_legend_handles_labels()
    if len(names) > 1:
        above_in = (LIFTED_POINTS if lifted else RAISED_POINTS) / POINTS_AN_INCH
        corner = axes.transAxes + ScaledTranslation(0, above_in, axes.figure.dpi_scale_trans)
        axes.legend(
            frameon=False, fontsize=8.5, labelcolor=INK, loc="lower right", bbox_to_anchor=(1.0, 1.0),
            bbox_transform=corner,
            borderaxespad=0.0, borderpad=0.0, ncols=len(names), handlelength=1.2, handletextpad=0.4, columnspacing=0.9,
        )  # fmt: skip


def name_line(axes: Axes, at: float, words: str, colour: str, *, limit: bool = False) -> None:
    """Say what an upright line is, above it; or what a level one is, at its left end."""
    if limit:
        where, to, side = (0.01, at), ("axes fraction", "data"), "left"
    else:
        where, to, side = (at, 1.0), ("data", "axes fraction"), "center"
    axes.annotate(
        words, where, xycoords=to, xytext=(0, 2.5), textcoords="offset points", ha=side, va="bottom", color=colour,
        fontsize=8.5,
    )  # fmt: skip


def in_seconds(value: float, _: object = None) -> str:
    """A tick."""
    return seconds(value)


def in_numbers(value: float, _: object = None) -> str:
    """A tick."""
    return digits(value)


def ticks_in(axes: Axes, *, vertical: str = "", horizontal: str = "") -> None:
    """`seconds` or `numbers` along either axis; empty leaves it as it is."""
    chosen = {"seconds": in_seconds, "numbers": in_numbers}
    if vertical:
        axes.yaxis.set_major_formatter(FuncFormatter(chosen[vertical]))
    if horizontal:
        axes.xaxis.set_major_formatter(FuncFormatter(chosen[horizontal]))
