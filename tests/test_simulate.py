"""`python -m benchmarks simulate`, as a process and as a function."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from tests.worlds import poisson


@pytest.fixture
def trace(tmp_path: Path) -> str:
    path = tmp_path / "small.csv"
    rows = [f"{each.at_s},{each.prompt_tokens * 2},{each.output_tokens * 4}" for each in poisson(500, 5.0)]
    path.write_text("\n".join(["arrival_s,input_tokens,output_tokens", *rows]) + "\n")
    return str(path)


def test_the_verb_writes_figures_as_json(trace: str) -> None:
    words = [
        "simulate",
        "--trace",
        trace,
        "--rate",
        "12",
        "--policy",
        "local",
        "--policy",
        "count=8",
        "--policy",
        "cloud",
        "--share",
        "0.95",
        "--json",
    ]
    made = subprocess.run(
        [sys.executable, "-m", "benchmarks", *words], capture_output=True, text=True, check=False, timeout=60
    )
    assert made.stderr == ""
    document = json.loads(made.stdout)
    local, count, _ = document["policies"]
    assert document["requests_per_s"] == pytest.approx(12, rel=0.1)
    assert local["bill_share"] == 0 < count["bill_share"] < 1
    assert local["kept_share"] < count["kept_share"]


def test_policies_stand_beside_each_other_within_a_hundred_columns(
    trace: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "out.json"
    policies = ["local", "cloud", "thresholds=5,0.8,1", "predicted", "held"]
    words = [word for policy in policies for word in ("--policy", policy)]
    status = main(["simulate", "--trace", trace, "--load", "1.5", "--engines", "2", *words, "--json", str(file)])
    shown = capsys.readouterr().out.splitlines()
    assert status == 0
    assert max(map(len, shown)) <= 100
    rows = shown[next(number for number, line in enumerate(shown, 1) if "───" in line) :]
    assert [line.split()[0] for line in rows[:5]] == [
        "local",
        "cloud",
        "thresholds=5,0.8,1",
        "predicted=0.5,30",
        "held=1,30",
    ]
    assert "what the engines alone keep" in json.loads(file.read_text())["title"]


def test_the_best_of_a_family_keeps_the_promise(trace: str, tmp_path: Path) -> None:
    file = tmp_path / "out.json"
    words = ["--share", "0.95", "--rate", "9", "--policy", "count", "--best", "--json", str(file)]
    assert main(["simulate", "--trace", trace, *words]) == 0
    (best,) = json.loads(file.read_text())["policies"]
    assert best["is_kept"]
    assert 0 < best["bill_share"] < 1


def test_no_rule_is_below_the_bound(trace: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "out.json"
    words = ["--share", "0.95", "--rate", "9", "--policy", "count=16", "--bound", "--json", str(file)]
    main(["simulate", "--trace", trace, *words])
    document = json.loads(file.read_text())
    assert 0 < document["least_usd"] <= document["policies"][0]["usd"]
    assert "no rule keeps the promise below" in capsys.readouterr().out


def test_the_status_says_when_nothing_keeps_the_promise(trace: str) -> None:
    assert main(["simulate", "--trace", trace, "--rate", "40", "--policy", "local"]) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--rate", "1", "--load", "1"], "one of them"),
        (["--rate", "0"], "above 0"),
        (["--engines", "0"], "--engines"),
        (["--policy", "magic"], "--policy"),
        (["--cloud", "free"], "--cloud"),
        (["--share", "1.5"], "--share"),
        (["--kv-tokens", "0"], "--kv-tokens"),
        (["--hours", "0.0001"], "two moments"),
    ],
)
def test_bad_input_is_one_sentence(trace: str, words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--trace", trace, *words]) == 2
    assert said in capsys.readouterr().err


def test_without_a_trace_there_is_nothing_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate"]) == 2
    assert "--trace" in capsys.readouterr().err
