"""Comparing two reports: what is worse is called worse, noise is not, and what cannot be compared is refused."""

from __future__ import annotations

import io
import json
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from benchmarks.drive.sample import Sample
from benchmarks.report.compare import Comparison, Finding, compared
from benchmarks.report.compare_table import table_of, verdict_of
from benchmarks.report.document import Document, Figure
from benchmarks.report.files import save
from benchmarks.report.resample import critical, error_between, log_draws, superiority
from tests.measured import Server, load_document, run_of, summary_of, sweep_document

SLOWER = Server(token_s=0.03)


def found(before: Document, after: Document, *samples: dict[str, list[Sample]]) -> dict[tuple[str, str], Finding]:
    return {(each.name, each.statistic): each.finding for each in compared(before, after, *samples).changes}


def correlated(count: int, mean: float, seed: int, memory: float = 0.9) -> list[float]:
    """Positive values of which each is like the one before it."""
    draw, state, values = random.Random(seed), 0.0, []
    for _ in range(count):
        state = memory * state + draw.gauss(0, (1 - memory**2) ** 0.5)
        values.append(mean * 2.718281828 ** (0.3 * state))
    return values


def test_a_report_is_the_same_as_itself() -> None:
    document, samples = load_document()
    comparison = compared(document, document, samples, samples)
    latencies = [each for each in comparison.changes if each.statistic]
    assert len(latencies) == 7
    assert {each.finding for each in latencies} == {Finding.SAME}
    assert not comparison.is_worse


def test_slower_tokens_are_called_worse_and_only_they() -> None:
    before, after = load_document(rate=3.0), load_document(rate=3.0, server=SLOWER)
    findings = found(before[0], after[0], before[1], after[1])
    assert findings["tpot_s", "p50"] is Finding.WORSE
    assert findings["itl_s", "p99"] is Finding.WORSE
    assert findings["errors", ""] is not Finding.WORSE
    assert findings["output_tokens_per_s", ""] is not Finding.BETTER


def test_the_other_way_round_is_better() -> None:
    before, after = load_document(rate=3.0, server=SLOWER), load_document(rate=3.0)
    comparison = compared(before[0], after[0], before[1], after[1])
    assert not comparison.is_worse
    assert verdict_of(comparison).startswith("Better: ")


def test_more_failures_are_worse() -> None:
    before, after = load_document(rate=4.0), load_document(rate=4.0, server=Server(fails=0.2))
    assert found(before[0], after[0], before[1], after[1])["errors", ""] is Finding.WORSE


def test_other_arrivals_at_the_same_server_are_not_called_a_change() -> None:
    calls = 0
    for seed in range(6):
        before, after = load_document(rate=3.0, seed=seed), load_document(rate=3.0, seed=seed + 100)
        calls += compared(before[0], after[0], before[1], after[1]).is_worse
    assert calls <= 1


def test_a_smaller_change_than_asked_for_does_not_count() -> None:
    before, after = load_document(rate=3.0), load_document(rate=3.0, server=SLOWER)
    assert not compared(before[0], after[0], before[1], after[1], least=0.9).is_worse


def test_intervals_alone_are_enough_and_without_them_nothing_is_said() -> None:
    before, _ = load_document(rate=3.0)
    after, _ = load_document(rate=3.0, server=Server(token_s=0.06))
    assert found(before, after)["tpot_s", "p50"] is Finding.WORSE
    bare, slower = (with_figures(each, low={}, high={}) for each in (before, after))
    assert found(bare, slower)["tpot_s", "p50"] is Finding.UNKNOWN


def with_figures(document: Document, **fields: object) -> Document:
    run = document.runs[0]
    figures = {
        name: msgspec.structs.replace(value, **fields)
        for name, value in msgspec.structs.asdict(run.summary).items()
        if isinstance(value, Figure)
    }
    summary = msgspec.structs.replace(run.summary, **figures)
    return msgspec.structs.replace(document, runs=[msgspec.structs.replace(run, summary=summary)], summary=summary)


def test_a_handful_of_requests_is_no_evidence() -> None:
    document, samples = load_document(rate=3.0)
    few = {name: each[:5] for name, each in samples.items()}
    slow = {name: [replace(one, last_s=(one.last_s or 0) + 9, gaps_s=()) for one in each] for name, each in few.items()}
    sides = [of(document, each["rate 3"]) for each in (few, slow)]
    assert not compared(sides[0], sides[1], few, slow).is_worse


def of(document: Document, samples: Sequence[Sample]) -> Document:
    summary = msgspec.structs.replace(summary_of(samples, 60.0), warm_up_s=0.0)
    return msgspec.structs.replace(document, runs=[msgspec.structs.replace(document.runs[0], summary=summary)])


def test_a_lower_knee_is_worse() -> None:
    before, samples = sweep_document()
    after = msgspec.structs.replace(before, knee={"load": 2.0, "unit": "requests/s", "run": "rate 2"})
    assert found(before, after, samples, samples)["knee", ""] is Finding.WORSE


