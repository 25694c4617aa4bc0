"""The line that a download shows, and the process that sees to the files of one engine."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from engines.fetching import main, progress_words
from engines.models.lock import SCHEMA, Lock, LockedFile
from engines.models.lock_text import to_toml
from engines.models.tally import Progress
from tests.downloads import FIRST, Place
from tests.stand_in_hub import standing_in_hub
from tests.wants import model


def test_the_line_says_how_far_how_fast_and_how_long_yet() -> None:
    progress = Progress("fetching", ("a.safetensors",), 4_000_000_000, 16_000_000_000, 112e6, 107.1)
    assert progress_words(progress) == (
        "fetching █████─────────────── 25 % of 16.00 GB, 112 MB/s, 1 min 47 s left: a.safetensors"
    )


def test_what_is_not_known_yet_is_left_out() -> None:
    progress = Progress("verifying", ("maker/a", "maker/b"), 0, 5_000_000, None, None)
    assert progress_words(progress) == "verifying ──────────────────── 0 % of 5.0 MB: a and 1 more"


def test_nothing_to_move_is_no_division_by_zero() -> None:
    assert "0 % of 0.0 MB" in progress_words(Progress("verifying", (), 0, 0, None, None))


def test_asking_the_hub_has_no_bar() -> None:
    assert progress_words(Progress("asking", (), 0, 5_000_000, None, None)) == "asking the hub"


def fetched(place: Place) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "engines.fetching", "small", "--lock", str(place.lock)]
    return subprocess.run(command, env=place.environment(None), capture_output=True, text=True, check=False)


def test_files_come_are_mended_and_then_need_no_hub(tmp_path: Path) -> None:
    with standing_in_hub() as hub:
        place = Place(hub, tmp_path)
        small = place.publish({"config.json": b"{}", "a.safetensors": FIRST})
        came = fetched(place)
        assert (came.returncode, came.stderr) == (0, "")
        assert came.stdout.startswith("asking the hub")
        place.file(small, "a.safetensors").write_bytes(FIRST[:-1] + b"x")
        assert fetched(place).returncode == 0
        assert place.file(small, "a.safetensors").read_bytes() == FIRST
        asked = len(hub.asked)
        assert fetched(place).returncode == 0
        assert len(hub.asked) == asked


def test_a_hub_that_is_away_is_said_in_a_sentence(tmp_path: Path) -> None:
    with standing_in_hub() as hub:
        place = Place(hub, tmp_path)
        place.publish({"config.json": b"{}"})
    gone = fetched(place)
    assert gone.returncode == 1
    assert gone.stderr.startswith("cannot download config.json of [models.small]: ")
    assert "Traceback" not in gone.stderr


def test_a_damaged_file_of_your_own_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model.bin").write_bytes(b"one")
    own = replace(model(source=f"folder:{tmp_path}"), files=(LockedFile("model.bin", "0" * 64, 3),))
    lock = tmp_path / "models.lock"
    lock.write_text(to_toml(Lock(SCHEMA, {}, {"own": own})))
    assert main(["own", "--lock", str(lock)]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"{tmp_path / 'model.bin'} has sha256 ")
    assert "else restore the file" in said


def test_ollama_sees_to_its_own_files(tmp_path: Path) -> None:
    lock = tmp_path / "models.lock"
    lock.write_text(to_toml(Lock(SCHEMA, {}, {"small": model(source="ollama:acme/small")})))
    assert main(["small", "--lock", str(lock)]) == 0


def test_a_model_that_is_not_locked_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lock = tmp_path / "models.lock"
    lock.write_text(to_toml(Lock(SCHEMA, {}, {"small": model()})))
    assert main(["smal", "--lock", str(lock)]) == 1
    assert "models.smal" in capsys.readouterr().err
