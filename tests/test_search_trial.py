"""Candidates as stacks of their own: with a program that looks like `spillway` and starts fake engines."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import tomllib
import urllib.request
from pathlib import Path

import pytest

from benchmarks.search.settings import Candidate
from benchmarks.search.trial import Bench, TrialFailed, require_quiet, running
from engines.checkout import default_config
from tests.fake_spillway import fake_spillway
from tests.routers import until

TWICE = Candidate((("max_num_seqs", 128),))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    text = default_config().read_text(encoding="utf-8")
    return Bench(text, "smoke", tmp_path / "tune", program=fake_spillway(tmp_path))


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def test_a_candidate_runs_with_its_settings_on_a_port_of_its_own_and_is_taken_down(bench: Bench) -> None:
    with running(bench, TWICE, 1) as url:
        assert answers(url)
        tables = tomllib.loads((bench.home / "1" / "stack.toml").read_text())
        assert tables["models"]["smoke"]["max_num_seqs"] == 128
        assert (tables["endpoint"]["host"], tables["endpoint"]["port"] != 4000) == ("127.0.0.1", True)
    assert not answers(url)


def test_whatever_happens_the_stack_is_taken_down(bench: Bench) -> None:
    with pytest.raises(KeyboardInterrupt), running(bench, TWICE, 1) as url:
        raise KeyboardInterrupt
    assert not answers(url)


def test_a_candidate_that_does_not_start_says_why_and_where_to_look(bench: Bench) -> None:
    refused = Candidate((("quantization", "nonsense"),))
    with (
        pytest.raises(TrialFailed, match=r"does not start: engine smoke failed: nonsense .*up\.log"),
        running(bench, refused, 1),
    ):
        pytest.fail("it must not come up")


def test_an_interrupt_while_a_candidate_starts_takes_it_down_too(bench: Bench) -> None:
    hanging = Candidate((("quantization", "hang"),))
    home = bench.home / "1"

    def interrupted() -> None:
        until((home / "hanging").exists)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupted)
    thread.start()
    with pytest.raises(KeyboardInterrupt), running(bench, hanging, 1):
        pytest.fail("it must not come up")
    thread.join()
    assert (home / "interrupted").exists()
    assert (home / "down").exists()


def test_a_stack_that_cannot_be_taken_down_ends_everything_with_the_command_that_does(bench: Bench) -> None:
    with pytest.raises(OSError, match=r"SPILLWAY_HOME=\S+ \S+ down"), running(bench, TWICE, 1):
        (bench.home / "1" / "stuck").touch()
    engine = json.loads((bench.home / "1" / "engine.json").read_text())
    os.kill(engine["pid"], signal.SIGTERM)


def test_a_stack_of_the_users_that_is_up_is_not_measured_beside(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPILLWAY_HOME", str(tmp_path / "own"))
    (tmp_path / "own").mkdir()
    require_quiet(bench)
    (tmp_path / "own" / "engine.json").write_text('{"url": "http://127.0.0.1:9", "pid": 0}')
    with pytest.raises(ValueError, match="`spillway down` first"):
        require_quiet(bench)


def test_a_model_that_the_file_does_not_have_is_refused_with_those_it_has(bench: Bench) -> None:
    with pytest.raises(ValueError, match=r"no \[models.other\]; there are: smoke"):
        print(Bench(bench.text, "other", bench.home).table)


def test_the_real_program_refuses_a_wrong_stack_file_in_words_that_are_passed_on(tmp_path: Path) -> None:
    text = default_config().read_text(encoding="utf-8").replace("[limits]", "[limit]")
    spillway = Path(sys.executable).with_name("spillway")
    assert subprocess.run([spillway, "--help"], capture_output=True, check=False).returncode == 0
    bench = Bench(text, "smoke", tmp_path)
    words = r"\[limit\] is unknown; did you mean \[limits\]"
    with pytest.raises(TrialFailed, match=words), running(bench, Candidate(), 1):
        pytest.fail("it must not come up")
