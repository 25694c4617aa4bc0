"""The relay yardstick: the stub engine and the load generator on real sockets, the check of completeness, the verb."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.__main__ import main
from benchmarks.block import Block
from benchmarks.completeness import Exam, Fault, fault_of_stream, fault_of_whole
from benchmarks.job import Job, address_of
from benchmarks.machine import cores
from benchmarks.pump import Load
from benchmarks.quantiles import Spread
from benchmarks.relay_table import COLUMNS, undisturbed
from benchmarks.stub_answer import Wanted, script
from benchmarks.stub_connection import StubConnection
from benchmarks.stub_engine import Fault as Wrong
from benchmarks.stub_engine import StubEngine
from benchmarks.tally import Summary
from benchmarks.tamper import Tamper
from benchmarks.wire import Kind
from tests.ports import unused_port
from tests.routers import until
from tests.stand_ins import StandIn, standing_in

STREAM_FAULTS = {
    "lost": Fault.LOST,
    "doubled": Fault.DOUBLED,
    "swapped": Fault.MOVED,
    "no-finish": Fault.NO_FINISH,
    "no-done": Fault.NO_DONE,
    "no-end": Fault.FRAMING,
    "cut": Fault.FRAMING,
    "refused": Fault.STATUS,
}
WHOLE_FAULTS = {
    "lost": Fault.LOST,
    "doubled": Fault.DOUBLED,
    "swapped": Fault.MOVED,
    "no-finish": Fault.NO_FINISH,
    "no-usage": Fault.NO_USAGE,
    "cut": Fault.FRAMING,
    "refused": Fault.STATUS,
}
SMALL = Summary(1.0, 100.0, 1000.0, 1.0, 10, {}, 0, Spread(10, 0.001, 0.002, 0.003), None, None, 0.1)


async def load(url: str, requests: int, path: str = "/v1/chat/completions", **wanted: Any) -> Summary:
    job = Job(address_of(url, path), "tiny", connections=3, tokens=16, requests=requests, drain_s=5.0)
    return await Load(replace(job, **wanted)).run(lambda: None, lambda: None)


@pytest.fixture(scope="module")
def shared() -> Iterator[StandIn]:
    with standing_in("stub") as running:
        yield running


@pytest.fixture
def stub(shared: StandIn) -> StandIn:
    """The stub engine as a process, as fast as it can be, with nobody's answers under way."""
    control(shared, "delay/0")
    until(lambda: control(shared, "stats")["running"] == 0)
    return shared


@asynccontextmanager
async def dishonest(tamper: str) -> AsyncIterator[str]:
    """The address of a stub engine on this loop that does this wrong to every third answer."""
    connections: set[StubConnection] = set()
    engine = StubEngine("tiny", Wrong(Tamper(tamper), 3))
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: StubConnection(engine, connections), "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def control(stub: StandIn, order: str) -> dict[str, int]:
    with urllib.request.urlopen(f"{stub.url}/_stub/{order}", timeout=10) as response:
        return dict(json.load(response))


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
@pytest.mark.parametrize("stream", [True, False], ids=["streams", "whole answers"])
async def test_every_answer_of_an_honest_engine_is_complete(stub: StandIn, path: str, stream: bool) -> None:
    before = control(stub, "stats")["done"]
    summary = await load(stub.url, 30, path, stream=stream)
    assert control(stub, "stats")["done"] == before + 30
    assert (summary.complete, summary.faults, summary.unfinished) == (30, {}, 0)
    assert summary.latency_s is not None
    assert summary.latency_s.count == 30


@pytest.mark.parametrize(("tamper", "fault"), STREAM_FAULTS.items())
async def test_a_stream_that_is_not_whole_is_found(tamper: str, fault: Fault) -> None:
    async with dishonest(tamper) as url:
        summary = await load(url, 12, stream=True)
    assert summary.faults == {fault.value: 4}
    assert summary.complete == 8
    assert summary.sample.startswith(fault.value)


@pytest.mark.parametrize(("tamper", "fault"), WHOLE_FAULTS.items())
async def test_a_whole_answer_that_is_not_whole_is_found(tamper: str, fault: Fault) -> None:
    async with dishonest(tamper) as url:
        summary = await load(url, 12, stream=False)
    assert summary.faults == {fault.value: 4}
    assert summary.complete == 8


