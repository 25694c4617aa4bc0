"""What happened when: load and queue, KV cache, tokens, the cloud's bill, power, and each request's first token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from benchmarks.drive.sample import Sample
from benchmarks.report import plotting
from benchmarks.report.document import Moment, Run
from benchmarks.report.plotting import BAD, DASHED, INK, LINE, MUTED, SECOND, THIRD
from benchmarks.report.quantity import dollars
from benchmarks.report.subject import limits_in

Reading = Callable[[Moment], float | None]
LOG_FROM = 15.0
# More dots than this make a picture heavy and no clearer; every nth request is drawn then.
MOST_DOTS = 800
PANEL_IN = 1.45
LINE_IN = 0.15
# Events have names of this length, and distances of this share of the run, to be named where they are; nearer ones than
# `NEAR` share a label. No line of the key is longer than a phone is wide.
SHORT, FAR, NEAR, LONGEST = 14, 0.18, 0.03, 62


@dataclass(frozen=True, slots=True)
class Track:
    """One panel: its title, the lines in it, and how its ticks are written."""

    title: str
    lines: tuple[tuple[str, str, Reading], ...]
    tick: Callable[[float], str] | None = None
    top: float | None = None


def _percent(value: float) -> str:
    return f"{value * 100:.0f} %"


TRACKS = (
    Track(
        "Requests",
        (
            ("in flight", MUTED, lambda moment: moment.in_flight),
            ("running", LINE, lambda moment: moment.running),
            ("waiting", SECOND, lambda moment: moment.waiting),
        ),
    ),
    Track("KV cache used", (("KV cache", LINE, lambda moment: moment.kv_used),), _percent, 1.0),
    Track("Output tokens per second", (("tokens/s", THIRD, lambda moment: moment.output_tokens_per_s),)),
    Track("Spent in the cloud", (("dollars", SECOND, lambda moment: moment.cloud_usd),), dollars),
    Track("GPU power", (("watts", LINE, lambda moment: moment.gpu_power_w),), lambda watts: f"{watts:.0f} W"),
)


def drawn(run: Run, samples: Sequence[Sample], is_wide: bool) -> Canvas:
    """As many panels as there is something to show of, on one axis of time, with the events across all of them."""
    tracks = [track for track in TRACKS if _is_seen(track, run.timeline)]
    firsts = [sample for sample in samples if sample.ttft_s is not None or sample.error]
    count = len(tracks) + bool(firsts)
    heights = ([1.5] if firsts else []) + [1.0] * len(tracks)
    keys = _events_key(run, _end_s(run, samples)).count("\n")
    made = plotting.canvas(is_wide, 0.5 + PANEL_IN * sum(heights) + LINE_IN * keys)
    panels = list(made.subplots(count, 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0])
    for axes, track in zip(panels[count - len(tracks) :], tracks, strict=True):
        _draw(axes, track, run.timeline)
    if firsts:
        _first_tokens(panels[0], firsts, limits_in(run.summary.promise).get("ttft_s"), is_lifted=bool(run.events))
    for axes in panels:
        plotting.plain(axes)
        for at_s, _ in run.events:
            axes.axvline(at_s, color=INK, linewidth=1.0, linestyle=DASHED)
    end_s = _end_s(run, samples)
    if run.events:
        _name_events(panels[0], run, end_s)
    panels[-1].set_xlabel("time (s)", color=MUTED, fontsize=9)
    panels[-1].set_xlim(0, end_s)
    if key := _events_key(run, end_s):
        # Below all panels, and no wider than they are.
        made.supxlabel(key.strip(), x=0.01, ha="left", color=MUTED, fontsize=8)
    made.align_ylabels()
    return made


def can_be_drawn(run: Run, samples: Sequence[Sample]) -> bool:
    """Whether there is anything to see."""
    return len(run.timeline) > 1 or any(sample.ttft_s is not None for sample in samples)


def _end_s(run: Run, samples: Sequence[Sample]) -> float:
    return max([moment.at_s for moment in run.timeline] + [sample.scheduled_s for sample in samples] + [1e-3])


def _is_seen(track: Track, timeline: Sequence[Moment]) -> bool:
    """Whether any line of it is ever known, and ever not zero."""
    return len(timeline) > 1 and any(reading(moment) for moment in timeline for _, _, reading in track.lines)


def _draw(axes: Axes, track: Track, timeline: Sequence[Moment]) -> None:
    for name, colour, reading in track.lines:
        known = [(moment.at_s, value) for moment in timeline if (value := reading(moment)) is not None]
        if known:
            axes.plot(
                [at_s for at_s, _ in known], [value for _, value in known], color=colour, linewidth=1.5, label=name
            )
    plotting.label(axes, track.title)
    axes.set_ylim(0, track.top)
    if track.tick is None:
        plotting.ticks_in(axes, vertical="numbers")
    else:
        tick = track.tick
        axes.yaxis.set_major_formatter(lambda value, _: tick(value))
    plotting.legend(axes)


def _first_tokens(axes: Axes, samples: Sequence[Sample], limit_s: float | None, *, is_lifted: bool) -> None:
    """A dot for each request, by where it ran; failures along the top."""
    step = -(-len(samples) // MOST_DOTS)
    kept = [sample for sample in samples if sample.error] + [sample for sample in samples if not sample.error][::step]
    clouds = [sample for sample in kept if sample.ok and sample.target.startswith("cloud")]
    locals_ = [sample for sample in kept if sample.ok and not sample.target.startswith("cloud")]
    for name, colour, some in (("local" if clouds else "answered", LINE, locals_), ("cloud", SECOND, clouds)):
        values = [sample.ttft_s or 0.0 for sample in some]
        if some:
            axes.plot(
                [sample.scheduled_s for sample in some], values, ".", color=colour, markersize=4, alpha=0.7, label=name
            )
    failed = [sample.scheduled_s for sample in kept if sample.error]
    if failed:
        axes.plot(
            failed,
            [0.97] * len(failed),
            "x",
            color=BAD,
            markersize=6,
            label="failed",
            transform=axes.get_xaxis_transform(),
        )
    if limit_s is not None:
        axes.axhline(limit_s, color=BAD, linewidth=1.1, linestyle=DASHED)
    values = [sample.ttft_s for sample in kept if sample.ok and sample.ttft_s]
    if values and max(values) / min(values) > LOG_FROM:
        axes.set_yscale("log")
        axes.set_ylim(top=max(*values, limit_s or 0.0) * 2.5)
    else:
        axes.set_ylim(bottom=0)
    plotting.label(axes, "Time to first token", lifted=is_lifted)
    plotting.ticks_in(axes, vertical="seconds")
    axes.minorticks_off()
    plotting.legend(axes, lifted=is_lifted)


def _name_events(axes: Axes, run: Run, end_s: float) -> None:
    """By name where there is room, else by number; those at almost the same place share a label."""
    words = (
        [what for _, what in run.events]
        if _has_room(run, end_s)
        else [str(place + 1) for place in range(len(run.events))]
    )
    label_s, label = 0.0, ""
    for (at_s, _), word in zip(run.events, words, strict=True):
        if label and at_s - label_s < NEAR * end_s:
            label = f"{label.partition('-')[0]}-{word}"
            continue
        if label:
            plotting.name_line(axes, label_s, label, INK)
        label_s, label = at_s, word
    plotting.name_line(axes, label_s, label, INK)


def _has_room(run: Run, end_s: float) -> bool:
    places_s = [at_s for at_s, _ in run.events]
    apart = all(later - sooner > FAR * end_s for sooner, later in pairwise(places_s))
    return apart and all(len(what) <= SHORT for _, what in run.events)


def _events_key(run: Run, end_s: float) -> str:
    """What the numbers stand for, one in a line."""
    if not run.events or _has_room(run, end_s):
        return ""
    lines = [f"{place}: {at_s:.1f} s, {what}" for place, (at_s, what) in enumerate(run.events, 1)]
    cut = [line if len(line) <= LONGEST else line[: LONGEST - 3] + "..." for line in lines]
    return "\n".join(["", *cut])
