"""Reports on disk: what is saved can be loaded, and a damaged one is named."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.report.document import SCHEMA
from benchmarks.report.files import load, save
from tests.measured import load_document, sweep_document


def test_what_was_saved_is_loaded_with_its_requests(tmp_path: Path) -> None:
    document, samples = sweep_document()
    save(document, samples, json=tmp_path / "new" / "report.json")
    found, rows = load(tmp_path / "new" / "report.json")
    assert [run.summary for run in found.runs] == [run.summary for run in document.runs]
    assert {name: len(each) for name, each in rows.items()} == {name: len(each) for name, each in samples.items()}
    assert (found.knee, found.origin.machine) == (document.knee, document.origin.machine)


def test_the_json_carries_what_the_issue_promises(tmp_path: Path) -> None:
    document, samples = load_document()
    save(document, samples, json=tmp_path / "a.json")
    body = json.loads((tmp_path / "a.json").read_text())
    assert body["schema"] == SCHEMA
    for name in ("ttft_s", "tpot_s", "itl_s", "e2e_s"):
        assert body["summary"][name].keys() >= {"mean", "p50", "p90", "p95", "p99"}
    assert body["summary"].keys() >= {"output_tokens_per_s", "requests_per_s", "goodput_per_s", "errors"}
    assert (tmp_path / body["runs"][0]["rows"]).is_file()


def test_all_that_was_asked_for_is_written_and_named(tmp_path: Path) -> None:
    document, samples = load_document()
    written = save(document, samples, tmp_path / "a.json", tmp_path / "a.html", tmp_path / "pictures")
    assert all(file.stat().st_size > 500 for file in written)
    assert [str(file.relative_to(tmp_path)) for file in written] == [
        "a.json",
        "a.rows.jsonl.gz",
        "a.html",
        "pictures/cdf.png",
        "pictures/timeline.png",
    ]
    assert sorted(file for file in tmp_path.rglob("*") if file.is_file()) == sorted(written)


def test_without_the_rows_the_summaries_stay(tmp_path: Path) -> None:
    document, samples = load_document()
    save(document, samples, json=tmp_path / "a.json")
    (tmp_path / "a.rows.jsonl.gz").unlink()
    found, rows = load(tmp_path / "a.json")
    assert found.runs[0].summary == document.runs[0].summary
    assert rows == {}


def test_rows_are_never_read_from_elsewhere(tmp_path: Path) -> None:
    document, samples = load_document()
    save(document, samples, json=tmp_path / "a.json")
    inside = tmp_path / "inside"
    inside.mkdir()
    body = json.loads((tmp_path / "a.json").read_text())
    body["runs"][0]["rows"] = "../a.rows.jsonl.gz"
    (inside / "b.json").write_text(json.dumps(body))
    assert load(inside / "b.json")[1] == {}


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ("", "holds no JSON object"),
        ("{", "is not JSON"),
        ("[1, 2]", "holds no JSON object"),
        ("{}", "is no report that is known here"),
        ('{"schema": "spillway-benchmark/0", "verb": "load"}', "measure it again"),
        ('{"schema": "spillway-benchmark/1", "verb": 1}', r"verb"),
        ('{"schema": "spillway-benchmark/1", "runs": 3, "summary": [null]}', "is not a report"),
    ],
)
def test_what_is_no_report_is_refused_by_name(tmp_path: Path, raw: str, said: str) -> None:
    (tmp_path / "odd.json").write_text(raw)
    with pytest.raises(ValueError, match=rf"odd\.json.*{said}"):
        load(tmp_path / "odd.json")


def test_another_schema_says_what_to_do(tmp_path: Path) -> None:
    document, samples = load_document()
    save(document, samples, json=tmp_path / "a.json")
    text = (tmp_path / "a.json").read_text().replace(SCHEMA, "spillway-benchmark/99")
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match="measure it again"):
        load(tmp_path / "a.json")


def verb(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_the_verb_shows_a_report_and_writes_its_page(tmp_path: Path) -> None:
    document, samples = load_document()
    save(document, samples, json=tmp_path / "a.json")
    done = verb("report", str(tmp_path / "a.json"), "--html", str(tmp_path / "a.html"))
    assert (done.returncode, done.stderr) == (0, "")
    assert "time to first token" in done.stdout
    assert "The promise is kept" in done.stdout
    assert (tmp_path / "a.html").read_text().startswith("<!doctype html>")


def test_the_verb_ends_with_2_where_there_is_no_report(tmp_path: Path) -> None:
    done = verb("report", str(tmp_path / "none.json"))
    assert done.returncode == 2
    assert "none.json" in done.stderr
    assert "Traceback" not in done.stderr
