"""The tables in a terminal: figures, intervals, one line a run, and nothing cut off at eighty columns."""

from __future__ import annotations

import io

import msgspec
from rich.console import Console

from benchmarks.report.document import Document
from benchmarks.report.quantity import digits, dollars, seconds, seconds_within, share, size
from benchmarks.report.table import tables_of
from tests.measured import hybrid_document, load_document, sweep_document

CUT = "\N{HORIZONTAL ELLIPSIS}"


def shown(document: Document, width: int = 80) -> str:
    console = Console(width=width, file=io.StringIO(), highlight=False)
    console.print(*tables_of(document))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def line_of(text: str, name: str) -> list[str]:
    return next(line for line in text.splitlines() if line.strip().startswith(name)).split()


def test_the_figures_of_a_run_stand_with_their_intervals() -> None:
    document, _ = load_document()
    figure = document.runs[0].summary.ttft_s
    assert figure is not None
    text = shown(document)
    assert line_of(text, "time to first token")[-2:] == seconds(figure.p99).split()
    assert f"{digits(figure.low['p95'] * 1e3)}-{digits(figure.high['p95'] * 1e3)}" in text


def test_a_sweep_is_one_line_for_each_load() -> None:
    document, _ = sweep_document()
    text = shown(document)
    assert [line_of(text, run.name)[-1] for run in document.runs] == ["kept"] * 3 + ["broken"] * 4
    assert CUT not in text


def test_settings_stand_beside_each_other_and_nothing_is_cut_off() -> None:
    document, _ = hybrid_document()
    text = shown(document)
    assert line_of(text, "promise") == ["promise", "broken", "kept", "broken"]
    assert line_of(text, "local only") == ["local", "only", "all", "cloud", "hybrid"]
    assert CUT not in text


def test_what_is_not_known_has_no_column() -> None:
    assert "spilled" not in shown(load_document()[0])
    assert "spilled" in shown(hybrid_document()[0])


def test_an_invalid_run_is_marked() -> None:
    document, _ = sweep_document()
    runs = [msgspec.structs.replace(run, invalid=["late"]) for run in document.runs]
    assert "not valid" in shown(msgspec.structs.replace(document, runs=runs))


def test_a_name_with_brackets_is_no_markup() -> None:
    document, _ = sweep_document()
    runs = [msgspec.structs.replace(run, name=f"[red]{place}") for place, run in enumerate(document.runs)]
    assert "[red]3" in shown(msgspec.structs.replace(document, runs=runs, title="a [bold]title[/]"))


def test_quantities_read_well() -> None:
    assert [seconds(value) for value in (0.0, 0.00085, 0.0312, 1.25, 312.4, 0.9999)] == [
        "0 s", "850 us", "31.2 ms", "1.25 s", "312 s", "1 s",
    ]  # fmt: skip
    assert seconds_within(0.0312, 0.0298, 0.0327) == "31.2 ms (29.8-32.7)"
    assert [digits(value) for value in (0.04213, 4.2, 14_321.0, 0.0)] == ["0.0421", "4.2", "14,321", "0"]
    assert (dollars(12.4), dollars(0.0135), dollars(None)) == ("$12.40", "$0.0135", "-")
    assert (share(0.042), size(80 * 1024**3), seconds(float("nan"))) == ("4.2 %", "80 GiB", "-")


def test_loads_are_read_from_the_smallest_to_the_largest() -> None:
    document, _ = sweep_document()
    text = shown(msgspec.structs.replace(document, runs=list(reversed(document.runs))))
    places = [text.index(f"\n {run.name} ") for run in document.runs]
    assert places == sorted(places)
