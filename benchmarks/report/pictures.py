"""All pictures of a document, each once for files and once for a page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from matplotlib.figure import Figure as Canvas

from benchmarks.drive.sample import Sample
from benchmarks.report import cdf, curve, timeline
from benchmarks.report.document import Document, Run
from benchmarks.report.plotting import Picture, png_of, svg_of
from benchmarks.report.subject import is_curve, principal

Samples = Mapping[str, Sequence[Sample]]
# With more runs than this, only the timeline of the principal one is drawn.
FEW = 3


def pictures_of(document: Document, samples_by_run: Samples | None = None) -> list[Picture]:
    """The curve, the distributions, the timelines: those of them that the document has something to show for."""
    samples_by_run = samples_by_run or {}
    found = []
    if is_curve(document) and len(document.runs) > 1:
        found.append(_curve(document))
    if cdf.has_values(samples_by_run):
        found.append(_cdf(document, samples_by_run))
    for run in timeline_runs(document):
        if timeline.can_be_drawn(run, samples_by_run.get(run.name, ())):
            found.append(_timeline(run, samples_by_run.get(run.name, ()), len(document.runs) > 1))
    return found


def timeline_runs(document: Document) -> list[Run]:
    """All of a few settings; of a curve, the principal run."""
    run = principal(document)
    if len(document.runs) <= FEW and not is_curve(document):
        return list(document.runs)
    return [] if run is None else [run]


def _curve(document: Document) -> Picture:
    caption = (
        "Hollow dots: the promise was broken. Dashed upright: the highest load that kept it. Shaded: 95 % confidence."
    )
    return _picture("curve", "What load costs", caption, lambda is_wide: curve.drawn(document, is_wide))


def _cdf(document: Document, samples_by_run: Samples) -> Picture:
    run = principal(document)
    promise = "" if run is None else run.summary.promise
    caption = "How many of the requests, and of the gaps between tokens, were at most so slow. Further left is faster."
    return _picture("cdf", "How latencies spread", caption, lambda is_wide: cdf.drawn(samples_by_run, promise, is_wide))


def _timeline(run: Run, samples: Sequence[Sample], is_named: bool) -> Picture:
    title = f"What happened when: {run.name}" if is_named else "What happened when"
    name = f"timeline-{slug(run.name)}" if is_named else "timeline"
    return _picture(name, title, "", lambda is_wide: timeline.drawn(run, samples, is_wide))


def _picture(name: str, title: str, caption: str, draw: Callable[[bool], Canvas]) -> Picture:
    wide = draw(True)
    svg = svg_of(wide, f"{name}-wide")
    return Picture(name, title, caption, png_of(wide), svg, svg_of(draw(False), f"{name}-narrow"))


def slug(name: str) -> str:
    """For file names: `rate 4` is `rate-4`."""
    return "-".join("".join(letter if letter.isalnum() or letter == "." else " " for letter in name).split()).lower()
