"""`python -m benchmarks breaker`: what the router does with a cloud that fails, in reckoned time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.breaker import Bin, Kind, Spell, rows, run

END_S, RATE, BIN_S = 60.0, 20.0, 0.5


def course(kind: Kind, share: float = 1.0) -> tuple[Sequence[dict[str, float | str]], Sequence[Bin]]:
    spells = (Spell(0.0), Spell(5.0, share, kind), Spell(20.0))
    bins = run(spells, END_S, RATE, BIN_S)
    return rows(spells, END_S, bins), bins


@pytest.mark.parametrize("kind", Kind)
def test_a_cloud_that_fails_is_hardly_asked_and_comes_back(kind: Kind) -> None:
    (before, ill, _), bins = course(kind)
    assert before["asked_share"] == 1.0
    assert float(ill["asked_share"]) < 0.25
    assert float(ill["failed_share"]) == 1.0
    assert [each.asked for each in bins[-10:]] == [each.requests for each in bins[-10:]]
    assert {each.state for each in bins} >= {"closed", "open", "half-open", "returning"}


@pytest.mark.parametrize("kind", [Kind.ERROR, Kind.HANG])
def test_no_request_without_a_token_is_lost(kind: Kind) -> None:
    _, bins = course(kind)
    assert sum(each.failed for each in bins) > 0
    assert sum(each.lost for each in bins) == 0


def test_a_cloud_of_which_a_third_fails_costs_fewer_second_tries_than_the_budget_allows() -> None:
    (_, ill, _), _ = course(Kind.ERROR, 0.34)
    assert float(ill["second_tries_share"]) < 0.2


def test_a_cloud_that_rarely_fails_keeps_its_traffic() -> None:
    (_, ill, _), _ = course(Kind.ERROR, 0.05)
    assert ill["asked_share"] == 1.0


def test_the_verb_draws_and_writes_its_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plot, figures = tmp_path / "breaker.png", tmp_path / "breaker.json"
    assert main(["breaker", "--rate", "5", "--plot", str(plot), "--json", str(figures)]) == 0
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert len(json.loads(figures.read_text())["bins"]) == 390
    assert "100% hang" in capsys.readouterr().out


def test_an_impossible_rate_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["breaker", "--rate", "0"]) == 2
    assert "--rate 0" in capsys.readouterr().err
