"""`python -m benchmarks spill`: the router's rule on every trace of a folder."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.simulator import reach
from benchmarks.simulator.arrival import Arrival
from benchmarks.simulator.outcome import Promise
from benchmarks.simulator.policies.counted import Count
from benchmarks.simulator.survey import Capacity, Ground, best_count, busiest, row_of
from benchmarks.simulator.survey_table import row_line
from benchmarks.simulator.trial import kept
from benchmarks.workload.trace import WHOLE
from tests.worlds import poisson, setting_of


def written(path: Path, arrivals: list[Arrival]) -> Path:
    rows = [f"{each.at_s},{each.prompt_tokens * 2},{each.output_tokens * 4}" for each in arrivals]
    path.write_text("\n".join(["arrival_s,input_tokens,output_tokens", *rows]) + "\n")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "traces"
    made.mkdir()
    written(made / "even.csv", poisson(250, 5.0))
    (made / "rates.csv").write_text("pool,slot_start_s,req_per_s\nall,0,3\nall,600,3\n")
    (made / "notes.txt").write_text("not a trace\n")
    return made


def test_each_trace_and_load_is_a_row_and_what_has_no_lengths_is_said(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    words = ["--traces", str(folder), "--engines", "1", "--loads", "1,3", "--share", "0.9", "--jobs", "2"]
    made = subprocess.run(
        [sys.executable, "-m", "benchmarks", "spill", *words, "--json", str(file)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert made.stderr == ""
    said, table = made.stdout.split("\n\n")
    assert "even, 1 x: load 1 is" in said
    assert "rates, 1 x:" in said
    assert "tells no lengths" in said
    assert len(table.splitlines()) == 4
    calm, crowded = json.loads(file.read_text())
    assert [calm["load"], crowded["load"]] == [1, 3]
    assert crowded["per_s"] == pytest.approx(3 * calm["per_s"])
    # The care of the beginning, where so many may be missed that a count need not spill at all.
    assert calm["bill_share"] < 0.02
    assert calm["count_bill_share"] == 0
    assert 0 < crowded["least_bill_share"] < crowded["bill_share"] < 1
    assert crowded["spilled_share"] > 10 * calm["spilled_share"]


def test_a_broken_promise_is_noted_with_what_most_misses_were(tmp_path: Path) -> None:
    path = written(tmp_path / "even.csv", poisson(200, 5.0))
    setting = setting_of([])
    # With a prefix cache nothing is proved, which saves the time that takes.
    kind = replace(setting.engine, prefix_cache=True)
    ground = Ground(path, None, WHOLE, kind, 1, setting.cloud, Promise(share=0.9))
    row = row_of(Capacity(ground, per_s=1.0), 2.0, is_alone=True)
    assert row_line(row).endswith("|  |")
    spilled = replace(row, load=1.0, spilled_here_share=0.01)
    assert "spills 1.00 % needlessly" in row_line(spilled)
    broken = replace(row, outcome=replace(row.outcome, is_kept=False, kept_share=0.5, ttft_here_share=0.4))
    assert "promise broken: TTFT here 40.00 %" in row_line(broken)
    assert "nobody keeps more than 80.00 %" in row_line(replace(broken, kept_most=0.8))


def test_the_best_count_is_the_highest_that_keeps_the_promise() -> None:
    setting = setting_of(poisson(400, 16.0))
    setting = replace(setting, promise=replace(setting.promise, share=0.95))
    limit, usd = best_count(setting)
    assert limit is not None
    assert usd is not None
    assert 0 < usd < setting.usd.sum()
    assert kept(setting, Count(limit))[0]
    assert not kept(setting, Count(limit + 1))[0]


def test_whom_an_idle_engine_cannot_serve_in_time_is_told_apart() -> None:
    # A step takes 10 ms and 0.1 ms for each of its tokens, at most 2,048 of them.
    arrivals = [Arrival(0.0, tokens, 10) for tokens in (100, 9_000, 9_900, 20_000)]
    setting = setting_of(arrivals)
    assert reach.here(setting).tolist() == [True, True, True, False]
    hasty = replace(setting, promise=replace(setting.promise, ttft_s=0.5))
    assert 100 <= reach.longest_prompt(hasty.engine, 0.5) < 9_000
    assert reach.here(hasty).tolist() == [True, False, False, False]
    assert reach.kept_most(setting, reach.here(setting)) >= 0.75


def test_of_a_long_trace_the_hours_with_the_most_tokens_are_taken(tmp_path: Path) -> None:
    calm = [Arrival(second * 60.0, 10, 10) for second in range(240)]
    rush = [Arrival(7200.5 + second * 6, 10, 10) for second in range(600)]
    path = written(tmp_path / "long.csv", sorted([*calm, *rush], key=lambda each: each.at_s))
    arrivals, from_s = busiest(path, 1.0, WHOLE)
    assert 7100 < from_s <= 7200.5
    assert len(arrivals) >= 600
    assert arrivals[0].at_s == 0 <= arrivals[-1].at_s <= 3600
    whole, from_s = busiest(path, None, WHOLE)
    assert (len(whole), from_s) == (840, 0.0)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--loads", "none"], "--loads"),
        (["--engines", "1.5"], "whole numbers"),
        (["--hours", "0"], "--hours"),
        (["--traces", "nowhere"], "no such file"),
    ],
)
def test_bad_input_is_one_sentence(
    folder: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["spill", "--traces", str(folder), *words]) == 2
    assert said in capsys.readouterr().err


def test_a_folder_without_traces_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["spill", "--traces", str(tmp_path)]) == 2
    assert "there is no file that ends in" in capsys.readouterr().err
