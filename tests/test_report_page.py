"""The page and the pictures: complete, self-contained, safe with what others wrote, and the same in light and dark."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import msgspec
import pytest

from benchmarks.report.document import Moment
from benchmarks.report.page import page
from benchmarks.report.pictures import pictures_of, slug
from benchmarks.report.plotting import Picture
from benchmarks.report.verdict import verdict_of
from tests.measured import hybrid_document, load_document, sweep_document

VOID = {"meta", "br", "path", "use"}
PNG = b"\x89PNG\r\n"
TWO_MOMENTS = [Moment(at_s=0.0, in_flight=1), Moment(at_s=1.0, in_flight=1)]


class Reader(HTMLParser):
    """What a browser would load, show, and find unclosed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.handle_startendtag(tag, attrs)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "action")]
        self.ids += [found["id"] or ""] if "id" in found else []

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    reader.close()
    return reader


# Pictures take seconds, so those of each document are drawn once.


@pytest.fixture(scope="module")
def sweep_pictures() -> list[Picture]:
    return pictures_of(*sweep_document())


@pytest.fixture(scope="module")
def load_pictures() -> list[Picture]:
    return pictures_of(*load_document())


@pytest.fixture(scope="module")
def hybrid_pictures() -> list[Picture]:
    return pictures_of(*hybrid_document())


@pytest.fixture(scope="module")
def sweep_page(sweep_pictures: list[Picture]) -> str:
    return page(*sweep_document(), sweep_pictures)


@pytest.fixture(scope="module")
def load_page() -> str:
    """Draws its pictures itself."""
    return page(*load_document())


@pytest.fixture(scope="module")
def hybrid_page(hybrid_pictures: list[Picture]) -> str:
    return page(*hybrid_document(), hybrid_pictures)


def test_the_verdict_stands_before_figures_and_pictures(sweep_page: str) -> None:
    text = read(sweep_page).text
    places = [text.index(each) for each in (verdict_of(sweep_document()[0])[0], "All runs", "Figures", "Pictures")]
    assert places == sorted(places)
    assert text.index("Pictures") < text.index("How it was measured")


def test_every_element_is_closed_and_no_two_share_an_id(sweep_page: str) -> None:
    reader = read(sweep_page)
    assert reader.open == []
    assert len(reader.ids) > 10
    assert len(reader.ids) == len(set(reader.ids))


def test_it_asks_nobody_for_anything(sweep_page: str) -> None:
    reader = read(sweep_page)
    assert len(reader.addresses) > 10
    assert [address for address in reader.addresses if not address.startswith("#")] == []
    assert "@import" not in sweep_page
    assert re.findall(r"url\((?!#)", sweep_page) == []
    assert "<script" not in sweep_page


def test_all_references_within_pictures_are_answered(sweep_page: str) -> None:
    reader = read(sweep_page)
    asked = {address[1:] for address in reader.addresses} | set(re.findall(r"url\(#([^)]+)\)", sweep_page))
    assert asked <= set(reader.ids)


def test_pictures_take_their_colours_from_the_page(sweep_page: str) -> None:
    pictures = "".join(re.findall(r"<svg.*?</svg>", sweep_page, re.DOTALL))
    roles = set(re.findall(r"var\((--\w+)\)", pictures))
    assert {"--ink", "--line", "--grid"} <= roles
    assert re.findall(r"#[0-9a-fA-F]{6}(?![0-9a-zA-Z])", pictures) == []
    for role in roles:
        # In light, in dark, and on paper.
        assert sweep_page.count(f"{role}:") == 3


def test_what_others_wrote_is_shown_and_not_run() -> None:
    document, _ = load_document()
    hostile = "<script>alert(1)</script>"
    origin = msgspec.structs.replace(document.origin, command=f"python {hostile}", engine={"model": hostile})
    run = msgspec.structs.replace(document.runs[0], name=hostile, events=[(1.0, hostile)], timeline=TWO_MOMENTS)
    document = msgspec.structs.replace(document, title=hostile, origin=origin, verdict=[hostile], runs=[run])
    text = page(document)
    assert "<script" not in text
    assert read(text).text.count(hostile) >= 5