def test_what_else_differs_is_told() -> None:
    document, samples = load_document()
    machine = {**document.origin.machine, "cpu": "Another Chip"}
    engine = {**document.origin.engine, "version": "0.33.0"}
    origin = msgspec.structs.replace(document.origin, machine=machine, engine=engine)
    told = compared(document, msgspec.structs.replace(document, origin=origin), samples, samples).reservations
    assert [each.split(":")[0] for each in told] == ["the CPU", "the engine's version"]


def test_an_invalid_run_is_not_compared() -> None:
    document, _ = load_document()
    run = msgspec.structs.replace(document.runs[0], invalid=["the generator was late"])
    with pytest.raises(ValueError, match=r"'rate 4' is not valid .the generator was late.: measure it again"):
        compared(document, msgspec.structs.replace(document, runs=[run]))


def test_reports_without_a_common_run_are_refused_by_the_names_of_both() -> None:
    one, _ = sweep_document()
    run, _ = run_of(5.0)
    two = msgspec.structs.replace(one, runs=[run, msgspec.structs.replace(run, name="other")])
    with pytest.raises(ValueError, match=r"no run of the same name.*'rate 1'.*'other'"):
        compared(one, two)


def test_the_error_of_dependent_requests_is_larger_than_that_of_independent_ones() -> None:
    owners = list(range(800))

    def error(memory: float) -> float:
        sides = [log_draws(correlated(800, 1.0, seed, memory), owners, ["mean"])["mean"] for seed in (1, 2)]
        return error_between(sides[0], sides[1]) or 0.0

    assert error(0.97) > 2 * error(0.0) > 0


def test_values_of_one_request_stay_together() -> None:
    # A hundred values of ten requests know no more than ten do.
    means = [1.0 + place / 10 for place in range(10)]
    values = [mean for mean in means for _ in range(10)]
    owners = [place for place in range(10) for _ in range(10)]
    other = log_draws([1.5] * 100, owners, ["mean"])["mean"]
    together = error_between(log_draws(values, owners, ["mean"])["mean"], other)
    alone = error_between(log_draws(means, range(10), ["mean"])["mean"], other)
    assert together == pytest.approx(alone)


def test_quantiles_are_those_of_the_values() -> None:
    values = correlated(5000, 0.2, seed=3)
    drawn = log_draws(values, range(5000), ["p50", "p95"])
    ordered = sorted(values)
    for name, place in (("p50", 2500), ("p95", 4750)):
        assert 2.718281828 ** float(drawn[name].mean()) == pytest.approx(ordered[place], rel=0.03)


@pytest.mark.parametrize(("confidence", "table"), [(0.95, 2.365), (0.99, 3.499), (0.995, 4.029)])
def test_student_s_t_is_that_of_the_tables(confidence: float, table: float) -> None:
    assert critical(confidence, 7) == pytest.approx(table, rel=0.02)


def test_superiority_counts_pairs() -> None:
    assert superiority([1, 2, 3], [4, 5]) == 1.0
    assert superiority([1, 2], [1, 2]) == 0.5
    assert superiority([], [1]) is None


@pytest.fixture
def reports(tmp_path: Path) -> Path:
    for name, server in (("before", Server()), ("after", SLOWER)):
        document, samples = load_document(rate=3.0, server=server)
        save(document, samples, json=tmp_path / f"{name}.json")
    return tmp_path


def verb(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", "compare", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_the_verb_fails_a_job_for_what_is_worse_and_writes_why(reports: Path) -> None:
    done = verb(reports / "before.json", reports / "after.json", "--json", reports / "why.json")
    assert (done.returncode, done.stderr) == (1, "")
    assert "WORSE: " in done.stdout
    why = json.loads((reports / "why.json").read_text())
    assert why["worse"] is True
    assert {"worse"} <= {each["finding"] for each in why["changes"]}


def test_the_verb_passes_a_job_for_what_is_better(reports: Path) -> None:
    assert verb(reports / "after.json", reports / "before.json").returncode == 0


def test_the_verb_ends_with_2_for_bad_input(reports: Path) -> None:
    done = verb(reports / "before.json", reports / "after.json", "--least", "3")
    assert done.returncode == 2
    assert "0.03 for 3 %" in done.stderr


def test_a_comparison_without_evidence_says_so() -> None:
    before, _ = load_document(rate=3.0)
    bare = with_figures(before, low={}, high={})
    changes = tuple(each for each in compared(bare, bare).changes if each.finding is Finding.UNKNOWN)
    assert changes
    assert verdict_of(Comparison(changes, ())).startswith("Cannot tell")


def test_the_table_fits_a_terminal_of_eighty_columns() -> None:
    before, after = load_document(rate=4.0), load_document(rate=4.0, server=SLOWER)
    console = Console(width=80, file=io.StringIO())
    console.print(table_of(compared(before[0], after[0], before[1], after[1]), "before.json", "after.json"))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert text.count("not shown") >= 3
    assert "worse" in text
    assert "\N{HORIZONTAL ELLIPSIS}" not in text
