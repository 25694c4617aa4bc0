"""One fault from end to end: a stack of its own with a fake engine, killed while requests come."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def test_a_killed_engine_is_unseen_by_who_may_spill(tmp_path: Path) -> None:
    out = tmp_path / "faults.json"
    words = ["faults", "--fake", "--only", "kill-api-server", "--json", str(out)]
    ended = subprocess.run([sys.executable, "-m", "benchmarks", *words], capture_output=True, text=True, check=False)
    rows = {row["name"]: row for row in json.loads(out.read_text())["rows"]} if out.exists() else {}
    assert rows.keys() == {"kill-api-server", "down"}, ended.stdout + ended.stderr
    killed = rows["kill-api-server"]
    assert (killed["lost"], killed["wrong"]) == (0, 0), ended.stdout
    assert killed["home"] > 10
    assert killed["away"] > 0
    assert killed["back_s"] > 0
    assert [row["leftovers"] for row in rows.values()] == [[], []]


def test_what_cannot_be_had_is_a_sentence() -> None:
    for words, said in (
        (["--only", "thunder"], "there is no fault 'thunder'"),
        (["--real", "--only", "xid-79"], "none"),
    ):
        command = [sys.executable, "-m", "benchmarks", "faults", *words]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ended.returncode == 2
        assert said in ended.stderr