async def test_nobody_listening_is_a_fault_and_no_answer() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        summary = await load(url, 0, seconds=0.2, warm_s=0.0)
    assert summary.complete == 0
    assert set(summary.faults) == {Fault.CONNECTION.value}
    assert not summary.is_complete


async def test_a_paced_stream_has_its_first_token_at_once_and_then_one_a_delay(stub: StandIn) -> None:
    control(stub, "delay/20000")
    summary = await load(stub.url, 3, stream=True, tokens=8)
    assert summary.complete == 3
    assert summary.latency_s is not None
    assert summary.ttft_s is not None
    assert summary.latency_s.p50 >= 7 * 0.02
    assert summary.ttft_s.p50 < summary.latency_s.p50 - 6 * 0.02
    assert summary.events_per_read < 2


async def test_an_engine_whose_client_has_gone_counts_it_as_aborted(stub: StandIn) -> None:
    before = control(stub, "stats")["aborted"]
    control(stub, "delay/50000")
    summary = await load(stub.url, 0, stream=True, seconds=0.1, warm_s=0.0, drain_s=0.0)
    until(lambda: control(stub, "stats")["running"] == 0)
    assert control(stub, "stats")["aborted"] - before == summary.unfinished == 3


async def test_idle_connections_of_the_engine_can_be_closed(stub: StandIn) -> None:
    with socket.create_connection(("127.0.0.1", int(stub.url.rsplit(":", 1)[1]))) as idle:
        until(lambda: control(stub, "stats")["connections"] == 2)
        control(stub, "close-idle")
        idle.settimeout(10)
        assert idle.recv(1) == b""


def body_of(wanted: Wanted) -> bytes:
    """A stream's events without the HTTP around them, as a client's parser hands them on."""
    _, _, chunked = b"".join(script(wanted).writes).partition(b"\r\n\r\n")
    body = b""
    while chunked:
        size, _, rest = chunked.partition(b"\r\n")
        body, chunked = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return body


STREAM = body_of(Wanted(Kind.CHAT, "tiny", 4, stream=True))


def test_a_router_may_spell_an_event_as_it_likes() -> None:
    assert fault_of_stream(STREAM, 4) is None
    assert fault_of_stream(STREAM.replace(b'"content":', b'"content": ').replace(b"data: ", b"data:"), 4) is None
    assert fault_of_stream(STREAM.replace(b"\n", b"\r\n") + b"\n\n", 4) is None


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        pytest.param(STREAM[:-1], Fault.NO_DONE, id="the last event does not end"),
        pytest.param(STREAM + b"data: {}\n\n", Fault.NO_DONE, id="[DONE] is not the last event"),
        pytest.param(STREAM.replace(b'"choices"', b'"error":{},"choices"', 1), Fault.ERROR, id="an error event"),
        pytest.param(STREAM.replace(b"data: {", b"data: ", 1), Fault.JSON, id="an event that is no JSON"),
        pytest.param(STREAM.replace(b" w0003", b" hello"), Fault.JSON, id="a word that is no token"),
        pytest.param(b"", Fault.LOST, id="nothing at all"),
    ],
)
def test_a_wrong_stream_is_named(body: bytes, fault: Fault) -> None:
    assert fault_of_stream(body, 4) is fault


def test_the_answer_of_an_engine_without_numbers_is_checked_for_its_form() -> None:
    plain = STREAM.replace(b" w0003", b" hello")
    assert fault_of_stream(plain, None) is None
    assert fault_of_stream(plain.replace(b'"length"', b"null"), None) is Fault.NO_FINISH
    assert fault_of_whole(b'{"choices":[{"message":{"content":"x"},"finish_reason":"stop"}]}', None) is Fault.NO_USAGE


def test_an_exam_does_not_forget_what_is_wrong() -> None:
    exam = Exam(stream=True, tokens=4)
    lost = body_of(Wanted(Kind.CHAT, "tiny", 4, stream=True, tamper=Tamper.LOST))
    assert [exam.fault(body) for body in (STREAM, lost, STREAM, lost)] == [None, Fault.LOST, None, Fault.LOST]


RELAY = ["relay", "--scale", "0.05", "--rounds", "1", "--quiet-s", "0"]


