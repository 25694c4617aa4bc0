"""Tests of what generators are compared by: the requests, the figures side by side, the model that is slowed down."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from msgspec.structs import replace

from benchmarks.proof import ceiling, cpu, deepened, knee, known
from benchmarks.proof.compared import rows, table
from benchmarks.proof.generators import Guidellm, Ours, Target, Vllm
from benchmarks.proof.process import cpu_s_of, run
from benchmarks.proof.work import Work, write
from benchmarks.report.document import Figure, Run, Summary
from benchmarks.workload.lengths import lengths_in
from benchmarks.workload.trace import TraceKind, trace_in

SMOKE = Path(__file__).parents[1] / "engines" / "smoke" / "model"


def work(users: int | None = None, rate: float | None = None, requests: int = 20) -> Work:
    """Some requests, of which some are longer than a block."""
    return Work(requests, lengths_in("uniform:100-1500"), lengths_in("uniform:10-20"), users, rate)


def figure(mean: float, p99: float) -> Figure:
    """Where only two statistics matter."""
    return Figure(count=10, mean=mean, p50=mean, p90=mean, p95=p99, p99=p99)


def summary(tokens_per_s: float = 100.0, ttft_s: float = 0.1, tpot_s: float = 0.02) -> Summary:
    """A load's figures."""
    return Summary(
        requests=10,
        seconds=10.0,
        warm_up_s=0.0,
        ttft_s=figure(ttft_s, 2 * ttft_s),
        tpot_s=figure(tpot_s, 2 * tpot_s),
        itl_s=None,
        e2e_s=None,
        input_tokens_per_s=1.0,
        output_tokens_per_s=tokens_per_s,
        requests_per_s=1.0,
        goodput_per_s=None,
        errors=0,
    )


def test_the_requests_are_a_trace_that_the_harness_reads_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "work.jsonl"
    write(work(rate=5.0), path)
    shapes = list(trace_in(path, TraceKind.MOONCAKE))
    written = [json.loads(line) for line in path.read_text().splitlines()]
    assert [shape.input_tokens for shape in shapes] == [row["input_length"] for row in written]
    assert [shape.output_tokens for shape in shapes] == [row["output_length"] for row in written]
    assert [shape.at_s for shape in shapes] == pytest.approx([row["timestamp"] / 1000 for row in written])
    assert 1.0 < shapes[-1].at_s < 10.0


def test_no_two_prompts_share_a_block_and_each_has_as_many_as_it_needs(tmp_path: Path) -> None:
    path = tmp_path / "work.jsonl"
    write(work(users=4), path)
    shapes = list(trace_in(path, TraceKind.MOONCAKE))
    keys = [segment.key for shape in shapes for segment in shape.segments]
    assert len(set(keys)) == len(keys)
    assert {len(shape.segments) for shape in shapes} == {1, 2, 3}
    assert all(512 * (len(shape.segments) - 1) < shape.input_tokens <= 512 * len(shape.segments) for shape in shapes)
    assert {shape.at_s for shape in shapes} == {0.0}


@pytest.mark.parametrize(("users", "rate"), [(None, None), (2, 1.0)])
def test_a_load_is_of_users_or_of_a_rate(users: int | None, rate: float | None) -> None:
    with pytest.raises(ValueError, match="--users or --rate"):
        work(users, rate)


def test_a_figure_is_the_median_of_the_turns_and_says_how_far_they_lie_apart() -> None:
    ours = [summary(tokens_per_s=rate) for rate in (90.0, 103.0, 110.0)]
    (tokens, *_rest) = rows(ours, [summary(tokens_per_s=100.0)] * 3)
    assert tokens.difference == pytest.approx(0.03)
    assert tokens.scatter == pytest.approx((10.0 / 103.0, 0.0))
    assert tokens.agrees(0.031)
    assert not tokens.agrees(0.029)


def test_what_is_apart_is_named_below_the_table() -> None:
    same = table(rows([summary()], [summary()]), ("ours", "theirs"), 0.03)
    apart = table(rows([summary(ttft_s=0.11)], [summary()]), ("ours", "theirs"), 0.03)
    assert same[-1] == "all within 3%"
    assert apart[-1] == "apart by more than 3%: TTFT mean, TTFT p99"
    assert "| TTFT mean (ms) | 110 | 100 | +10.0% | ± 0.0% | ± 0.0% |" in apart


def test_a_report_without_a_figure_is_no_comparison() -> None:
    with pytest.raises(ValueError, match="no ttft_s"):
        rows([replace(summary(), ttft_s=None)], [summary()])


