"""The burst benchmark: how its provider counts, when its agents ask, and a small burst with real processes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.allowance import Allowance, Bound, Window
from benchmarks.burst import arrivals_s

NOW_S = 1_800_000_000.0


@pytest.mark.parametrize(
    ("window", "passes_after"),
    [
        # Of a window of six; how many more pass after half a minute, and after a whole one.
        (Window.BUCKET, {0: 0, 30: 3, 60: 6}),
        (Window.SLIDING, {0: 0, 30: 0, 60: 6}),
        # This one begins anew ten seconds after the burst.
        (Window.FIXED, {0: 0, 9: 0, 10: 6}),
    ],
)
def test_a_provider_counts_in_its_own_way(window: Window, passes_after: dict[int, int]) -> None:
    for later_s, passes in passes_after.items():
        allowance = Allowance(Bound(6, window))
        began_s = NOW_S + 50
        assert [allowance.take(began_s) for _ in range(6)] == [0.0] * 6
        assert allowance.remaining(began_s + later_s) == passes
        assert sum(allowance.take(began_s + later_s) == 0.0 for _ in range(10)) == passes


@pytest.mark.parametrize("window", list(Window))
def test_who_comes_again_when_told_passes(window: Window) -> None:
    allowance = Allowance(Bound(2, window))
    assert [allowance.take(NOW_S), allowance.take(NOW_S)] == [0.0, 0.0]
    wait_s = allowance.take(NOW_S + 1)
    assert wait_s > 0
    assert allowance.take(NOW_S + 1 + wait_s + 1e-6) == 0.0


def test_headers_say_what_is_left() -> None:
    allowance = Allowance(Bound(30))
    for _ in range(10):
        allowance.take(NOW_S)
    assert allowance.headers(NOW_S) == {
        "x-ratelimit-limit-requests": "30",
        "x-ratelimit-remaining-requests": "20",
        "x-ratelimit-reset-requests": "20.00s",
    }


def test_agents_ask_evenly_over_the_time() -> None:
    sent_s = arrivals_s(10, 10.0)
    assert len(sent_s) == 100
    assert list(sent_s) == sorted(sent_s)
    assert sent_s[0] == 0.0
    assert sent_s[-1] == pytest.approx(9.9)


def test_a_small_burst_meets_no_429(tmp_path: Path) -> None:
    figures = tmp_path / "burst.json"
    options = ["--workflows", "1", "--seconds", "1", "--requests-per-minute", "5", "--case", "provider first"]
    command = [sys.executable, "-m", "benchmarks", "burst", *options, "--json", str(figures)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr
    (met,) = json.loads(figures.read_text())
    assert (met["requests"], met["answered"], met["client_429"], met["provider_429"]) == (10, 10, 0, 0)
    assert met["where"]["cloud/burst"] >= 4
    assert met["where"]["local/tiny"] >= 4
    assert "429 to clients" in run.stdout


@pytest.mark.parametrize(
    ("options", "words"),
    [(["--case", "nonsense"], "no case has these words"), (["--workflows", "0"], "must be above zero")],
)
def test_a_burst_that_cannot_be_is_refused(options: list[str], words: str) -> None:
    command = [sys.executable, "-m", "benchmarks", "burst", *options]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 2
    assert words in run.stderr
