"""Where figures come from, and what must never be written there."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from benchmarks.report.origin import command_of, commit_of, digest_of, machine_of, origin_of


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    done = subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    (tmp_path / "models.lock").write_text("locked\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    return tmp_path


def test_the_commit_is_that_of_the_checkout(checkout: Path) -> None:
    assert commit_of(checkout) == git(checkout, "rev-parse", "HEAD")


def test_a_changed_file_makes_the_commit_dirty(checkout: Path) -> None:
    (checkout / "models.lock").write_text("changed\n")
    assert commit_of(checkout) == git(checkout, "rev-parse", "HEAD") + "-dirty"


def test_a_new_report_in_the_checkout_does_not(checkout: Path) -> None:
    (checkout / "report.json").write_text("{}")
    assert not commit_of(checkout).endswith("-dirty")


def test_no_checkout_and_no_lock_file_are_no_error(tmp_path: Path) -> None:
    found = origin_of(["load"], checkout=tmp_path / "none")
    assert (found.commit, found.lock_digest) == ("", "")


def test_the_lock_file_is_told_by_its_digest(checkout: Path) -> None:
    assert digest_of(checkout / "models.lock") == f"sha256:{hashlib.sha256(b'locked' + bytes([10])).hexdigest()}"


def test_the_command_can_be_typed_again() -> None:
    said = command_of(["load", "--promise", "ttft_s=2,tpot_s=0.1", "--mix", "tier=bulk:0.5;local_only=0.2"])
    assert said == "python -m benchmarks load --promise ttft_s=2,tpot_s=0.1 --mix 'tier=bulk:0.5;local_only=0.2'"


@pytest.mark.parametrize(
    "argv",
    [
        ["load", "--key", "hush"],
        ["load", "--key=hush"],
        ["load", "--api-key", "hush"],
        ["load", "--cloud-token=hush"],
        ["load", "--header", "Authorization: Bearer hush"],
        ["load", "--url", "https://me:hush@example.org/v1"],
    ],
)
def test_secrets_stay_out_of_the_command(argv: list[str]) -> None:
    said = command_of([*argv, "--users", "8"])
    assert "hush" not in said
    assert "***" in said
    assert said.endswith("--users 8")


@pytest.mark.parametrize("option", ["--input-tokens", "--tokenizer", "--key-env", "--output-tokens"])
def test_what_only_sounds_like_a_secret_is_shown(option: str) -> None:
    assert command_of(["load", option, "shown"]) == f"python -m benchmarks load {option} shown"


def test_the_machine_says_what_it_is() -> None:
    found = machine_of()
    assert found["cpu"]
    assert found["cores"] >= 1
    assert found["memory_bytes"] > 2**28
    assert found["kernel"].startswith("Linux ")


def test_the_driver_is_told_where_there_is_one(tmp_path: Path) -> None:
    (tmp_path / "driver" / "nvidia").mkdir(parents=True)
    (tmp_path / "driver" / "nvidia" / "version").write_text(
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build  (builder)\n"
    )
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: A Chip 9000\n")
    found = machine_of(tmp_path)
    assert (found["nvidia_driver"], found["cpu"]) == ("580.95.05", "A Chip 9000")


def test_a_machine_without_a_driver_names_none(tmp_path: Path) -> None:
    assert "nvidia_driver" not in machine_of(tmp_path)


def test_the_engine_and_the_moment_are_kept() -> None:
    found = origin_of(["load"], engine={"kind": "vllm"}, began_unix_s=0.0)
    assert (found.engine, found.began_at) == ({"kind": "vllm"}, "1970-01-01T00:00:00+00:00")
