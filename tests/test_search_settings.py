"""What can be tried of an engine, and how it gets into the stack file: one line changed, every comment kept."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.search.settings import FLAGS, KEYS, Candidate, grid, table_of, tries_in, usual
from benchmarks.search.stack_text import difference, edited
from engines.checkout import default_config
from engines.config import KEYS as STACK_KEYS
from engines.config import OWN_FLAGS, read_config

SHIPPED = default_config().read_text(encoding="utf-8")
MODEL: dict[str, Any] = tomllib.loads(SHIPPED)["models"]["smoke"]


def stack_with(candidate: Candidate) -> str:
    return edited(SHIPPED, "models.smoke", table_of(MODEL, candidate))


def changed_lines(before: str, after: str) -> list[str]:
    return [line for line in difference(before, after, "stack.toml").splitlines()[2:] if line[0] in "+-"]


def test_every_key_that_can_be_tried_is_one_of_the_stack_file_and_every_flag_is_left_to_the_user() -> None:
    assert set(KEYS) <= set(STACK_KEYS)
    assert all(f"--{name.replace('_', '-')}" not in OWN_FLAGS for name in FLAGS)


def test_tries_become_a_grid_that_begins_with_the_file_as_it_is_and_holds_nothing_twice() -> None:
    tries = tries_in(["tensor_parallel=1,2", "max-num-seqs=64,128", "prefix_caching=off"])
    candidates = grid(tries, MODEL)
    assert [str(each) for each in candidates] == [
        "as it is",
        "enable_prefix_caching=false",
        "max_num_seqs=128, enable_prefix_caching=false",
        "tensor_parallel=2, enable_prefix_caching=false",
        "tensor_parallel=2, max_num_seqs=128, enable_prefix_caching=false",
    ]


@pytest.mark.parametrize(
    ("tries", "words"),
    [
        (["gpu_memory_utilization=0.8"], "Spillway computes it"),
        (["max_num_seq=1"], "known are max_num_seqs"),
        (["max_num_seqs=0"], "whole numbers above 0"),
        (["max_num_seqs"], "whole numbers above 0"),
        (["enable_prefix_caching=maybe"], "true or false"),
        (["max_num_seqs=1", "max-num-seqs=2"], "twice"),
    ],
)
def test_what_cannot_be_tried_is_refused_with_a_sentence(tries: list[str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        tries_in(tries)


def test_a_grid_that_would_take_all_night_is_refused() -> None:
    tries = tries_in(["max_num_seqs=1,2,3,4,5,6", "kv_blocks=2,3,4,5,6,7"])
    with pytest.raises(ValueError, match="32 at most"):
        grid(tries, MODEL)


def test_without_tries_one_setting_at_a_time_is_changed_and_gpus_are_used_where_there_are_any() -> None:
    assert [str(each) for each in usual(MODEL, gpus=0)] == [
        "as it is",
        "max_num_seqs=128",
        "max_num_seqs=32",
        "enable_prefix_caching=false",
    ]
    assert "tensor_parallel=2" in [str(each) for each in usual(MODEL, gpus=2)]


def test_a_changed_key_changes_one_line_and_keeps_its_comment_in_its_column() -> None:
    after = stack_with(Candidate((("max_num_seqs", 128),)))
    assert changed_lines(SHIPPED, after) == [
        "-max_num_seqs = 64             # sequences decoded together",
        "+max_num_seqs = 128            # sequences decoded together",
    ]


def test_a_key_that_the_file_shows_commented_out_takes_that_line() -> None:
    after = stack_with(Candidate((("quantization", "fp8"),)))
    assert changed_lines(SHIPPED, after) == [
        '-# quantization = "fp8"        # only where models.lock does not say it already',
        '+quantization = "fp8"          # only where models.lock does not say it already',
    ]


def test_a_setting_without_a_key_goes_through_the_arguments_and_replaces_its_own_flag_only() -> None:
    model = {**MODEL, "extra_args": ["--block-size=16", "--no-enable-prefix-caching", "--seed", "1"]}
    candidate = Candidate((("block_size", 32), ("enable_prefix_caching", True)))
    assert table_of(model, candidate)["extra_args"] == [
        "--seed",
        "1",
        "--block-size",
        "32",
        "--enable-prefix-caching",
    ]


def test_a_candidate_is_a_stack_file_that_spillway_reads(tmp_path: Path) -> None:
    candidate = Candidate((("tensor_parallel", 2), ("kv_blocks", 99), ("block_size", 32), ("cpu_kv_cache_gib", 3)))
    path = tmp_path / "stack.toml"
    path.write_text(stack_with(candidate))
    model = read_config(path).models["smoke"]
    assert (model.tensor_parallel, model.kv_blocks, model.cpu_kv_cache_gib) == (2, 99, 3)
    assert model.extra_args == ("--block-size", "32")


def test_the_difference_is_one_that_git_applies(tmp_path: Path) -> None:
    after = stack_with(Candidate((("max_num_seqs", 256), ("enable_prefix_caching", False))))
    (tmp_path / "compose").mkdir()
    (tmp_path / "compose" / "stack.toml").write_text(SHIPPED)
    patch = difference(SHIPPED, after, "compose/stack.toml")
    subprocess.run(["git", "apply"], input=patch, text=True, cwd=tmp_path, check=True)
    assert (tmp_path / "compose" / "stack.toml").read_text() == after


def test_keys_are_changed_taken_out_and_added_wherever_they_stand() -> None:
    text = '[a]\nx = [\n  "#1", # one\n  "2",\n]\ny = "# no comment" # a comment\n\n# of b\n[b]\nx = 1\n'
    assert edited(text, "a", {"x": ["3"]}).startswith('[a]\nx = ["3"]\ny')
    assert 'y = "z"            # a comment\n' in edited(text, "a", {"y": "z"})
    assert edited(text, "b", {"x": None}).endswith("# of b\n[b]\n")
    assert "# a comment\nw = 7\n\n# of b\n[b]\nx = 1\n" in edited(text, "a", {"w": 7})
    assert edited(text, "c.d", {"w": True}).endswith("x = 1\n\n[c.d]\nw = true\n")


def test_a_file_in_which_a_key_cannot_be_changed_in_place_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\[models\.smoke\] cannot be changed in place"):
        edited("models.smoke.max_num_seqs = 1\n", "models.smoke", {"max_num_seqs": 2})


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    values=st.dictionaries(
        st.sampled_from(["max_num_seqs", "kv_blocks", "quantization", "extra_args", "new_key"]),
        st.one_of(st.none(), st.booleans(), st.integers(-(10**6), 10**6), st.text(), st.lists(st.text(), max_size=3)),
        min_size=1,
    )
)
def test_whatever_is_written_is_read_back_and_nothing_else_changes(values: dict[str, Any]) -> None:
    after = edited(SHIPPED, "models.smoke", values)
    wanted = {key: value for key, value in {**MODEL, **values}.items() if value is not None}
    read = tomllib.loads(after)
    assert read["models"]["smoke"] == wanted
    assert {**read, "models": None} == {**tomllib.loads(SHIPPED), "models": None}
