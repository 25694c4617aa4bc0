"""The soak: against a pipe that relays, one that leaks, and marks that are made up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.memory_watch import Mark
from benchmarks.soak_report import Phase, levels
from tests.ports import unused_port

PIPE = Path(__file__).with_name("pipe.py")
# Several times as many aborts as connections: of those that leave at once, a busy machine may serve none in time.
SMALL = ["--requests", "400", "--aborts", "200", "--idle", "20", "--scale", "0.2"]


def soak(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", "soak", *options]
    wide = os.environ | {"COLUMNS": "200"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=wide)


def piped(*options: str) -> list[str]:
    start = f"exec {sys.executable} {PIPE} $PORT $STUB_PORT {' '.join(options)}"
    return ["--url", f"http://127.0.0.1:{unused_port()}", "--start", start]


def test_a_router_that_only_relays_passes_and_its_memory_is_drawn(tmp_path: Path) -> None:
    written, picture = tmp_path / "soak.json", tmp_path / "soak.png"
    # More time for what must happen in time: the last of two scales counts.
    ended = soak(*piped(), *SMALL, "--scale", "0.5", "--json", str(written), "--plot", str(picture))
    assert ended.returncode == 0, ended.stderr
    assert "all complete" in ended.stdout
    assert "the engine ended them all" in ended.stdout
    assert "RSS with 20 idle streams" in ended.stdout
    found = json.loads(written.read_text())
    assert found["soaked"]["requests"] == 400
    assert sum(found["soaked"]["aborted"].values()) == 200
    assert {"before the first token", "in mid-stream", "whole answers"} <= set(found["soaked"]["aborted"])
    assert found["levels"]["descriptors_after"] == found["levels"]["descriptors_before"]
    assert found["levels"]["descriptors_peak"] >= 2 * 20
    assert found["levels"]["warm_bytes"] > 5_000_000
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_router_that_leaks_does_not_pass() -> None:
    ended = soak(*piped("leak"), *SMALL)
    assert ended.returncode == 1
    assert "file descriptors are left open" in ended.stderr
    assert "for clients that had left" in ended.stderr
    assert " for nobody" in ended.stdout


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        pytest.param([], "Name --start, or", id="no router"),
        pytest.param(["--start", "x", "--pid", "1"], "with --start the pid is known", id="two routers"),
        pytest.param(["--start", "x", "--idle", "0"], "must be above zero", id="no stream"),
        pytest.param(["--pid", "1", "--engine-port", "0"], "does not answer from the stub engine", id="another engine"),
    ],
)
def test_bad_input_gets_a_sentence(options: list[str], sentence: str) -> None:
    ended = soak("--url", "http://127.0.0.1:9", *options)
    assert ended.returncode == 2
    assert sentence in ended.stderr


def marks(rss: dict[Phase, int], descriptors: dict[Phase, int]) -> list[Mark]:
    """Three looks in each phase, with these values and 10 else."""
    return [
        Mark(float(3 * number + look), phase, rss.get(phase, 10), descriptors.get(phase, 10), 1)
        for number, phase in enumerate(Phase)
        for look in range(3)
    ]


def test_growth_counts_from_the_end_of_the_warm_up_to_after_the_aborts() -> None:
    seen = levels(marks({Phase.WARM: 100, Phase.ABORTS: 900, Phase.SETTLED: 140, Phase.IDLE: 300}, {}))
    assert (seen.warm_bytes, seen.settled_bytes, seen.growth_bytes, seen.idle_bytes) == (100, 140, 40, 300)


def test_descriptors_are_left_when_there_are_more_than_before() -> None:
    assert levels(marks({}, {Phase.IDLE: 50, Phase.AFTER: 12})).descriptors_left == 2
    assert levels(marks({}, {Phase.IDLE: 50, Phase.AFTER: 9})).descriptors_left == 0


def test_a_phase_that_nobody_saw_has_no_level() -> None:
    with pytest.raises(ValueError, match="during: settled"):
        levels([mark for mark in marks({}, {}) if mark.phase != Phase.SETTLED])