def test_users_and_arrivals_reach_each_generator(tmp_path: Path) -> None:
    target, trace, out = Target("http://localhost:1", "m", tmp_path), tmp_path / "t.jsonl", tmp_path / "o.json"
    for generator, closed, opened in (
        (Ours(), "--users 4", "--trace "),
        (Vllm("python"), "--no-self-timed --max-concurrency 4", "--dataset-name timed_trace"),
        (Guidellm("guidellm"), '"kind": "concurrent", "streams": 4', '"kind": "replay"'),
    ):
        assert closed in " ".join(generator.command(target, work(users=4), trace, out))
        words = " ".join(generator.command(target, work(rate=2.0), trace, out))
        assert opened in words
        assert closed not in words


def test_an_event_costs_what_more_events_cost_more() -> None:
    steps = ((4.0, 0), (5.0, 1000), (5.3, 1000), (5.5, 11000), (5.9, 11000))
    assert cpu.per_thousand_ms([cpu.Mark(cpu_s, tokens, 8) for cpu_s, tokens in steps]) == pytest.approx(50.0)


def test_a_run_that_was_hardly_seen_costs_nothing_that_could_be_told() -> None:
    with pytest.raises(ValueError, match="--requests"):
        cpu.per_thousand_ms([cpu.Mark(4.0, 0, 8), cpu.Mark(5.0, 1000, 8)])


def test_a_program_that_fails_is_told_by_the_end_of_its_output(tmp_path: Path) -> None:
    command = ["sh", "-c", "echo first; echo the reason; exit 3"]
    with pytest.raises(ValueError, match=r"status 3:\n.*\nthe reason"):
        run(command, tmp_path / "log", core=None, environment={}, statuses=(0,))


def test_a_program_is_looked_at_while_it_runs(tmp_path: Path) -> None:
    seen: list[float] = []
    command = ["python3", "-c", "import time\nwhile time.process_time() < 0.5: pass"]
    run(command, tmp_path / "log", core=0, environment={}, statuses=(0,), look=lambda pid: seen.append(cpu_s_of(pid)))
    assert len(seen) >= 3
    assert seen == sorted(seen)
    assert seen[-1] > seen[0]


def test_a_program_is_charged_for_its_own_children_too(tmp_path: Path) -> None:
    burn = "import time\nwhile time.process_time() < 0.2: pass"
    command = ["sh", "-c", f"python3 -c '{burn}'; true"]
    spent = run(command, tmp_path / "log", core=0, environment={}, statuses=(0,))
    assert spent.cpu_s >= 0.2


@pytest.mark.parametrize(
    ("truth_s", "seen_s", "exact"), [(0.02, 0.0209, True), (0.02, 0.0211, False), (0.5, 0.504, True)]
)
def test_a_figure_is_exact_within_a_millisecond_or_a_hundredth(truth_s: float, seen_s: float, exact: bool) -> None:
    assert known.is_exact(truth_s, figure(truth_s, seen_s)) is exact


def test_a_search_agrees_only_where_it_was_right_and_quick() -> None:
    tried = knee.Found(10.0, 9.8, 10.2, 40, 400.0)
    assert knee.agrees(knee.Found(10.4, 10.0, 10.8, 8, 90.0), tried)
    assert not knee.agrees(knee.Found(10.6, 10.0, 10.8, 8, 90.0), tried)
    assert not knee.agrees(knee.Found(10.0, 10.0, 10.8, 12, 110.0), tried)


def test_a_ceiling_is_reached_with_all_streams_all_events_and_no_failure() -> None:
    busy = replace(summary(tokens_per_s=20000.0), mean_concurrency=3000.0)
    found = Run(name="users 3000", load={}, summary=busy)
    assert ceiling.is_reached(found, 3000, 20000.0)
    assert not ceiling.is_reached(found, 3500, 20000.0)
    assert not ceiling.is_reached(found, 3000, 22000.0)
    assert not ceiling.is_reached(replace(found, invalid=["late"]), 3000, 20000.0)
    assert not ceiling.is_reached(replace(found, summary=replace(busy, errors=1)), 3000, 20000.0)


def test_added_layers_are_copies_that_add_nothing() -> None:
    tensors = deepened.read(SMOKE / deepened.WEIGHTS)
    more = deepened.deepened(tensors, 4, 2)
    assert {name: more[name] for name in tensors} == tensors
    for name in ("model.layers.5.mlp.up_proj.weight", "model.layers.5.self_attn.q_proj.weight"):
        assert more[name] == tensors[name.replace("5", "3")]
    for output in deepened.OUTPUTS:
        assert not any(more[f"model.layers.4.{output}"].data)
        assert any(tensors[f"model.layers.3.{output}"].data)


def test_a_file_of_tensors_is_read_as_it_was_written(tmp_path: Path) -> None:
    tensors: Mapping[str, deepened.Tensor] = deepened.read(SMOKE / deepened.WEIGHTS)
    path = tmp_path / deepened.WEIGHTS
    path.write_bytes(deepened.written(tensors))
    assert deepened.read(path) == tensors


def test_a_model_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="no layer 7"):
        deepened.deepened(deepened.read(SMOKE / deepened.WEIGHTS), 8, 1)