def test_it_says_by_what_on_what_and_how(load_page: str) -> None:
    text = read(load_page).text
    for expected in (
        "NVIDIA H100 80GB HBM3",
        "0.32.0",
        "AMD EPYC 9534",
        "python -m benchmarks sweep",
        "1234567890abcdef",
    ):
        assert expected in text


def test_the_parts_of_a_run_are_shown(hybrid_page: str) -> None:
    text = read(hybrid_page).text
    assert "while it is gone" in text
    assert "Note: the engine counts 12 more" in text


def test_the_same_document_gives_the_same_page(load_page: str, load_pictures: list[Picture]) -> None:
    assert page(*load_document(), load_pictures) == load_page


def test_a_document_without_runs_is_still_a_page() -> None:
    document, _ = load_document()
    text = read(page(msgspec.structs.replace(document, runs=[], summary=None))).text
    assert "Nothing was measured" in text


def names(pictures: list[Picture]) -> list[str]:
    assert all(picture.png.startswith(PNG) for picture in pictures)
    return [picture.name for picture in pictures]


def test_a_sweep_has_its_curve_and_the_timeline_of_the_knee(sweep_pictures: list[Picture]) -> None:
    assert names(sweep_pictures) == ["curve", "cdf", "timeline-rate-4"]


def test_settings_have_a_timeline_each_and_no_curve(hybrid_pictures: list[Picture]) -> None:
    assert names(hybrid_pictures) == ["cdf", "timeline-local-only", "timeline-all-cloud", "timeline-hybrid"]


def test_without_requests_and_telemetry_there_is_nothing_to_draw() -> None:
    document, _ = load_document()
    run = msgspec.structs.replace(document.runs[0], timeline=[])
    assert pictures_of(msgspec.structs.replace(document, runs=[run]), {}) == []


def test_whole_answers_are_drawn_by_their_end() -> None:
    document, samples = load_document()
    document = msgspec.structs.replace(document, runs=[msgspec.structs.replace(document.runs[0], timeline=[])])
    whole = {
        name: [replace(sample, first_s=None, last_s=None, gaps_s=(), events=0) for sample in each]
        for name, each in samples.items()
    }
    (cdf,) = pictures_of(document, whole)
    assert "Time to the whole answer" in cdf.wide_svg
    assert "Gap between tokens" not in cdf.wide_svg


def test_a_search_may_repeat_a_load() -> None:
    document, _ = sweep_document()
    runs = [msgspec.structs.replace(run, timeline=[]) for run in document.runs]
    again = msgspec.structs.replace(runs[2], name="rate 4 again")
    twice = msgspec.structs.replace(document, runs=[*runs, again])
    assert names(pictures_of(twice)) == ["curve"]


def test_one_moment_and_one_request_are_enough() -> None:
    document, samples = load_document()
    run = msgspec.structs.replace(document.runs[0], timeline=[Moment(at_s=0.0)])
    one = {run.name: samples[run.name][:1]}
    assert names(pictures_of(msgspec.structs.replace(document, runs=[run]), one)) == ["cdf", "timeline"]


def test_names_of_files_are_plain() -> None:
    assert slug("rate 4.5 / try #2") == "rate-4.5-try-2"


def test_many_events_are_numbered_and_explained_below() -> None:
    document, _ = hybrid_document()
    events = [(20.0 + place / 5, f"cloud/stand-in: resting for the time number {place}") for place in range(9)]
    run = msgspec.structs.replace(document.runs[2], events=events)
    one = msgspec.structs.replace(document, runs=[run])
    timeline = pictures_of(one)[-1].wide_svg
    assert "1: 20.0 s, cloud/stand-in: resting for the time number 0" in timeline
    assert ">1-9<" in timeline


def test_few_events_are_named_where_they_are(hybrid_pictures: list[Picture]) -> None:
    timeline = hybrid_pictures[-1].wide_svg
    assert ">kill-engine<" in timeline
    assert "1: 20.0 s" not in timeline


def test_a_part_that_broke_its_promise_marks_the_page(hybrid_page: str) -> None:
    assert '<section class="verdict broken"' in hybrid_page
    document, samples = hybrid_document()
    runs = [msgspec.structs.replace(run, parts=[{"name": "all", "promise_broken": []}]) for run in document.runs]
    assert '<section class="verdict kept"' in page(msgspec.structs.replace(document, runs=runs), samples, [])
