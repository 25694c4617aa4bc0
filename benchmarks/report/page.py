"""One HTML file that says it all: the verdict, the figures, the pictures, and how it was measured.

It holds everything that it shows and asks nobody for anything: it can be mailed, and opened years later. It follows the
reader's light or dark setting, fits a phone, and prints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from benchmarks.report.document import Document, Figure, Run
from benchmarks.report.pictures import Samples, pictures_of
from benchmarks.report.plotting import Picture
from benchmarks.report.quantity import dollars, number, seconds, seconds_within, share, size
from benchmarks.report.subject import ordered, principal
from benchmarks.report.table import LATENCIES, STATISTICS, filled_columns, is_beside, standing, totals
from benchmarks.report.verdict import verdict_of

HERE = Path(__file__).parent
# What a phone has no room for.
SPARE = ("p90",)
PART_HEADINGS = ("", "requests", "met", "failed", "TTFT p50", "TTFT p95", "cloud", "spent", "promise")
NAMES = {"cpu": "CPU", "memory_bytes": "memory", "nvidia_driver": "NVIDIA driver", "load_average": "load before"}
MEANINGS = (
    ("time to first token", "from the moment the request was due until the first content arrived"),
    ("time per output token", "from the first to the last content, divided by the tokens after the first"),
    (
        "gap between tokens",
        "from one event with content to the next; of events that arrive together, the first has the gap",
    ),
    ("end to end", "from the moment the request was due until the last content"),
    ("p95", "95 % of the requests were at most so slow"),
    ("due", "when the workload asked for it, not when the generator got to it: a late generator hides nothing"),
    ("good answers", "complete, and within every limit of the promise"),
)


def page(document: Document, samples_by_run: Samples | None = None, pictures: Sequence[Picture] | None = None) -> str:
    """The whole file. With samples it shows how latencies spread; `pictures` saves drawing them again."""
    run = principal(document)
    shown = pictures_of(document, samples_by_run) if pictures is None else pictures
    # Escaping is for everything that comes from outside: names of models, messages of servers, the command.
    templates = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    # A sheet of ours, and no quote in it may be escaped.
    css = Markup((HERE / "page.css").read_text())
    several = len(document.runs) > 1
    return templates.get_template("page.html.jinja").render(
        document=document,
        css=css,
        run=run,
        began=document.origin.began_at.replace("T", " ").replace("+00:00", " UTC"),
        measured_on=measured_on(document),
        verdict=list(document.verdict) or verdict_of(document),
        standing="" if run is None else standing(run),
        tiles=[] if run is None else tiles(run),
        several=several,
        headings=_headings(document) if several else [],
        lines=_lines(document, run) if several else [],
        statistics=STATISTICS,
        spare=SPARE,
        latencies=[] if run is None else _latencies(run),
        totals=[] if run is None else totals(run),
        pictures=shown,
        facts=facts(document, run),
        parts=[(each.name, _parts(each)) for each in document.runs if each.parts],
        part_headings=PART_HEADINGS,
        meanings=MEANINGS,
    )


def measured_on(document: Document) -> str:
    """One line: the GPUs or the CPU, and the engine."""
    origin = document.origin
    names = [str(gpu.get("name", "GPU")) for gpu in origin.gpus]
    kinds = [f"{names.count(name)} x {name}" if names.count(name) > 1 else name for name in dict.fromkeys(names)]
    chip = ", ".join(kinds) or str(origin.machine.get("cpu", "")) or "unknown machine"
    engine = " ".join(str(origin.engine[key]) for key in ("kind", "version", "model") if origin.engine.get(key))
    return " · ".join(part for part in (chip, engine) if part)


def tiles(run: Run) -> list[dict[str, str]]:
    """The figures that people ask for first."""
    summary, costs = run.summary, run.costs
    shown = [
        _latency_tile("First token, p95", summary.ttft_s, "p95"),
        _latency_tile("Each token, p95", summary.tpot_s, "p95"),
        _tile("Tokens out", f"{number(summary.output_tokens_per_s)}/s", f"{number(summary.input_tokens_per_s)}/s in"),
        _tile("Answers", f"{number(summary.requests_per_s)}/s", f"{number(summary.mean_concurrency)} at a time"),
        _tile("Failed", f"{summary.errors:,}", f"of {summary.requests:,} requests"),
    ]
    if costs.local_usd_per_mtok is not None:
        cloud = "" if costs.cloud_usd_per_mtok is None else f"{dollars(costs.cloud_usd_per_mtok)} in the cloud"
        shown.append(_tile("A million tokens", dollars(costs.local_usd_per_mtok), cloud))
    elif costs.cloud_usd is not None:
        shown.append(_tile("Spent in the cloud", dollars(costs.cloud_usd), ""))
    return [tile for tile in shown if tile]


def facts(document: Document, run: Run | None) -> list[tuple[str, str]]:
    """The load, the machine, the versions: what somebody needs to get the same figures."""
    origin = document.origin
    found: list[tuple[str, Any]] = [("promise", "" if run is None else run.summary.promise)]
    found += [] if run is None else [("load", run.load)]
    found += [("engine", origin.engine)]
    found += [("GPU", f"{gpu.get('name', '')}, {size(gpu.get('memory_bytes'))}") for gpu in origin.gpus]
    found += [(NAMES.get(name, name), _fact(name, value)) for name, value in origin.machine.items()]
    found += [("commit", origin.commit), ("models.lock", origin.lock_digest), ("measured by", origin.tool)]
    found += [("each request", ", ".join(each.rows for each in document.runs if each.rows))]
    return [(name.replace("_", " "), _said(value)) for name, value in found if value not in ("", None, (), [], {})]


def _fact(name: str, value: Any) -> Any:
    return size(value) if name.endswith("_bytes") and isinstance(value, int | float) else value


def _said(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name.replace('_', ' ')} {_said(each)}" for name, each in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_said, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return number(value) if isinstance(value, float) else str(value)


def _tile(name: str, value: str, more: str) -> dict[str, str]:
    return {"name": name, "value": value, "more": more}


def _latency_tile(name: str, figure: Figure | None, statistic: str) -> dict[str, str]:
    if figure is None:
        return {}
    return _tile(name, seconds(getattr(figure, statistic)), f"half: {seconds(figure.p50)}")


def _lines(document: Document, run: Run | None) -> list[dict[str, Any]]:
    """Runs below each other; a few settings beside each other, as they are compared figure by figure."""
    columns = [(heading.replace("\n", " "), cells) for heading, cells in filled_columns(document)]
    if is_beside(document):
        return [{"cells": [heading, *cells], "is_principal": False} for heading, cells in columns[1:]]
    return [
        {"cells": [cells[row] for _, cells in columns], "is_principal": each is run}
        for row, each in enumerate(ordered(document))
    ]


def _headings(document: Document) -> list[str]:
    columns = filled_columns(document)
    return ["", *columns[0][1]] if is_beside(document) else [heading.replace("\n", " ") for heading, _ in columns]


def _parts(run: Run) -> list[list[str]]:
    """Phases, or tiers: what `benchmarks.cases.outcome` says of each."""
    return [
        [
            str(each.get("name", "")),
            f"{each.get('requests', 0):,}",
            share(each.get("kept_share")),
            f"{sum((each.get('errors') or {}).values()):,}",
            seconds(each.get("ttft_p50_s")),
            seconds(each.get("ttft_p95_s")),
            share(each.get("cloud_share")),
            dollars(each.get("usd")),
            "broken" if each.get("promise_broken") else "kept",
        ]
        for each in run.parts
    ]


def _latencies(run: Run) -> list[dict[str, Any]]:
    found = []
    for name, words in LATENCIES.items():
        figure: Figure | None = getattr(run.summary, name)
        if figure is not None:
            found.append({"name": words, "cells": [_cell(figure, statistic) for statistic in STATISTICS]})
    return found


def _cell(figure: Figure, statistic: str) -> dict[str, str]:
    value: float = getattr(figure, statistic)
    said = seconds_within(value, figure.low.get(statistic), figure.high.get(statistic))
    shown, _, interval = said.partition(" (")
    return {"statistic": statistic, "value": shown, "interval": interval.rstrip(")")}
