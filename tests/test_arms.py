"""Comparisons, out of the ledger: each figure is of the rows that it says, and of the same questions on both sides."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from router.books import read_arms, read_compared
from router.comparing.arms import arms_of
from router.moves import LedgerError
from router.outcome import Outcome
from router.verbs.__main__ import main
from tests.ledgers import opened
from tests.specimens import outcome

ARMS = ("qwen/control", "qwen/trial")


def written(folder: Path, *rows: Outcome) -> Path:
    path = folder / "ledger.sqlite3"
    with opened(path) as ledger:
        for row in rows:
            ledger.record(row)
    return path


def control(**more: Any) -> Outcome:
    return outcome(arm="qwen/control", **more)


def trial(**more: Any) -> Outcome:
    return outcome(arm="qwen/trial", **more)


def test_each_arm_of_a_split_has_its_own_figures() -> None:
    rows = [control(ttft_s=each / 100, e2e_s=each / 10, usd=0.5, target="cloud/a") for each in range(1, 101)]
    rows += [trial(ttft_s=0.2), trial(ttft_s=None), trial(status=502), trial(status=499), trial(ttft_s=0.4)]
    one, other = arms_of(rows, "qwen/trial")
    assert (one.requests, one.errors, one.left, one.usd, one.targets) == (100, 0, 0, 50.0, ("cloud/a",))
    assert (one.ttft_p50_s, one.ttft_p95_s, one.e2e_p50_s, one.e2e_p95_s) == (0.5, 0.95, 5.0, 9.5)
    assert (other.requests, other.errors, other.left, other.answered) == (5, 1, 1, 3)
    assert (other.ttft_p50_s, other.ttft_p95_s) == (0.2, 0.4)
    assert (other.prompt_tokens, other.completion_tokens) == (50, 100)


def test_an_arm_without_answers_has_no_times_instead_of_zeros() -> None:
    one, other = arms_of([control(status=503, ttft_s=None)], "qwen/trial")
    assert (one.errors, one.ttft_p50_s, one.e2e_p95_s) == (1, None, None)
    assert (other.requests, other.ttft_p50_s) == (0, None)


def test_of_a_shadow_those_requests_count_whose_copy_was_sent() -> None:
    rows = [outcome(request_id=name, ttft_s=0.1) for name in ("a", "b", "c")]
    rows += [
        trial(request_id="copy-a", shadow_of="a"),
        trial(request_id="copy-b", shadow_of="b", status=502, attempts=1),
        trial(request_id="copy-c", shadow_of="c", status=429, attempts=0),
    ]
    one, other = arms_of(rows, "qwen/trial")
    assert one.requests == 2
    assert (other.requests, other.errors, other.unsent) == (2, 1, 1)


def test_only_rows_of_a_comparison_are_read(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        outcome(request_id="plain"),
        outcome(request_id="copied"),
        control(request_id="one"),
        trial(request_id="two"),
        trial(request_id="copy", shadow_of="copied"),
        outcome(request_id="else", arm="other/trial", shadow_of="plain"),
        trial(request_id="old", at_unix_s=10.0),
    )
    assert read_arms(path, 100.0) == ["other/trial", "qwen/control", "qwen/trial"]
    names = sorted(row.request_id for row in read_compared(path, ARMS, 100.0))
    assert names == ["copied", "copy", "one", "two"]


@pytest.mark.parametrize("content", [None, b"Dear diary, this is no database. " * 100])
def test_a_file_that_is_no_ledger_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "gone"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(LedgerError, match=str(path)):
        read_arms(path, 0.0)


def verb(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "router.verbs", "arms", *arguments]
    environment = os.environ | {"SPILLWAY_HOME": str(folder)}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)


def test_the_verb_shows_both_arms_side_by_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written(tmp_path, control(usd=0.25, target="cloud/a"), trial(ttft_s=0.05, target="local/qwen"), trial(status=500))
    shown = verb(tmp_path, "qwen")
    assert shown.returncode == 0, shown.stderr
    lines = {
        line.rsplit(maxsplit=2)[0].strip(): line.split()[-2:] for line in shown.stdout.splitlines() if line.split()
    }
    assert lines["requests"] == ["1", "2"]
    assert lines["errors"] == ["0", "1"]
    assert lines["cost"] == ["$0.2500", "$0.0000"]
    assert lines["served by"] == ["cloud/a", "local/qwen"]
    monkeypatch.setenv("SPILLWAY_HOME", str(tmp_path))
    assert main(["arms", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["qwen"]["control"]["usd"], told["qwen"]["trial"]["errors"]) == (0.25, 1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["nobody"], "no comparison is called 'nobody'; there are: qwen", id="a name that is not there"),
        pytest.param(["--hours", "1"], "nothing has been compared in this time", id="a time without rows"),
        pytest.param(["--hours", "-1"], "must be a number above 0", id="no time"),
    ],
)
def test_the_verb_says_what_it_did_not_find(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    written(tmp_path, trial())
    monkeypatch.setenv("SPILLWAY_HOME", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        raise SystemExit(main(["arms", *arguments]))
    assert ended.value.code != 0
    assert words in capsys.readouterr().err
