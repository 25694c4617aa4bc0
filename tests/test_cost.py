"""The figures of `python -m benchmarks cost`: one for each part and case, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

COUNTED = {"read_ask": 2, "engine_body": 4, "decide": 9, "count, whole answer": 9, "count, stream": 9}
DECIDED = {"decide among 200, p50": 4, "decide among 200, p99": 4}
PLACED = {"place among 16, p50": 2, "place among 16, p99": 2}
PARTS = COUNTED | DECIDED | PLACED


def test_every_part_is_measured_and_costs_something(tmp_path: Path) -> None:
    figures = tmp_path / "cost.json"
    command = [sys.executable, "-m", "benchmarks", "cost", "--seconds", "0.001", "--repeats", "1", "--decisions", "20"]
    run = subprocess.run([*command, "--json", str(figures)], capture_output=True, text=True, check=True, timeout=60)
    costs = json.loads(figures.read_text())
    assert {part: sum(cost["part"] == part for cost in costs) for part in PARTS} == PARTS
    assert all(0 < cost["microseconds"] < 1e5 for cost in costs)
    assert len(run.stdout.splitlines()) == len(costs) == sum(PARTS.values())
