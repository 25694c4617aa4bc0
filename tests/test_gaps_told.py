"""Holes in stack.toml as `python -m router` tells of them before it serves."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from engines.snapshot import models_to_json
from tests.test_gaps import LLAMA, PLACES, TIERS


def checked(folder: Path, text: str, *options: str) -> subprocess.CompletedProcess[str]:
    """`python -m router --check` of a file, without the key of its cloud."""
    path = folder / "stack.toml"
    path.write_text(text + TIERS + PLACES + "input_usd_per_mtok = 1\noutput_usd_per_mtok = 2\n")
    command = [sys.executable, "-m", "router", "--config", str(path), "--check", *options]
    environment = {name: value for name, value in os.environ.items() if name != "DEEP_KEY"}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)


def test_the_routers_own_check_names_every_hole_with_the_file(tmp_path: Path) -> None:
    said = checked(tmp_path, "[tasks.think]\ntier = 'standard'\nmodel = 'gpt'\n")
    lines = said.stderr.splitlines()
    assert (said.returncode, len(lines), said.stdout) == (2, 2, "")
    assert lines[0].startswith(f'{tmp_path}/stack.toml: [tasks.think]: model: the model "gpt" runs nowhere')
    assert lines[1].startswith(f"{tmp_path}/stack.toml: [clouds.deep]: key_env: the variable DEEP_KEY is not set")


def test_the_routers_own_check_knows_what_the_lock_says_of_local_models(tmp_path: Path) -> None:
    text, sees = "[tasks.think]\ntier = 'home'\nneeds = ['vision']\n", models_to_json((LLAMA,))
    blind = checked(tmp_path, text, "--models", sees).stderr.splitlines()
    assert [line for line in blind if "the task think needs vision, and local/llama-8b can chat" in line]
    assert "needs vision" not in checked(tmp_path, text).stderr


def test_with_engines_by_their_urls_no_model_is_missing(tmp_path: Path) -> None:
    said = checked(tmp_path, "[tasks.think]\ntier = 'standard'\nmodel = 'gpt'\n", "--engine", "gpt=http://127.0.0.1:9")
    assert "runs nowhere" not in said.stderr
    assert "DEEP_KEY" in said.stderr
