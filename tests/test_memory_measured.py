"""What good starts told: kept in a file by what decides it, and found again by all that it decides equally."""

import json
import logging
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.memory.measured import Key, Measured, find, key_of, read, write
from engines.memory.shape import Shape
from tests.locked import locked, shape

H100, L4 = "NVIDIA H100 80GB HBM3", "NVIDIA L4"
TOLD = Measured(
    weights_bytes=16_000_000_000,
    activation_bytes=1_200_000_000,
    graph_bytes=500_000_000,
    outside_bytes=700_000_000,
    kv_bytes=50_000_000_000,
    kv_tokens=380_000,
    load_s=31.5,
    start_s=64.0,
)


def key(wanted: Shape | None = None, gpu: str = H100, engine: str = "vllm 0.33.0", *extra_args: str) -> Key:
    return key_of(engine, locked().identity(), wanted or shape(), gpu, extra_args)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "measured.json"
    kept = {key(): TOLD, key(gpu=L4): Measured(load_s=2.0)}
    write(path, kept)
    assert read(path) == kept
    write(path, {})
    assert read(path) == {}
    assert [each.name for each in tmp_path.iterdir()] == ["measured.json"]


def test_before_anything_was_measured_there_is_nothing(tmp_path: Path) -> None:
    assert read(tmp_path / "measured.json") == {}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"schema": 2, "measured": []}',
        '{"schema": 1}',
        '{"schema": 1, "measured": [{"key": {}, "measured": {}}]}',
        '{"schema": 1, "measured": [{"key": {"engine": "v", "revision": "r", "flags": "", "gpu": "g",'
        ' "tensor_parallel": 1}, "measured": {"weights_bytes": -1}}]}',
    ],
)
def test_a_damaged_file_is_named_and_set_aside(tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "measured.json"
    path.write_text(text)
    with caplog.at_level(logging.WARNING):
        assert read(path) == {}
    assert str(path) in caplog.text
    assert not path.exists()
    assert (tmp_path / "measured.json.damaged").read_text() == text
    write(path, {key(): TOLD})
    assert read(path) == {key(): TOLD}


def test_a_file_cut_off_anywhere_is_no_crash(tmp_path: Path) -> None:
    path = tmp_path / "measured.json"
    write(path, {key(): TOLD})
    whole = path.read_bytes()
    assert json.loads(whole)
    for length in range(0, len(whole) - 2, 7):
        path.write_bytes(whole[:length])
        assert read(path) == {}


def test_a_file_that_is_a_folder_is_no_crash(tmp_path: Path) -> None:
    path = tmp_path / "measured.json"
    path.mkdir()
    assert read(path) == {}


def test_names_and_ports_are_no_part_of_a_key() -> None:
    named = key(None, H100, "vllm 0.33.0", "--served-model-name", "chat", "--port=8001", "--enable-prefix-caching")
    assert named == key(None, H100, "vllm 0.33.0", "--enable-prefix-caching")
    assert named != key()


def test_a_model_is_known_by_what_identifies_its_files() -> None:
    assert key_of("vllm 0.33.0", "2" * 40, shape(), H100, ()) != key()


@pytest.mark.parametrize(
    "changes",
    [
        {"context_tokens": 4096},
        {"max_num_seqs": 8},
        {"max_num_batched_tokens": 512},
        {"quantization": "fp8"},
        {"kv_cache_dtype": "fp8"},
        {"enforce_eager": True},
        {"tensor_parallel": 2},
    ],
)
def test_every_flag_that_decides_memory_is_part_of_a_key(changes: dict[str, Any]) -> None:
    assert key(replace(shape(), **changes)) != key()


def test_all_terms_of_the_same_start_are_found() -> None:
    assert find({key(): TOLD}, key()) == TOLD


def test_nothing_known_is_none_and_never_zero() -> None:
    assert find({}, key()) == Measured()
    assert find({key(): TOLD}, key(gpu=L4, engine="vllm 0.34.0")) == Measured()


def test_another_context_keeps_all_but_the_kv_cache() -> None:
    found = find({key(): TOLD}, key(shape(context_tokens=1024)))
    assert found == replace(TOLD, kv_bytes=None, kv_tokens=None)


def test_fewer_sequences_keep_weights_and_context() -> None:
    found = find({key(): TOLD}, key(shape(max_num_seqs=8)))
    expected = Measured(weights_bytes=TOLD.weights_bytes, outside_bytes=TOLD.outside_bytes, load_s=TOLD.load_s)
    assert found == expected


def test_another_card_keeps_nothing_because_its_kernels_pad_otherwise() -> None:
    assert find({key(): TOLD}, key(gpu=L4)) == Measured()


def test_another_quantization_or_parallel_size_has_other_weights() -> None:
    assert find({key(): TOLD}, key(shape(quantization="fp8"))).weights_bytes is None
    assert find({key(): TOLD}, key(shape(2))) == Measured()


def test_another_model_on_the_same_card_has_the_same_context() -> None:
    other = key_of("vllm 0.33.0", "2" * 40, shape(), H100, ())
    assert find({key(): TOLD}, other) == Measured(outside_bytes=TOLD.outside_bytes)


def test_a_term_of_its_own_start_counts_before_larger_ones_elsewhere() -> None:
    near = key(shape(context_tokens=1024))
    kept = {near: replace(TOLD, activation_bytes=9_000_000_000), key(): replace(TOLD, graph_bytes=None)}
    found = find(kept, key())
    assert found.activation_bytes == TOLD.activation_bytes
    assert found.graph_bytes == TOLD.graph_bytes


def test_where_equal_starts_differ_the_largest_counts() -> None:
    kept = {
        key(shape(context_tokens=1024)): replace(TOLD, activation_bytes=1),
        key(shape(context_tokens=2048)): replace(TOLD, activation_bytes=3),
        key(shape(context_tokens=4096)): replace(TOLD, activation_bytes=2),
    }
    assert find(kept, key()).activation_bytes == 3


words = st.text(max_size=30)
terms = st.none() | st.integers(0, 2**50)
seconds = st.none() | st.floats(0, 1e6)
measurements = st.builds(
    Measured, **{field.name: seconds if field.name.endswith("_s") else terms for field in fields(Measured)}
)


@given(st.dictionaries(st.builds(Key, words, words, words, words, st.integers(1, 64)), measurements, max_size=5))
def test_any_measurement_survives_the_file(tmp_path_factory: pytest.TempPathFactory, kept: dict[Key, Measured]) -> None:
    path = tmp_path_factory.mktemp("measured") / "measured.json"
    write(path, kept)
    assert read(path) == kept
