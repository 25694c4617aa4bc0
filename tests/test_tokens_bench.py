"""`python -m benchmarks tokens`: what it prints of the texts and vocabularies that it is given."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.tokens import Miss
from router.length import estimated_tokens
from tests.vocabularies import byte_level, folder_of


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", "tokens", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_error_is_that_of_the_given_texts_by_the_given_vocabulary(tmp_path: Path) -> None:
    made = byte_level()
    folder_of(made, tmp_path / "model")
    text = "Where does all the water of the lake go when it rains? " * 40
    prompts, figures = tmp_path / "prompts.jsonl", tmp_path / "figures.json"
    prompts.write_text("\n".join(json.dumps({"kind": kind, "text": text}) for kind in ("rain", "rain", "sun")))
    vocabulary = str(tmp_path / "model" / "tokenizer.json")
    shown = bench("--prompts", str(prompts), "--tokenizer", vocabulary, "--json", str(figures))
    assert shown.returncode == 0, shown.stderr
    true = len(made.encode(text, add_special_tokens=False).ids)
    misses = [Miss(**each) for each in json.loads(figures.read_text())]
    assert [miss.kind for miss in misses] == ["rain", "rain", "sun"]
    assert {miss.vocabulary for miss in misses} == {vocabulary}
    for miss in misses:
        assert miss.ratio == pytest.approx(estimated_tokens(text) / true)
        assert miss.flat == pytest.approx(len(text) / 4 / true)
    lines = [line.split()[:2] for line in shown.stdout.splitlines()]
    assert ["rain", "2"] in lines
    assert ["sun", "1"] in lines
    assert ["all", "3"] in lines


@pytest.mark.parametrize(
    ("line", "words"),
    [
        pytest.param("no JSON", 'line 1: expected {"kind": ..., "text": ...}', id="no JSON"),
        pytest.param('{"kind": "a"}', 'line 1: expected {"kind": ..., "text": ...}', id="no text"),
        pytest.param('{"text": "short"}', "no text has 500 characters or more", id="nothing to measure"),
    ],
)
def test_what_is_wrong_with_the_prompts_is_said(tmp_path: Path, line: str, words: str) -> None:
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text(line + "\n")
    shown = bench("--prompts", str(prompts))
    assert shown.returncode == 2
    assert words in shown.stderr
