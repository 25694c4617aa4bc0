"""What other engines and promises would have cost, out of an owner's ledger: figures to be reckoned by hand."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.__main__ import main
from benchmarks.simulator.arrival import Arrival
from benchmarks.simulator.named import kind_of
from benchmarks.simulator.outcome import Promise
from benchmarks.simulator.policies.named import named_in
from benchmarks.simulator.trial import outcome as simulated
from router.outcome import Outcome
from tests.owned import BEGAN_UNIX_S, STACK, asked_of, ledger_of, served, spilled
from tests.stacks import place_in
from tests.worlds import CLOUD, setting_of

HOUR_S = 3600.0
MONTH_S = 30 * 86_400.0
# Of a request of `tests.owned.served` at the twin.
USD = (1000 * 0.15 + 51 * 0.60) / 1e6


def answered(capsys: pytest.CaptureFixture[str], words: Sequence[str]) -> dict[str, Any]:
    assert main([*words, "--json"]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def case_of(model: dict[str, Any], more: int = 0, factor: float = 1.0) -> dict[str, Any]:
    (found,) = [each for each in model["cases"] if (each["more"], each["factor"]) == (more, factor)]
    return dict(found)


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One engine that is never asked twice at a time: a request each 10 s."""
    return ledger_of(tmp_path_factory.mktemp("idle"), [served(number * 10.0) for number in range(300)])


