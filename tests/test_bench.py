"""The bench verb: what it takes from a status, and all of it in seconds on a fake engine behind a real router."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.bench import model_ready
from tests.routers import Router
from tests.stand_ins import StandIn


def bench(home: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", "bench", *options]
    environment = {**os.environ, "SPILLWAY_HOME": str(home)}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)


def test_the_first_engine_that_is_ready_is_measured() -> None:
    loading = {"state": "loading", "model": "large"}
    serving = {"state": "ready", "model": "small"}
    assert model_ready({"engines": [loading, serving]}) == "small"
    with pytest.raises(ValueError, match="no engine is ready"):
        model_ready({"engines": [loading]})


def test_where_no_stack_is_up_bench_says_so(tmp_path: Path) -> None:
    done = bench(tmp_path, "--url", "http://127.0.0.1:9")
    assert done.returncode == 2
    assert "Nothing answers at http://127.0.0.1:9" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_short_bench_ends_with_a_verdict_and_a_page_and_sends_nothing_away(
    router: Router, fast_cloud: StandIn, tmp_path: Path
) -> None:
    asked_before = fast_cloud.stats()["requests"]
    sizes = ("--input-tokens", "20", "--output-tokens", "8", "--most-users", "4")
    done = bench(tmp_path, "--url", router.url, "--model", "tiny", "--minutes", "0.15", "--promise", "ttft_s=5", *sizes)
    assert done.returncode in (0, 1), done.stderr
    (folder,) = (tmp_path / "bench").iterdir()
    document = json.loads((folder / "bench.json").read_text())
    assert [run["name"] for run in document["runs"]][:2] == ["1 user", "4 users"]
    assert document["knee"]["unit"] == "requests/s"
    assert 1 <= len(document["verdict"]) <= 10
    assert done.stdout.rstrip().endswith("bench.html")
    assert "<html" in (folder / "bench.html").read_text()
    assert fast_cloud.stats()["requests"] == asked_before
