"""The verbs sweep and tune, as processes, with a fake engine whose batch is small enough to be filled."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import benchmarks.tune
from benchmarks.drive.progress import Progress
from benchmarks.figures.promise import Promise
from benchmarks.report.document import Document, read
from benchmarks.search.hopeless import is_hopeless
from benchmarks.search.options import loads_in
from benchmarks.search.stack_text import edited
from benchmarks.search.trial import Bench
from benchmarks.workload.spec import Spec
from engines.checkout import default_config
from tests.fake_spillway import fake_spillway
from tests.stand_ins import standing_in

SMALL = ("--input-tokens", "20", "--output-tokens", "8", "--duration", "1")
# Eight at a time, eight steps of 40 ms each: who waits for a place waits for up to 0.32 s.
ENGINE = ("--max-num-seqs", "8", "--step-ms", "40")
KEPT_BY_WHO_HAS_A_PLACE = ("--promise", "ttft_s=0.25")
SHIPPED = default_config().read_text(encoding="utf-8")
PROMISE = Promise({"ttft_s": 0.5})


def ran(verb: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", verb, *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


def document_in(path: Path) -> Document:
    return read(path.read_bytes(), str(path))


def test_a_sweep_of_users_finds_the_knee_of_an_engine_and_reports_it(tmp_path: Path) -> None:
    file = tmp_path / "sweep.json"
    with standing_in("engine", *ENGINE) as engine:
        words = ("--users", "3", *KEPT_BY_WHO_HAS_A_PLACE, "--confirm", "1", "--most-runs", "9")
        said = ran("sweep", "--url", engine.url, *SMALL, *words, "--json", str(file))
    assert "The promise is kept up to" in said.stdout, said.stdout + said.stderr
    document = document_in(file)
    assert document.knee is not None
    assert 6 <= document.knee["load"] <= 12
    assert (document.knee["unit"], document.verb) == ("users", "sweep")
    assert document.knee["runs"] == len(document.runs) <= 9
    assert all((tmp_path / run.rows).is_file() for run in document.runs)


def test_a_sweep_tries_exactly_the_loads_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "sweep.json"
    with standing_in("engine", *ENGINE) as engine:
        ran("sweep", "--url", engine.url, *SMALL, "--promise", "ttft_s=5", "--loads", "2:6:2", "--json", str(file))
    document = document_in(file)
    assert [run.load["rate"] for run in document.runs] == [2, 4, 6]
    assert document.knee is not None
    assert document.knee["end"] == "all loads asked for were tried"


def test_an_interrupt_still_writes_the_report_of_what_was_measured(tmp_path: Path) -> None:
    file = tmp_path / "sweep.json"
    with standing_in("engine", *ENGINE) as engine:
        words = ["--url", engine.url, *SMALL, "--loads", "2,3,4,5,6,7,8,9", "--json", str(file)]
        command = [sys.executable, "-m", "benchmarks", "sweep", *words]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as sweep:
            assert sweep.stdout is not None
            measured = (line for line in sweep.stdout if line.rstrip().endswith("asked for"))
            assert next(measured).split()[0] == "2"
            sweep.send_signal(signal.SIGINT)
            sweep.stdout.read()
    document = document_in(file)
    assert document.interrupted
    assert 1 <= len(document.runs) < 8


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--promise", "ttft_s=0.0001"), "even one request alone breaks the promise"),
        (("--model", "other"), "tiny"),
        (("--loads", "1,x"), "write 1,2,4 or FROM:TO:STEP"),
        (("--lowest", "9", "--rate", "4", "--highest", "3"), "0 < lowest <= first <= highest"),
    ],
)
def test_what_cannot_be_searched_is_a_sentence_and_status_2(words: tuple[str, ...], said: str) -> None:
    with standing_in("engine", *ENGINE) as engine:
        done = ran("sweep", "--url", engine.url, *SMALL, *words)
    assert done.returncode == 2, done.stdout
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_load_is_hopeless_when_the_answers_so_far_break_the_promise_whatever_comes() -> None:
    spec = Spec(rate=10.0, duration_s=10.0)
    progress = Progress(began_s=1.0, sent=60, in_flight=40)
    progress.recent_ttft_s.extend([0.1] * 12 + [0.6] * 8)
    assert not is_hopeless(PROMISE, spec, progress, elapsed_s=3.0)
    assert not is_hopeless(PROMISE, spec, progress, elapsed_s=6.0)
    progress.recent_ttft_s.extend([0.6] * 2)
    assert is_hopeless(PROMISE, spec, progress, elapsed_s=6.0)
    assert not is_hopeless(PROMISE, Spec(users=4, duration_s=10.0), progress, elapsed_s=6.0)


def test_loads_are_a_list_or_a_range_with_its_ends() -> None:
    assert loads_in("1, 2.5,4") == [1, 2.5, 4]
    assert loads_in("0.1:0.3:0.1") == [0.1, 0.2, 0.3]
    for wrong in ("", "0", "-1", "1:2", "3:1:1", "1:2:0", "nan", "1:inf:1", "0.001:9:0.001"):
        with pytest.raises(ValueError, match="--loads"):
            loads_in(wrong)


def tune(folder: Path, monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """The verb, with a program in place of `spillway` that starts fake engines; all in this folder."""
    bench = Bench(edited(SHIPPED, "models.smoke", {"max_num_seqs": 4}), "smoke", folder / "home", fake_spillway(folder))
    monkeypatch.setenv("SPILLWAY_HOME", str(folder / "home"))
    monkeypatch.setattr(benchmarks.tune, "bench_of", lambda options: bench)
    parser = argparse.ArgumentParser()
    benchmarks.tune.add_arguments(parser)
    return benchmarks.tune.main(parser.parse_args([*SMALL, *words]))


def test_tune_compares_settings_and_proposes_the_better_as_a_diff(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "home").mkdir()
    file = tmp_path / "tune.json"
    words = (*KEPT_BY_WHO_HAS_A_PLACE, "--users", "3", "--confirm", "1", "--most-runs", "7", "--json", str(file))
    status = tune(tmp_path, monkeypatch, "--try", "max_num_seqs=4,16", "--try", "quantization=none,fp8", *words)
    said = capfd.readouterr().out
    assert status == 0, said
    assert "quantization=fp8: does not start: engine smoke failed: fp8" in said
    assert "-max_num_seqs = 4              # sequences decoded together" in said.splitlines()
    assert "+max_num_seqs = 16             # sequences decoded together" in said.splitlines()
    document = document_in(file)
    assert [run.name for run in document.runs] == ["as it is", "max_num_seqs=16", "as it is, again"], said
    assert document.knee is not None
    assert document.knee["run"] == "max_num_seqs=16"
    assert 12 <= document.knee["load"] <= 24
    assert {path.parent.name for path in (tmp_path / "home").rglob("down")} == {"1", "2", "3", "4", "5"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--url", "http://127.0.0.1:1"), "leave out --url"),
        (("--try", "gpu_memory_utilization=0.5"), "Spillway computes it"),
        (("--promise", "speed=1"), "name one of"),
    ],
)
def test_a_tuning_that_cannot_be_is_refused_before_anything_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        tune(tmp_path, monkeypatch, *words)
    assert not (tmp_path / "home").exists()
