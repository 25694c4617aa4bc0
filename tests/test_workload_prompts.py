"""Prompts from files: one a line, or a column of CSV or JSON lines by any of its usual names."""

from __future__ import annotations

import gzip
import json
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import pytest

from benchmarks.workload.prompts import cycled, prompts_in


def found(tmp_path: Path, text: str, name: str) -> list[str]:
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return prompts_in(path)


@pytest.mark.parametrize("name", ["prompts.txt", "prompts.txt.gz"])
def test_text_has_one_prompt_a_line(tmp_path: Path, name: str) -> None:
    assert found(tmp_path, "What is this?\n\n  And that, é?  \n", name) == ["What is this?", "And that, é?"]


@pytest.mark.parametrize(
    ("row", "prompt"),
    [
        ({"uid": "1", "prompt": "a"}, "a"),
        ({"question": "b", "answer": "no"}, "b"),
        ({"text": "c"}, "c"),
        ({"turns": ["first", "second"]}, "first"),
        ({"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]}, "s\n\nu"),
        ({"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]}, "u"),
    ],
)
@pytest.mark.parametrize("name", ["prompts.jsonl", "prompts.jsonl.gz"])
def test_json_lines_have_a_column(tmp_path: Path, row: dict[str, Any], prompt: str, name: str) -> None:
    assert found(tmp_path, json.dumps(row) + "\n", name) == [prompt]


def test_csv_has_a_column_and_a_prompt_may_have_lines(tmp_path: Path) -> None:
    assert found(tmp_path, 'id,question\n1,"two\nlines"\n2,\n3,one\n', "prompts.csv") == ["two\nlines", "one"]


@pytest.mark.parametrize(
    ("text", "name", "said"),
    [
        ("", "prompts.txt", "no prompt in it"),
        ("prompt\n", "prompts.csv", "no prompt in it"),
        ('{"ask": "a", "by": "b"}', "prompts.jsonl", r"line 1: no column prompt or question .*there is ask, by"),
        ('{"prompt": 5}', "prompts.jsonl", "column prompt must be text, not 5"),
        ('{"turns": []}', "prompts.jsonl", "column turns must be text"),
        ('{"messages": [{"role": "user"}]}', "prompts.jsonl", "column messages must be text"),
        ("hello", "prompts.docx", r"name it \.csv"),
    ],
)
def test_a_wrong_file_gets_a_sentence(tmp_path: Path, text: str, name: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        found(tmp_path, text, name)


def test_prompts_go_round_each_time_in_another_order() -> None:
    prompts = [str(number) for number in range(20)]
    asked = list(islice(cycled(prompts, Random(1)), 60))
    rounds = [asked[start : start + 20] for start in (0, 20, 40)]
    assert all(sorted(each) == sorted(prompts) for each in rounds)
    assert len({tuple(each) for each in rounds}) == 3
    assert asked == list(islice(cycled(prompts, Random(1)), 60))
