"""Candidates compared: each started, searched and taken down, and only what is shown to be better is proposed."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.search.comparison import Outcome, compared, proposed, sentences, table_of_outcomes
from benchmarks.search.course import Course
from benchmarks.search.saturation import Bounds, End, Knee
from benchmarks.search.settings import Candidate, Value
from benchmarks.search.trial import Bench
from engines.checkout import default_config
from tests.fake_spillway import fake_spillway
from tests.simulated import PROMISE, Simulated

AS_IT_IS = Candidate()


def changed(name: str, value: Value) -> Candidate:
    return Candidate(((name, value),))


def outcome(candidate: Candidate, load: float, wide: float = 1.02) -> Outcome:
    return Outcome(candidate, Knee(load, load / wide, load * wide, load, End.FOUND, 9))


def test_the_best_is_proposed_where_it_is_beyond_doubt() -> None:
    outcomes = [outcome(AS_IT_IS, 10), outcome(changed("max_num_seqs", 128), 14), outcome(changed("kv_blocks", 9), 12)]
    assert proposed(outcomes) is outcomes[1]
    assert sentences(outcomes, "requests/s") == [
        "max_num_seqs=128 carries the most: 14 requests/s within the promise.",
        "The file as it is carries 10 requests/s (the best against it: +40.0 %).",
    ]


@pytest.mark.parametrize(
    "outcomes",
    [
        pytest.param([outcome(AS_IT_IS, 10), outcome(changed("kv_blocks", 9), 10.3)], id="within the noise"),
        pytest.param([outcome(AS_IT_IS, 10), outcome(changed("kv_blocks", 9), 8)], id="the file is the best"),
        pytest.param([outcome(AS_IT_IS, 10), Outcome(changed("kv_blocks", 9), failed="no")], id="it does not start"),
        pytest.param([], id="nothing was tried"),
    ],
)
def test_nothing_is_proposed_without_a_shown_gain(outcomes: list[Outcome]) -> None:
    assert proposed(outcomes) is None


def test_a_gain_that_the_file_itself_makes_the_second_time_is_none() -> None:
    again = Outcome(AS_IT_IS, Knee(14, 13.7, 14.3, 14, End.FOUND, 9), is_again=True)
    outcomes = [outcome(AS_IT_IS, 10), outcome(changed("max_num_seqs", 128), 14), again]
    assert proposed(outcomes) is None
    assert "this machine changes while it is measured" in " ".join(sentences(outcomes, "requests/s"))


def test_each_candidate_is_searched_on_an_engine_of_its_own_and_a_failure_costs_only_itself(tmp_path: Path) -> None:
    text = default_config().read_text(encoding="utf-8")
    bench = Bench(text, "smoke", tmp_path / "tune", program=fake_spillway(tmp_path))
    candidates = [AS_IT_IS, changed("quantization", "nonsense"), changed("max_num_seqs", 128)]
    urls: list[str] = []

    def search(url: str, candidate: Candidate, before: Sequence[Outcome]) -> Outcome:
        urls.append(url)
        server = Simulated(knee=20.0 if candidate.changes else 10.0)
        conducted = Course(server.measured, PROMISE)
        knee = conducted.searched(Bounds(before[0].load if before else 1.0, 0.1, 1e4))
        return Outcome(candidate, knee, conducted.run_of(knee), seconds=conducted.seconds)

    seen: list[Outcome] = []
    outcomes = compared(bench, candidates, search, seen.append)
    assert seen == outcomes
    assert len(set(urls)) == 3
    assert [each.name for each in outcomes] == [
        "as it is",
        "quantization=nonsense",
        "max_num_seqs=128",
        "as it is, again",
    ]
    assert [each.failed != "" for each in outcomes] == [False, True, False, False]
    assert outcomes[2].load == pytest.approx(20.0, rel=0.05)
    best = proposed(outcomes)
    assert best is outcomes[2]
    console = Console(width=120, file=io.StringIO(), record=True)
    console.print(table_of_outcomes(outcomes, "requests/s"))
    text = console.export_text()
    for words in ("as it is", "max_num_seqs=128", "does not start: engine smoke failed: nonsense", "none"):
        assert words in text


def test_an_interrupt_keeps_the_candidates_that_were_measured(tmp_path: Path) -> None:
    text = default_config().read_text(encoding="utf-8")
    bench = Bench(text, "smoke", tmp_path / "tune", program=fake_spillway(tmp_path))

    def search(url: str, candidate: Candidate, before: Sequence[Outcome]) -> Outcome:
        if before:
            raise KeyboardInterrupt
        return outcome(candidate, 10)

    outcomes = compared(bench, [AS_IT_IS, changed("kv_blocks", 9), changed("kv_blocks", 8)], search, print)
    assert [each.stopped for each in outcomes] == [False, True]
    assert (bench.home / "2" / "down").exists()
