"""Requests in a file beside the report: what goes in comes out, and damage is named."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.drive.sample import Sample
from benchmarks.report import rows
from tests.measured import samples_of


def test_what_was_written_is_read_to_the_microsecond(tmp_path: Path) -> None:
    samples = samples_of(rate=3.0, seconds=10.0)
    assert len(samples) > 10
    rows.write(tmp_path / "a.rows.jsonl.gz", samples)
    read = rows.read(tmp_path / "a.rows.jsonl.gz")
    assert [sample.completion_tokens for sample in read] == [sample.completion_tokens for sample in samples]
    for before, after in zip(samples, read, strict=True):
        assert after.e2e_s == pytest.approx(before.e2e_s, abs=2e-6)
        assert after.gaps_s == pytest.approx(before.gaps_s, abs=1e-6)
        assert replace(after, gaps_s=()).target == before.target


def test_a_failure_keeps_its_kind_and_message(tmp_path: Path) -> None:
    failed = Sample(0, 1.0, 1.0, 2.0, 503, error="status_5xx", message='{"error": "über\nload"}')
    rows.write(tmp_path / "a.gz", [failed])
    assert rows.read(tmp_path / "a.gz") == [failed]


def test_no_requests_are_no_rows(tmp_path: Path) -> None:
    rows.write(tmp_path / "a.gz", [])
    assert rows.read(tmp_path / "a.gz") == []


def test_the_same_requests_give_the_same_file(tmp_path: Path) -> None:
    samples = samples_of(rate=3.0, seconds=5.0)
    rows.write(tmp_path / "a.gz", samples)
    rows.write(tmp_path / "b.gz", samples)
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()


def test_a_row_is_a_line_of_json_that_others_can_read(tmp_path: Path) -> None:
    rows.write(tmp_path / "a.gz", samples_of(rate=3.0, seconds=5.0))
    lines = gzip.decompress((tmp_path / "a.gz").read_bytes()).splitlines()
    assert len(lines) > 5
    assert all(line.startswith(b'{"number":') and line.endswith(b"}") for line in lines)


def test_a_file_cut_short_is_named(tmp_path: Path) -> None:
    rows.write(tmp_path / "a.gz", samples_of(rate=3.0, seconds=5.0))
    whole = (tmp_path / "a.gz").read_bytes()
    (tmp_path / "a.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"a\.gz is damaged"):
        rows.read(tmp_path / "a.gz")


def test_a_line_that_is_no_request_is_named_by_its_number(tmp_path: Path) -> None:
    rows.write(tmp_path / "a.gz", samples_of(rate=3.0, seconds=5.0))
    raw = gzip.decompress((tmp_path / "a.gz").read_bytes()).splitlines()
    raw[2] = b'{"number": "three"}'
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"\n".join(raw)))
    with pytest.raises(ValueError, match=r"a\.gz, line 3: not a measured request"):
        rows.read(tmp_path / "a.gz")