def relay(*options: str) -> subprocess.CompletedProcess[str]:
    command, wide = [sys.executable, "-m", "benchmarks", *RELAY, *options], os.environ | {"COLUMNS": "200"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=wide)


def started(port: int, *options: str) -> list[str]:
    """A router that relays nothing: the stub engine again, in the router's place."""
    command = f"exec {sys.executable} -m benchmarks stub --port $PORT --model $MODEL {' '.join(options)}"
    return ["--url", f"http://127.0.0.1:{port}/v1", "--start", command]


def test_a_router_is_started_and_measured_beside_its_engine(tmp_path: Path) -> None:
    written = tmp_path / "relay.json"
    ended = relay(*started(unused_port()), "--scenarios", "bc", "--json", str(written))
    assert ended.returncode == 0, ended.stderr
    assert "requests per router-CPU-s" in ended.stdout
    blocks = json.loads(written.read_text())
    assert [(each["side"], each["scenario"]) for each in blocks] == [
        ("router", "b"),
        ("router", "c"),
        ("direct", "b"),
        ("direct", "c"),
    ]
    assert all(each["summary"]["complete"] and not each["summary"]["faults"] for each in blocks)
    assert [each["router_cpu"] is None for each in blocks] == [False, False, True, True]
    assert all(each["router_cpu"] > 0 and each["rss_bytes"] > 10_000_000 for each in blocks[:2])


def test_a_router_that_loses_a_token_does_not_pass() -> None:
    ended = relay(*started(unused_port(), "--tamper", "lost", "--tamper-every", "100"), "--scenarios", "c")
    assert ended.returncode == 1
    assert "not complete: token lost" in ended.stderr
    assert " not, 0" in ended.stdout


def test_a_router_that_runs_is_measured_with_whatever_engine_it_has(tiny_engine: StandIn) -> None:
    ended = relay("--url", tiny_engine.url, "--scenarios", "a", "--pid", str(tiny_engine.process.pid))
    assert ended.returncode == 0, ended.stderr
    assert "direct" not in ended.stdout
    assert "all " in ended.stdout
    assert ("may run on the core of the load" in ended.stdout) == (cores() is not None)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        pytest.param(["--url", "https://a.example"], "https is not measured", id="https"),
        pytest.param(["--url", "http://127.0.0.1:9"], "does not answer", id="nobody there"),
        pytest.param(["--url", "http://127.0.0.1:9", "--scenarios", "x"], "must be letters of", id="unknown letter"),
        pytest.param(["--url", "http://127.0.0.1:9", "--rounds", "0"], "above zero", id="no round"),
        pytest.param(["--url", "http://127.0.0.1:9", "--header", "x"], "must be one line", id="no header"),
        pytest.param(
            ["--url", "http://127.0.0.1:9", "--start", "echo no luck; exit 3"],
            "ended with status 3 at 127.0.0.1:9; it said: no luck",
            id="a command that fails",
        ),
    ],
)
def test_bad_input_gets_a_sentence(capsys: pytest.CaptureFixture[str], options: list[str], sentence: str) -> None:
    assert main([*RELAY, *options]) == 2
    assert sentence in capsys.readouterr().err.replace("\n", " ")


def test_what_is_added_is_the_difference_to_the_direct_block_of_the_same_round() -> None:
    direct = Block("direct", "a", 0, SMALL, None, None, 0.1, 0.0, 0.0)
    slower = replace(SMALL, latency_s=Spread(10, 0.0015, 0.003, 0.005))
    router = Block("router", "a", 0, slower, 0.5, 1, 0.1, 0.0, 0.0)
    added = next(column for column in COLUMNS["a"] if column.heading == "added p50 us")
    assert added.figure(router, direct) == pytest.approx(500)
    per_cpu = next(column for column in COLUMNS["b"] if column.heading == "requests per router-CPU-s")
    assert per_cpu.figure(router, direct) == pytest.approx(200)


def test_a_disturbed_round_counts_only_where_no_other_is_clean() -> None:
    clean = Block("router", "a", 0, SMALL, None, None, 0.1, 0.05, 0.0)
    disturbed = replace(clean, round=1, foreign_cpu=0.2)
    stolen = replace(clean, round=2, steal=0.06)
    assert undisturbed([clean, disturbed, stolen]) == [clean]
    assert undisturbed([disturbed, stolen]) == [disturbed, stolen]
