"""How soon a switched preset counts: the arithmetic of `benchmarks preset`, and one short run of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.preset import Call, Save, found_in
from benchmarks.stream import Sample

SMALL, BIG = "local/small", "local/big"


def call(sent_s: float, target: str, error: str | None = None) -> Call:
    return Call(sent_s, Sample(status=502 if error else 200, e2e_s=0.1, target=target, error=error))


def test_times_count_from_the_save_to_the_first_new_and_the_last_old_request() -> None:
    saves = [Save(10.0, BIG), Save(20.0, SMALL)]
    calls = [
        call(9.0, SMALL),
        call(10.5, SMALL),
        call(11.0, BIG),
        call(11.5, SMALL),
        call(12.0, BIG),
        call(20.25, SMALL),
    ]
    found = found_in(saves, calls)
    assert (found.switches, found.requests, found.failed, found.astray) == (2, 6, 0, 0)
    assert (found.anew_longest_s, found.settled_longest_s) == (1.0, 1.5)
    assert found.anew_s is not None
    assert found.anew_s.p50 == pytest.approx((1.0 + 0.25) / 2)


def test_a_switch_without_effect_is_no_figure() -> None:
    with pytest.raises(ValueError, match="no request went to local/big after the edit: 1 went elsewhere"):
        found_in([Save(10.0, BIG)], [call(11.0, SMALL)])


def test_who_fails_or_heeds_a_broken_edit_is_counted() -> None:
    saves = [Save(10.0, BIG), Save(20.0, BIG, broken=True)]
    calls = [call(11.0, BIG), call(12.0, "", "502"), call(21.0, BIG), call(22.0, SMALL)]
    found = found_in(saves, calls)
    assert (found.switches, found.broken_edits, found.failed, found.astray) == (1, 1, 1, 1)


def test_a_short_run_switches_without_a_failed_request(tmp_path: Path) -> None:
    file = tmp_path / "found.json"
    options = ["--switches", "1", "--requests-per-second", "20", "--each-s", "2.5", "--json", str(file)]
    command = [sys.executable, "-m", "benchmarks", "preset", *options]
    said = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert said.returncode == 0, said.stderr
    found = json.loads(file.read_text())
    assert (found["switches"], found["failed"], found["astray"]) == (1, 0, 0)
    assert 0 < found["anew_longest_s"] < 5
    assert "routed anew" in said.stdout
