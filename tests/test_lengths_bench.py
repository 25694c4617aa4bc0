"""`python -m benchmarks lengths`: how well a trace's answers are foretold."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", "lengths", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def written(path: Path, rows: list[tuple[int, int]]) -> str:
    lines = [f"{at},{prompt},{answer}" for at, (prompt, answer) in enumerate(rows)]
    path.write_text("\n".join(["arrival_s,input_tokens,output_tokens", *lines]))
    return str(path)


def test_what_the_prompt_tells_is_measured(tmp_path: Path) -> None:
    rng = Random(1)
    told = [(prompt, prompt // 2 + rng.randint(0, 20)) for prompt in (rng.choice((40, 900)) for _ in range(600))]
    same = [(prompt, 7) for prompt, _ in told]
    figures = tmp_path / "figures.json"
    shown = bench(
        "--trace",
        written(tmp_path / "told.csv", told),
        written(tmp_path / "same.csv", same),
        "--json",
        str(figures),
        "--first",
        "500",
    )
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.count("500") >= 4
    found = json.loads(figures.read_text())
    learned, alike = found["told.csv"]["learned"], found["told.csv"]["all alike"]
    assert learned["mean_error"] < 0.3 * alike["mean_error"]
    assert alike["mean_error"] == pytest.approx(215, rel=0.1)
    assert learned["bits"] < alike["bits"] - 0.5
    assert learned["rest_error"] < alike["rest_error"]
    assert 0.85 < learned["high_cover"] < 1
    assert found["same.csv"]["learned"]["low_cover"] > 0.95
    # No answer there has 32 tokens.
    assert found["same.csv"]["learned"]["rest_error"] is None


def test_a_trace_of_rates_says_no_lengths(tmp_path: Path) -> None:
    path = tmp_path / "rates.csv"
    path.write_text("pool,slot_start_s,req_per_s\nsmall,0,5\nsmall,600,5\n")
    shown = bench("--trace", str(path))
    assert shown.returncode == 2
    assert "rates.csv: it does not say how long answers are" in shown.stderr


def test_no_requests_are_none_to_foretell(tmp_path: Path) -> None:
    shown = bench("--trace", written(tmp_path / "one.csv", [(1, 1)]), "--first", "0")
    assert shown.returncode == 2
    assert "--first must be 1 or more, not 0" in shown.stderr
