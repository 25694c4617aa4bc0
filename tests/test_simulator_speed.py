"""What a step takes: read from tables, shipped in a few numbers, held against recorded runs."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmarks.simulator.calibration import layers_in, profile_in, thinned
from benchmarks.simulator.named import NAMED, kind_of
from benchmarks.simulator.sequence import Request
from benchmarks.simulator.steps import Attention, Coefficients, Steps
from benchmarks.simulator.validation import Row, rows_table, validated

KNOTS = ((1, 10.0), (100, 12.0), (1000, 90.0))
COUNTS = (1, 16, 100, 256, 512, 1000)


def written(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    text = "\n".join(",".join(map(str, row)) for row in (columns, *rows)) + "\n"
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


def layer_tables(folder: Path, stem: str) -> None:
    """Two layers whose times follow from a few numbers: a step of n tokens is 10 + 0.02 n ms without attention."""
    dense = [("up", n, 5000 + 10 * n - 200) for n in COUNTS] + [("layernorm", n, 50) for n in COUNTS]
    dense += [("embedding", n, 200) for n in COUNTS]
    written(folder / f"{stem}_dense.csv.gz", ("layer", "tokens", "time_us"), dense)
    head = [(layer, n, 500 + n) for layer in ("lm_head", "sampler") for n in (1, 64, 256)]
    written(folder / f"{stem}_per_sequence.csv.gz", ("layer", "sequences", "time_us"), head)
    alone = [(0, 0, n, kv, 12 + n * 0.2 + n * kv * 0.005) for n in (1, 8, 64) for kv in (16, 256, 1024)]
    beside = [
        (chunk, before, n, kv, 20 + n * 1.5 + n * kv * 0.01 + chunk * 0.04 + chunk * (before + chunk / 2) * 1e-4)
        for chunk in (64, 512, 2048)
        for before in (0, 1024)
        for n in (1, 8, 64)
        for kv in (64, 256, 1024)
    ]
    far = [(0, 0, 64, 16384, 1e6)]
    columns = ("prefill_chunk", "kv_prefill", "n_decode", "kv_decode", "time_us")
    written(folder / f"{stem}_attention.csv.gz", columns, alone + beside + far)


def test_layer_tables_are_summed_over_the_layers_of_the_model(tmp_path: Path) -> None:
    layer_tables(tmp_path, "card")
    found = layers_in(tmp_path, "card", layers=2, kv_tokens=100_000, overhead_ms=0.5)
    steps = Steps(found)
    head_ms, attention_ms = 2 * (0.5 + 0.008), 2 * (12 + 8 * 0.2 + 8000 * 0.005) / 1e3
    assert steps.decode_s(8, 8000) * 1e3 == pytest.approx(10 + 8 * 0.02 + head_ms + attention_ms + 0.5, rel=1e-6)
    attention_us = 20 + 8 * 1.5 + 8000 * 0.01 + 512 * 0.04 + 512 * (1024 + 256) * 1e-4
    mixed_ms = 10 + 520 * 0.02 + 2 * (0.5 + 0.009) + 2 * attention_us / 1e3 + 0.5
    assert steps.mixed_s(8, 8000, [(512, 1024)]) * 1e3 == pytest.approx(mixed_ms, rel=1e-6)


def test_a_profile_of_whole_steps_becomes_steps(tmp_path: Path) -> None:
    decode = [(ctx, n, 4 + 0.04 * n + 3e-5 * n * ctx) for ctx in (350, 3000) for n in (1, 64, 256, 1024)]
    waited = [(350, 1500, 40.0)]
    written(tmp_path / "card_vllm_decode.csv", ("context_tokens", "concurrent_requests_est", "itl_ms"), decode + waited)
    prefill = [(n, 16 + 0.015 * n + 1e-6 * n * n / 2) for n in (100, 2000, 8000, 16000)]
    written(tmp_path / "card_vllm_prefill.csv", ("input_tokens", "ttft_ms"), prefill)
    steps = Steps(profile_in(tmp_path, "card"))
    assert steps.decode_s(64, 64 * 3000) * 1e3 == pytest.approx(4 + 0.04 * 64 + 3e-5 * 64 * 3000, rel=1e-6)
    # What a front end takes is in no step: 12 ms of the 16 are not the step's own 4.
    assert steps.prefill_s(8000) * 1e3 == pytest.approx(4 + 0.015 * 8000 + 32, rel=1e-6)


def test_lines_between_the_knots_that_stay_miss_none_of_those_that_went() -> None:
    knots = tuple((n, 10 + (n // 64) * 3 + 0.001 * n) for n in range(1, 1025))
    kept = thinned(knots, 0.03)
    assert set(kept) < set(knots)
    assert len(kept) < 50
    steps = Steps(Coefficients("", kept, ((0, 0.0), (1024, 0.0)), Attention(0, 0, 0), Attention(0, 0, 0), 0, 0))
    off = [abs(steps.prefill_s(count) * 1e3 / value - 1) for count, value in knots]
    assert 0 < max(off) <= 0.03 + 1e-9


def test_beyond_what_was_measured_time_grows_with_what_is_to_be_done() -> None:
    steps = Steps(Coefficients("", KNOTS, ((1, 1.0), (256, 2.0)), Attention(0, 0, 0), Attention(0, 0, 0), 0, 0))
    assert steps.prefill_s(4000) == pytest.approx(0.360 + 0.001)
    assert steps.decode_s(512, 0) == pytest.approx((12 + 78 * 412 / 900 + 4) / 1e3)
    assert steps.prefill_s(0) == pytest.approx(0.011)


@pytest.mark.parametrize("name", NAMED)
def test_an_engine_that_ships_answers(name: str) -> None:
    engine, request = kind_of(name).made(), Request(0, 0.0, 1000, 100)
    engine.add(request, 0.0)
    assert [kind for _, kind, _ in (*engine.advance(10), *engine.advance(10))] == ["first", "end"]
    assert request.first_s is not None
    assert request.end_s is not None
    assert 0.01 < request.first_s < 0.2
    assert 0.004 < (request.end_s - request.first_s) / 99 < 0.02


def test_an_engine_of_no_such_name_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"no engine 'rtx5090'; take one of rtx4090-llama3\.1-8b, rtxpro6000"):
        kind_of("rtx5090")


def recorded(folder: Path, stem: str, meta: dict[str, Any]) -> None:
    """A run of the shipped engine itself, written down as upstream writes real ones, 5 % slower."""
    engine = kind_of("rtx4090-llama3.1-8b", prefix_cache=True).made()
    requests = [Request(number, number * 0.2, 500 + 50 * (number % 7), 50 + number) for number in range(30)]
    for request in requests:
        while engine.advance(request.arrival_s):
            pass
        engine.add(request, request.arrival_s)
    while not engine.is_idle:
        engine.advance(engine.due_s)
    rows = []
    for each in requests:
        assert each.first_s is not None
        assert each.end_s is not None
        first_s = each.arrival_s + 1.05 * (each.first_s - each.arrival_s)
        sizes = each.prompt_tokens, each.output_tokens
        rows.append((*sizes, each.arrival_s, first_s, first_s + 1.05 * (each.end_s - each.first_s)))
    columns = ("input_tokens", "output_tokens", "queued_s", "first_token_s", "last_token_s")
    written(folder / f"{stem}_vllm_requests.csv", columns, rows)
    (folder / f"{stem}_vllm_meta.json").write_text(json.dumps(meta))


STEM = NAMED["rtx4090-llama3.1-8b"].stem
META = {
    "engine_kwargs": {"max_num_batched_tokens": 2048, "max_num_seqs": 256},
    "kv_cache": {"num_kv_tokens": 41_408},
}


def test_a_recorded_run_says_how_far_the_engine_is_off(tmp_path: Path) -> None:
    recorded(tmp_path, STEM, META)
    layer_tables(tmp_path, STEM)
    rows = validated(tmp_path)
    shipped = {row.figure: row.error for row in rows if row.speed == "shipped"}
    assert shipped["TTFT p50 s"] == pytest.approx(1 / 1.05 - 1)
    assert shipped["TTFT p99 s"] == pytest.approx(1 / 1.05 - 1)
    assert shipped["TPOT p50 ms"] == pytest.approx(1 / 1.05 - 1)
    assert 0 < shipped["output tokens/s"] < 0.05
    tables = {row.figure: row.error for row in rows if row.speed == "tables"}
    assert tables.keys() == shipped.keys()
    assert tables != shipped


def test_a_run_without_tables_is_held_against_the_shipped_engine_alone(tmp_path: Path) -> None:
    recorded(tmp_path, STEM, META)
    assert {row.speed for row in validated(tmp_path)} == {"shipped"}


def test_the_table_shows_each_figure_with_its_error() -> None:
    console = Console(width=100, file=io.StringIO(), record=True)
    console.print(rows_table([Row("a-card", "shipped", "TTFT p50 s", 2.0, 2.5)]))
    assert console.export_text().split()[-6:] == ["TTFT", "p50", "s", "2", "2.5", "+25.0%"]


@pytest.mark.parametrize("meta", [{}, {"engine_kwargs": {"max_num_seqs": 256}}, {"engine_kwargs": 3}])
def test_a_run_that_does_not_say_the_engines_sizes_is_refused(tmp_path: Path, meta: dict[str, Any]) -> None:
    recorded(tmp_path, STEM, meta)
    with pytest.raises(ValueError, match=r"_meta\.json does not say the engine's sizes"):
        validated(tmp_path)


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"no recorded run in it; it needs one of {STEM}_vllm_requests.csv"):
        validated(tmp_path)
