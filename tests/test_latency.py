"""Added latency: the statistics by tables, the measurement against two real processes."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from benchmarks.latency import Case, Failed, Row, side_of
from benchmarks.quantiles import quantile, spread
from benchmarks.stream import Sample, ask, session
from tests.stand_ins import standing_in

WHOLE = Case(connections=1, streamed=False)
GOOD = Sample(200, 0.5, completion_tokens=1, finish_reason="length")
BODY = {"model": "tiny", "messages": [{"role": "user", "content": "Where?"}], "max_tokens": 6, "stream": True}


def measure(direct: str, router: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", "latency", "--direct", direct, "--router", router, "--model", "tiny"]
    return subprocess.run([*command, *options], capture_output=True, text=True, check=False, env={"COLUMNS": "150"})


def test_two_engines_are_measured_in_turns_and_written_as_json(tmp_path: Path) -> None:
    written = tmp_path / "latency.json"
    with standing_in("engine", "--step-ms", "1") as near, standing_in("engine", "--step-ms", "4") as far:
        options = ("--connections", "1,4", "--requests", "8", "--json", str(written))
        ended = measure(near.url, f"{far.url}/v1/", *options)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("added") == 4 + 1
    rows = json.loads(written.read_text())
    assert [(row["case"]["connections"], row["case"]["streamed"]) for row in rows] == [
        (1, False),
        (1, True),
        (4, False),
        (4, True),
    ]
    assert [row["direct"]["e2e_s"]["count"] for row in rows] == [8, 8, 32, 32]
    # Thirty-two steps that take three milliseconds longer each.
    assert rows[1]["added_e2e_s"] > 0.09
    assert rows[1]["added_ttft_s"] > 0


def test_one_failed_request_refuses_the_table() -> None:
    with standing_in("engine", "--step-ms", "1") as good, standing_in("engine", "--step-ms", "1") as bad:
        switch = json.dumps({"mode": "503"}).encode()
        urllib.request.urlopen(f"{bad.url}/_switch", data=switch, timeout=10).close()
        ended = measure(good.url, bad.url, "--requests", "4")
    assert ended.returncode == 2
    assert "status 503: The engine is currently busy" in ended.stderr
    assert "added" not in ended.stdout


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        pytest.param(["--connections", "1,none"], "must be numbers", id="connections that are no numbers"),
        pytest.param(["--connections", "0"], "above zero", id="no connection"),
        pytest.param(["--requests", "0"], "at least 1", id="no request"),
    ],
)
def test_bad_options_get_a_sentence(options: list[str], sentence: str) -> None:
    ended = measure("http://127.0.0.1:9", "http://127.0.0.1:9", *options)
    assert ended.returncode == 2
    assert sentence in ended.stderr


def test_nobody_listening_is_a_failed_request() -> None:
    ended = measure("http://127.0.0.1:9", "http://127.0.0.1:9")
    assert ended.returncode == 2
    assert "ClientConnectorError" in ended.stderr


@pytest.mark.parametrize(
    ("sample", "sentence"),
    [
        pytest.param(Sample(500, 0.1, error="broken"), "status 500: broken", id="an error"),
        pytest.param(Sample(200, 0.1, target="cloud/a", completion_tokens=1), "went to cloud/a", id="a cloud answer"),
        pytest.param(Sample(200, 0.1, completion_tokens=2), "2 tokens instead of 1", id="another length"),
    ],
)
def test_what_is_not_comparable_is_refused(sample: Sample, sentence: str) -> None:
    with pytest.raises(Failed, match=sentence):
        side_of(WHOLE, [GOOD, sample], 1.0)


def test_added_latency_is_the_difference_of_medians() -> None:
    direct = side_of(WHOLE, [Sample(200, each, completion_tokens=1) for each in (0.1, 0.2, 0.9)], 2.0)
    router = side_of(WHOLE, [Sample(200, each, completion_tokens=1) for each in (0.2, 0.25, 0.3)], 1.0)
    row = Row(WHOLE, direct, router)
    assert row.added_e2e_s == pytest.approx(0.05)
    assert row.added_ttft_s is None
    assert (direct.requests_per_s, router.requests_per_s) == (1.5, 3.0)


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        pytest.param([3.0], 0.95, 3.0, id="one value"),
        pytest.param([4.0, 1.0, 3.0, 2.0], 0.5, 2.5, id="between two neighbours"),
        pytest.param([1.0, 2.0], 1.0, 2.0, id="the largest"),
        pytest.param([float(each) for each in range(101)], 0.95, 95.0, id="on a value"),
    ],
)
def test_quantiles_lie_between_neighbours(values: list[float], share: float, expected: float) -> None:
    assert quantile(values, share) == pytest.approx(expected)


def test_no_values_have_no_spread() -> None:
    assert spread([]) is None
    with pytest.raises(ValueError, match="no quantile"):
        quantile([], 0.5)


@pytest.mark.parametrize(
    ("mode", "error"),
    [
        pytest.param("ok", None, id="a complete stream"),
        pytest.param("error_in_stream", "EngineCore", id="an error before DONE"),
        pytest.param("die_after_tokens", "ClientPayloadError", id="a cut stream"),
        pytest.param("503", "busy", id="a refusal"),
    ],
)
async def test_a_sample_says_whether_the_answer_was_complete(mode: str, error: str | None) -> None:
    with standing_in("engine", "--step-ms", "1") as engine:
        switch = json.dumps({"mode": mode, "after": 3}).encode()
        urllib.request.urlopen(f"{engine.url}/_switch", data=switch, timeout=10).close()
        async with session(1) as client:
            sample = await ask(client, f"{engine.url}/v1", BODY)
    assert (sample.error is None) == (error is None)
    assert error is None or error in (sample.error or "")
    assert (sample.ttft_s is None) == (mode == "503")
    assert 0 < sample.e2e_s < 10