def test_where_nothing_spills_another_engine_saves_nothing_and_none_costs_all(
    tmp_path: Path, idle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = answered(capsys, asked_of(tmp_path, idle))
    (model,) = said["models"]
    now, more, none = case_of(model), case_of(model, 1), case_of(model, -1)
    for each in (now, more, case_of(model, 2), case_of(model, factor=1.5)):
        assert (each["spilled_share"], each["usd"], each["kept_share"], each["saved_month_usd"]) == (0, 0, 1, 0)
    assert [now["engines"], more["engines"], none["engines"]] == [1, 2, 0]
    period_s = 299 * 10.0
    assert model["period"]["lasts_s"] == pytest.approx(period_s)
    assert (none["spilled_share"], none["usd"]) == (1, pytest.approx(300 * USD))
    assert none["month_usd"] == pytest.approx(300 * USD * MONTH_S / period_s)
    assert model["ledger"] == {"spilled_share": 0, "kept_share": 1, "usd": 0, "seen_share": 0, "seen_usd": 0}
    paid = f"${none['month_usd']:,.0f}"
    assert said["sentence"] == (
        "Nothing spilled, so one more engine would have saved nothing; with none you would have spilled 100 % and paid "
        f"{paid} a month."
    )


def test_a_busy_engine_is_simulated_as_simulate_would_and_held_against_the_ledger(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # What the router did is told apart from what is simulated: here it spilled a third.
    rows = [spilled(number * 0.1) if number % 3 == 0 else served(number * 0.1) for number in range(300)]
    said = answered(capsys, asked_of(tmp_path, ledger_of(tmp_path, rows), "--engine", "rtx4090-llama3.1-8b"))
    (model,) = said["models"]
    now, more = case_of(model), case_of(model, 1)
    arrivals = [Arrival(row.at_unix_s - row.e2e_s - BEGAN_UNIX_S, 1000, 51) for row in rows]
    # The cloud's pace is that of the rows; its first tokens, that waited here, tell nothing.
    cloud, kind = replace(CLOUD, tpot_s=0.02), kind_of("rtx4090-llama3.1-8b")
    setting = replace(setting_of(arrivals, promise=Promise(2.0, 0.08)), engine=kind, cloud=cloud, seed=0)
    for engines, found in ((1, now), (2, more)):
        alone = simulated(replace(setting, engines=engines), named_in("sluice"))
        assert found["spilled_share"] == pytest.approx(alone.spilled_share)
        assert found["usd"] == pytest.approx(alone.usd)
    assert now["spilled_share"] > 0.1 > more["spilled_share"]
    assert more["saved_month_usd"] == pytest.approx(now["month_usd"] - more["month_usd"])
    assert (model["ledger"]["spilled_share"], model["ledger"]["usd"]) == (pytest.approx(1 / 3), pytest.approx(0.1))
    assert said["sentence"].startswith("With one more RTX 4090 you would have spilled ")
    assert "; with a promise of 3 s instead of 2 s, " in said["sentence"]
    assert any("real: 33 %, $" in line for line in model["stands_on"])


def test_requests_that_were_never_an_engines_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [served(number * 10.0) for number in range(250)]
    rows += [spilled(number * 10.0 + 5) for number in range(50)]
    rows += [served(number * 10.0 + 7, tier="bulk") for number in range(100)]
    premium = [spilled(number * 10.0 + 1, tier="premium", reason="tier") for number in range(40)]
    refused = [served(number * 10.0, target="none", prompt_tokens=0, completion_tokens=0) for number in range(7)]
    said = answered(capsys, asked_of(tmp_path, ledger_of(tmp_path, [*rows, *premium, *refused])))
    (model,) = said["models"]
    assert (model["name"], model["period"]["requests"]) == ("llama", 400)
    assert model["ledger"]["spilled_share"] == pytest.approx(50 / 400)
    # The cloud's first tokens are learned from those that nothing held back before.
    assert any("first token 0.5 s, p95 0.5 s from 40 rows" in line for line in model["stands_on"])
    assert any("first token within 2 s and 80 ms a token after it" in line for line in model["stands_on"])
    assert any("100 requests may not spill by their tier" in line for line in model["stands_on"])
    assert any("7 requests without an answer" in line for line in said["notes"])


@pytest.mark.parametrize(
    ("words", "percent", "source"),
    [([], 90, "promise: that of the tier standard"), (["--share", "0.95"], 95, "standard, share as asked for")],
)
def test_a_tier_s_own_share_is_what_must_be_kept_where_none_is_asked_for(
    tmp_path: Path, idle: Path, capsys: pytest.CaptureFixture[str], words: list[str], percent: int, source: str
) -> None:
    stack = STACK.replace("tpot_target_s = 0.08", "tpot_target_s = 0.08\npromise_share = 0.9")
    said = answered(capsys, [*asked_of(tmp_path, idle, stack=stack), *words])
    stands_on = said["models"][0]["stands_on"]
    assert any(line.endswith(f" to {percent} % of the requests") for line in stands_on)
    assert any(line.endswith(source) for line in stands_on)


def test_models_are_pools_of_their_own_and_are_summed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [served(number * 10.0) for number in range(300)]
    rows += [served(number * 10.0 + 5, "qwen", model="qwen") for number in range(200)]
    rows += [served(number * 10.0 + 7, "tiny", model="tiny") for number in range(3)]
    more = '[models.qwen]\ntwin = "dear"\n[clouds.dear]\nmodel = "openai/dear"\nkey_env = "MID_KEY"\noptional = true\n'
    stack = f"{STACK}{more}input_usd_per_mtok = 1.5\noutput_usd_per_mtok = 6.0\n"
    said = answered(capsys, asked_of(tmp_path, ledger_of(tmp_path, rows), stack=stack))
    llama, qwen = said["models"]
    assert (llama["name"], qwen["name"]) == ("llama", "qwen")
    assert case_of(qwen, -1)["usd"] == pytest.approx(200 * USD * 10)
    none = case_of(said["total"], -1)
    assert none["usd"] == pytest.approx(300 * USD + 200 * USD * 10)
    assert (case_of(said["total"])["engines"], none["engines"], said["total"]["period"]["requests"]) == (2, 0, 500)
    assert any(line.startswith("tiny: left out") for line in said["notes"])


def test_a_long_ledger_is_thinned_in_time_and_its_bill_is_that_of_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.whatifs.pools.MOST_REQUESTS", 7 * 750)
    rows = [spilled(number * 100.0) if number % 4 == 0 else served(number * 100.0) for number in range(800)]
    (model,) = answered(capsys, asked_of(tmp_path, ledger_of(tmp_path, rows)))["models"]
    assert model["period"]["requests"] == 800
    assert case_of(model, -1)["usd"] == pytest.approx(800 * USD)
    assert (model["ledger"]["usd"], model["ledger"]["spilled_share"]) == (pytest.approx(0.2), 0.25)
    assert (model["ledger"]["seen_usd"], model["ledger"]["seen_share"]) == (pytest.approx(0.2), pytest.approx(0.25))
    (seen,) = [line for line in model["stands_on"] if line.startswith("looked at ")]
    assert " x 60 min that stand for the rest: 14 Sep " in seen


def test_a_trace_is_enough_for_who_has_no_ledger(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = tmp_path / "small.csv"
    lines = [f"{number * 10},1000,51" for number in range(100)]
    trace.write_text("\n".join(["arrival_s,input_tokens,output_tokens", *lines]) + "\n")
    words = [
        "whatif",
        "--trace",
        str(trace),
        "--engine",
        "rtx4090-llama3.1-8b",
        "--engines",
        "3",
        "--cloud",
        "0.15/0.60",
    ]
    (model,) = answered(capsys, words)["models"]
    assert sorted(each["engines"] for each in model["cases"] if each["factor"] == 1) == [1, 2, 3, 4, 5, 6]
    assert {each["ttft_s"] for each in model["cases"]} == {1, 2, 3, 4}
    assert {each["spilled_share"] for each in model["cases"]} == {0}
    assert model["ledger"] is None
    for left_out, named in (("--engine", "rtx4090-llama3.1-8b"), ("--cloud", "such as 0.15/0.60")):
        place = words.index(left_out)
        assert main([*words[:place], *words[place + 2 :]]) == 2
        assert named in capsys.readouterr().err


def test_the_verb_shows_a_table_and_draws_a_picture(tmp_path: Path, idle: Path) -> None:
    picture = tmp_path / "whatif.png"
    words = asked_of(tmp_path, idle, "--picture", str(picture))
    made = subprocess.run(
        [sys.executable, "-m", "benchmarks", *words], capture_output=True, text=True, check=False, timeout=60
    )
    assert (made.returncode, made.stderr) == (0, "")
    shown = made.stdout.splitlines()
    assert shown[0].startswith("Nothing spilled, so one more engine would have saved nothing; with none you")
    assert max(map(len, shown)) <= 100
    for words_of in ("as the ledger has it", "now, simulated: 1 engine, 2 s", "1 more: 2 engines", "a promise of 3 s"):
        (line,) = [line for line in shown if words_of in line]
        assert line.split(words_of)[1].split()[:2] == ["0.0", "100.0"]
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_console_script_tells_what_the_plan_has(tmp_path: Path) -> None:
    place = place_in(tmp_path)
    place.home.mkdir()
    smoke = {"target": "local/smoke", "model": "smoke"}
    ledger_of(place.home, [served(number * 10.0, **smoke) for number in range(250)])
    said = place.run("whatif", "--profile", "cpu", "--config", str(place.config), "--json")
    assert said.returncode == 0, said.stderr
    (model,) = json.loads(said.stdout)["models"]
    # The twin and its price are those of models.lock.
    assert case_of(model, -1)["usd"] == pytest.approx(250 * (1000 * 0.05 + 51 * 0.40) / 1e6)
    assert any("cloud: openai-nano" in line for line in model["stands_on"])
    # Where the plan says how much room there is, it is not guessed.
    assert not any("room for KV is unknown" in line for line in model["stands_on"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--days", "0"], "--days 0"),
        (["--engine", "abacus"], "there is no engine 'abacus'; take one of rtx4090-llama3.1-8b"),
        (["--engines", "0"], "--engines 0"),
        (["--cloud", "cheap"], "--cloud 'cheap'"),
        (["--ttft-s", "0"], "--ttft-s and --tpot-s must be above 0"),
        (["--picture", "file.pdf"], "ends in .png"),
        (["--model", "gpt"], "no request belongs to engines of 'gpt'"),
        (["--plan", "{}"], "--plan"),
    ],
)
def test_what_cannot_be_reckoned_is_refused(
    tmp_path: Path, idle: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert main([*asked_of(tmp_path, idle), *words]) == 2
    assert said in capsys.readouterr().err


def test_a_ledger_that_tells_too_little_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refused(rows: Sequence[Outcome], *words: str, stack: str = STACK) -> str:
        folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        assert main(asked_of(folder, ledger_of(folder, rows), *words, stack=stack)) == 2
        return capsys.readouterr().err

    assert "there is no ledger; name one with --ledger" in _nowhere(tmp_path, capsys)
    assert "the ledger is empty; send requests" in refused([])
    few = [served(number * 10.0) for number in range(20)]
    assert "too few answered requests of engines here (llama 20); 200 of one model are needed" in refused(few)
    enough = [served(number * 10.0) for number in range(300)]
    unpriced = "\n".join(line for line in STACK.splitlines() if "usd_per_mtok" not in line)
    assert "llama: no cloud with a known price stands in for it; name its `twin`" in refused(enough, stack=unpriced)
    unstreamed = [served(number * 10.0, ttft_s=None) for number in range(300)]
    assert "only 0 streamed answers of engines here tell how fast they are" in refused(unstreamed)


def _nowhere(folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(asked_of(folder, folder / "nowhere.sqlite3")) == 2
    return capsys.readouterr().err
