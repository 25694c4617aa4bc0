"""The load verb as a process: what its report holds, what its exit code says, and what bad input gets."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.__main__ import main
from benchmarks.demo_stack import free_port
from benchmarks.report import rows
from tests.routers import until
from tests.stand_ins import StandIn, standing_in

FIRST_S, GAP_S, TOKENS = 0.05, 0.01, 16
STATISTICS = ("mean", "p50", "p90", "p95", "p99")
# A machine with other work is late; what a stub promised it never keeps sooner.
ROOMY = "ttft_s=20,tpot_s=5"


@pytest.fixture(scope="module")
def stub() -> Iterator[StandIn]:
    with standing_in("stub", "--model", "tiny") as running:
        root = running.url.removesuffix("/v1")
        for order in (f"first/{FIRST_S * 1e6:.0f}", f"delay/{GAP_S * 1e6:.0f}"):
            urllib.request.urlopen(f"{root}/_stub/{order}", timeout=10).close()
        yield running


def words(url: str, *options: str) -> list[str]:
    return ["load", "--url", url, "--input-tokens", "20", "--output-tokens", f"{TOKENS}", *options]


def load(url: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *words(url, *options)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def document(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "load.json").read_text())
    return found


DRAWN = ("load.html", "png/*.png")


@pytest.mark.parametrize(
    ("loop", "drawn"), [(("--rate", "40"), DRAWN), (("--users", "4"), ())], ids=["open, with pictures", "closed"]
)
def test_a_load_is_measured_and_reported(
    stub: StandIn, tmp_path: Path, loop: tuple[str, str], drawn: tuple[str, ...]
) -> None:
    files: tuple[str, ...] = ("--json", f"{tmp_path}/load.json")
    if drawn:
        files += ("--html", f"{tmp_path}/load.html", "--png", f"{tmp_path}/png")
    done = load(stub.url, *loop, "--requests", "40", "--promise", ROOMY, *files)
    assert "40 requests" in done.stdout, done.stderr
    summary = document(tmp_path)["summary"]
    for figure in ("ttft_s", "tpot_s", "itl_s", "e2e_s"):
        assert all(summary[figure][name] > 0 for name in STATISTICS if (figure, name) != ("itl_s", "p50")), figure
    assert summary["ttft_s"]["p50"] >= FIRST_S * 0.9
    assert summary["tpot_s"]["p50"] >= GAP_S * 0.9
    assert summary["errors"] == 0
    assert summary["goodput_per_s"] == pytest.approx(summary["requests_per_s"])
    assert summary["output_tokens_per_s"] > 0
    requests = rows.read(tmp_path / document(tmp_path)["runs"][0]["rows"])
    assert [sample.completion_tokens for sample in requests] == [TOKENS] * 40
    assert all(list(tmp_path.glob(each)) for each in drawn)
    assert all("<html" in page.read_text() for page in tmp_path.glob("*.html"))


def test_a_promise_that_a_load_breaks_is_status_1(tmp_path: Path) -> None:
    one_at_a_time = ("--model", "tiny", "--max-num-seqs", "1", "--step-ms", "50")
    with standing_in("engine", *one_at_a_time) as engine:
        # Alone a request begins within two steps; of eight users seven wait for whole answers of 16 steps.
        done = load(engine.url, "--users", "8", "--requests", "16", "--promise", "ttft_s=2")
    assert "promised 2" in done.stdout or "breaks" in done.stdout or "broken" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 1


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--model", "huge"), "tiny"),
        (("--duration", "0"), "--duration 0 must be above 0"),
        (("--rate", "5", "--users", "5"), "exclude each other"),
        (("--promise", "speed=9"), "name one of ttft_s"),
        (("--promise", "ttft_s=0.0001"), "even one request alone breaks the promise"),
        (("--trace", "gone.csv"), "gone.csv"),
        (("--key-env", "NO_SUCH_VARIABLE"), "NO_SUCH_VARIABLE"),
        (("--header", "no colon"), "no colon"),
    ],
)
def test_bad_input_is_a_sentence_and_status_2(
    stub: StandIn, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], sentence: str
) -> None:
    assert main(words(stub.url, *options)) == 2
    said = capsys.readouterr()
    assert sentence in said.err
    assert not said.out


def test_where_nothing_listens_is_a_sentence_and_status_2() -> None:
    done = load(f"http://127.0.0.1:{free_port()}")
    assert done.returncode == 2
    assert "Nothing answers at" in done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout


def test_ctrl_c_keeps_what_was_measured(stub: StandIn, tmp_path: Path) -> None:
    options = words(stub.url, "--users", "4", "--duration", "1h", "--json", f"{tmp_path}/load.json")
    before = answered(stub)
    command = [sys.executable, "-m", "benchmarks", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        until(lambda: answered(stub) >= before + 20 or running.poll() is not None)
        assert running.poll() is None
        running.send_signal(signal.SIGINT)
        said, _ = running.communicate(timeout=60)
    found = document(tmp_path)
    assert found["interrupted"]
    assert found["summary"]["requests"] >= 8
    assert "Stopped early" in said


def answered(stub: StandIn) -> int:
    root = stub.url.removesuffix("/v1")
    with urllib.request.urlopen(f"{root}/_stub/stats", timeout=10) as response:
        return int(json.load(response)["done"])
