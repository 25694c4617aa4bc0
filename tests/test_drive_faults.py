"""What a run makes of an endpoint that fails: each failure is named once, says what happened, and ends nothing else."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from collections.abc import Iterator

import pytest

from benchmarks.drive.connection import IDLE_S
from benchmarks.drive.drive import Sink
from benchmarks.drive.pacing import Closed, Open
from benchmarks.figures.errors import Failure
from benchmarks.workload.arrival import Kind
from tests.driving import chats, driven, only
from tests.routers import until
from tests.scripted import (
    DONE,
    HI,
    LAST,
    STOP,
    STREAM,
    STREAM_HEAD,
    Line,
    ScriptedEngine,
    answered,
    closes,
    framed,
    polite,
    resets,
    says,
    scripted_engine,
)
from tests.stand_ins import standing_in
from tests.test_sse import ROLE, USAGE, chunk

ERROR = b'{"error":{"message":"out of memory","type":"server_error","code":500}}'
BROKEN = framed(b"data: " + ERROR + b"\n\n", DONE)


@pytest.fixture
def engine() -> Iterator[ScriptedEngine]:
    with scripted_engine() as scripted:
        yield scripted


# What the endpoint sends, the kind of failure, and what its message says.
STREAMS = {
    "no finish reason": (STREAM_HEAD + framed(ROLE, HI, USAGE, DONE) + LAST, Failure.CUT, "a finish reason"),
    "no [DONE]": (STREAM_HEAD + framed(ROLE, HI, STOP, USAGE) + LAST, Failure.CUT, "[DONE]"),
    "an error": (STREAM_HEAD + framed(ROLE, HI) + BROKEN + LAST, Failure.STREAM_ERROR, "out of memory"),
    "an abort": (
        STREAM_HEAD + framed(ROLE, chunk(content="", finish="abort"), USAGE, DONE) + LAST,
        Failure.STREAM_ERROR,
        "'abort'",
    ),
    "cut JSON": (
        STREAM_HEAD + framed(ROLE, b'data: {"choices":[{\n\n', STOP, USAGE, DONE) + LAST,
        Failure.MALFORMED,
        "not what it should be",
    ),
    "no tokens": (
        STREAM_HEAD + framed(ROLE, STOP, b'data: {"choices":[],"usage":{"prompt_tokens":7}}\n\n', DONE) + LAST,
        Failure.EMPTY,
        "nothing in it",
    ),
    "no usage": (STREAM_HEAD + framed(ROLE, HI, STOP, DONE) + LAST, Failure.NO_USAGE, "usage"),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.2\r\n", Failure.FRAMING, "not HTTP"),
    "a bad chunk": (STREAM_HEAD + framed(ROLE, HI) + b"zz\r\n", Failure.FRAMING, "not HTTP"),
    "two answers": (STREAM + STREAM, Failure.FRAMING, "two answers"),
    "a whole answer": (answered(), Failure.MALFORMED, "a stream was asked for"),
    "a page": (answered(b"<html>hello</html>"), Failure.MALFORMED, "<html>"),
    "401": (answered(ERROR, "401 Unauthorized"), Failure.STATUS_4XX, "401: out of memory"),
    "404": (answered(b"not here", "404 Not Found"), Failure.STATUS_4XX, "404: not here"),
    "429": (answered(ERROR, "429 Too Many Requests", "retry-after: 7"), Failure.RATE_LIMITED, "retry after 7"),
    "503": (answered(ERROR, "503 Service Unavailable"), Failure.STATUS_5XX, "503: out of memory"),
    "307": (answered(b"", "307 Temporary Redirect", "location: /x"), Failure.STATUS_OTHER, "307"),
}
WHOLES = {
    "no finish reason": (answered(b'{"choices":[{"message":{"content":"Hi"}}],"usage":{}}'), Failure.CUT),
    "an error": (answered(ERROR), Failure.STREAM_ERROR),
    "no usage": (
        answered(b'{"choices":[{"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}]}'),
        Failure.NO_USAGE,
    ),
    "no choices": (answered(b"{}"), Failure.CUT),
    "a list": (answered(b"[]"), Failure.MALFORMED),
    "a short body": (answered()[:-3], Failure.FRAMING),
}


@pytest.mark.parametrize(("sent", "failure", "says_so"), STREAMS.values(), ids=STREAMS)
async def test_a_stream_that_is_not_complete_is_named(
    engine: ScriptedEngine, sent: bytes, failure: Failure, says_so: str
) -> None:
    engine.script = says(sent)
    sample = await only(engine.url)
    assert (sample.error, sample.ok) == (failure.value, False)
    assert says_so in sample.message


@pytest.mark.parametrize(("sent", "failure"), WHOLES.values(), ids=WHOLES)
async def test_a_whole_answer_that_is_not_complete_is_named(
    engine: ScriptedEngine, sent: bytes, failure: Failure
) -> None:
    def script(line: Line) -> None:
        line.send(sent)
        line.until_read()
        line.close()

    engine.script = script
    run = await driven(engine.url, chats(1, stream=False))
    assert [sample.error for sample in run.samples] == [failure.value]


@pytest.mark.parametrize("end", [closes, resets])
async def test_a_connection_lost_in_the_middle_is_broken_framing(engine: ScriptedEngine, end: object) -> None:
    def script(line: Line) -> None:
        line.send(STREAM_HEAD + framed(ROLE, HI, HI))
        (closes if end is closes else resets)(line)

    engine.script = script
    sample = await only(engine.url)
    assert (sample.error, sample.events, sample.status) == (Failure.FRAMING.value, 2, 200)
    assert "in the middle" in sample.message


@pytest.mark.parametrize("end", [closes, resets])
async def test_a_connection_lost_before_the_answer_is_a_lost_connection(engine: ScriptedEngine, end: object) -> None:
    engine.script = closes if end is closes else resets
    sample = await only(engine.url)
    assert (sample.error, sample.status) == (Failure.CONNECTION.value, 0)
    assert len(engine.asked) == 1


async def test_what_the_server_said_before_it_hung_up_is_the_reason(engine: ScriptedEngine) -> None:
    def script(line: Line) -> None:
        line.send(STREAM_HEAD + framed(ROLE, HI) + BROKEN)
        closes(line)

    engine.script = script
    sample = await only(engine.url)
    assert (sample.error, sample.message) == (Failure.STREAM_ERROR.value, "out of memory")


async def test_an_idle_connection_closed_as_it_is_used_again_costs_no_request(engine: ScriptedEngine) -> None:
    def once_a_connection(line: Line) -> None:
        if len(line.asked) == 1:
            polite(line)
        else:
            line.close()

    engine.script = once_a_connection
    run = await driven(engine.url, chats(2), Closed(1, think_s=2 * IDLE_S))
    assert [sample.error for sample in run.samples] == [None, None]
    assert len(engine.asked) == 3


async def test_a_connection_in_use_on_which_the_server_hangs_up_is_a_failure(engine: ScriptedEngine) -> None:
    def once_a_connection(line: Line) -> None:
        (polite if len(line.asked) == 1 else resets)(line)

    engine.script = once_a_connection
    run = await driven(engine.url, chats(2))
    assert [sample.error for sample in run.samples] == [None, Failure.CONNECTION.value]
    assert len(engine.asked) == 2


async def test_an_answer_that_never_ends_is_a_timeout_and_its_connection_is_closed(engine: ScriptedEngine) -> None:
    engine.script = says(STREAM_HEAD + framed(ROLE, HI))
    sample = await only(engine.url, limit_s=0.3)
    assert (sample.error, sample.events) == (Failure.TIMEOUT.value, 1)
    assert 0.3 <= sample.ended_s < 5
    until(engine.last_line.is_closed)


async def test_an_endpoint_that_accepts_no_more_connections_is_a_timeout(engine: ScriptedEngine) -> None:
    listening = socket.create_server(("127.0.0.1", 0), backlog=0)
    with listening:
        # The run's own first look takes the one place in the queue.
        run = await driven(f"http://127.0.0.1:{listening.getsockname()[1]}", chats(3), Open(), limit_s=0.3)
    assert {sample.error for sample in run.samples} == {Failure.TIMEOUT.value}


async def test_interim_answers_comments_and_an_end_by_closing_are_borne(engine: ScriptedEngine) -> None:
    def script(line: Line) -> None:
        line.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        line.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nconnection: close\r\n\r\n: hello\n\n")
        line.send(ROLE + HI + b": ping\n\n" + STOP + USAGE + DONE)
        closes(line)

    engine.script = script
    sample = await only(engine.url)
    assert (sample.error, sample.events, sample.completion_tokens) == (None, 1, 3)


async def test_what_the_router_says_of_a_request_is_kept(engine: ScriptedEngine) -> None:
    facts = {"Target": "cloud/twin", "reason": "spill:ttft", "attempts": "2", "usd": "0.00125", "tier": "premium"}
    head = "".join(f"X-Spillway-{name}: {value}\r\n" for name, value in facts.items()) + "x-request-id: r-1\r\n\r\n"
    engine.script = says(STREAM.replace(b"\r\n\r\n", b"\r\n" + head.encode(), 1))
    (sample,) = (await driven(engine.url, chats(1, tier="standard", tenant="team-a"))).samples
    assert (sample.error, sample.target, sample.reason, sample.attempts) == (None, "cloud/twin", "spill:ttft", 2)
    assert (sample.usd, sample.tier, sample.tenant, sample.request_id) == (0.00125, "premium", "team-a", "r-1")
    assert engine.asked[0].fields["x-spillway-tier"] == "standard"


@pytest.mark.parametrize("usd", ["", "nan", "much"])
async def test_a_price_that_is_not_told_is_not_zero(engine: ScriptedEngine, usd: str) -> None:
    engine.script = says(STREAM.replace(b"\r\n\r\n", b"\r\nx-spillway-usd: %b\r\n\r\n" % usd.encode(), 1))
    assert (await only(engine.url)).usd is None


async def test_a_run_that_needs_no_usage_bears_an_engine_without(engine: ScriptedEngine) -> None:
    engine.script = says(STREAM_HEAD + framed(ROLE, HI, STOP, DONE) + LAST)
    sample = await only(engine.url, endpoint={"needs_usage": False})
    assert (sample.error, sample.completion_tokens, sample.events) == (None, 0, 1)


async def test_an_embedding_is_a_whole_answer_with_its_tokens(engine: ScriptedEngine) -> None:
    vector = b'{"object":"list","data":[{"embedding":[0.1,0.2],"index":0}],"usage":{"prompt_tokens":5}}'
    engine.script = says(answered(vector))
    (sample,) = (await driven(engine.url, chats(1, kind=Kind.EMBEDDING))).samples
    assert (sample.error, sample.prompt_tokens, sample.kind, sample.ttft_s) == (None, 5, "embedding", None)
    engine.script = says(answered(b'{"object":"list","data":[],"usage":{"prompt_tokens":5}}'))
    (sample,) = (await driven(engine.url, chats(1, kind=Kind.EMBEDDING))).samples
    assert sample.error == Failure.EMPTY.value


async def test_a_failing_endpoint_fails_its_requests_and_no_others(engine: ScriptedEngine) -> None:
    def every_third(line: Line) -> None:
        (closes if len(engine.asked) % 3 == 0 else polite)(line)

    engine.script = every_third
    run = await driven(engine.url, chats(9, every_s=0.02), Open())
    assert sum(sample.ok for sample in run.samples) == 6
    assert len(run.samples) == 9


async def test_a_user_who_is_refused_waits_before_asking_again(engine: ScriptedEngine) -> None:
    engine.script = says(answered(ERROR, "503 Service Unavailable"))
    run = await driven(engine.url, chats(), Closed(1, requests=3))
    first, second, _ = run.samples
    assert second.scheduled_s - first.ended_s >= 0.099


async def test_an_engine_that_dies_in_the_middle_leaves_failures_and_a_report() -> None:
    with standing_in("stub") as stub:
        running = asyncio.create_task(
            driven(stub.url, chats(300, every_s=0.005, output_tokens=64), Open(), sinks=[_ends(stub.process)])
        )
        run = await running
    assert len(run.samples) == 300
    assert sum(sample.ok for sample in run.samples) >= 20
    failed = {sample.error for sample in run.samples if not sample.ok}
    assert Failure.CONNECTION.value in failed
    assert failed <= {Failure.CONNECTION.value, Failure.FRAMING.value}
    assert "cannot connect to 127.0.0.1" in run.samples[-1].message


def _ends(process: subprocess.Popen[str]) -> Sink:
    return lambda sample: process.kill() if sample.number == 20 else None


@pytest.mark.parametrize(
    ("tamper", "failure"),
    [
        ("no-finish", Failure.CUT),
        ("no-done", Failure.CUT),
        ("no-end", Failure.FRAMING),
        ("cut", Failure.FRAMING),
        ("refused", Failure.STATUS_5XX),
    ],
)
async def test_every_third_answer_spoiled_is_every_third_failure(tamper: str, failure: Failure) -> None:
    with standing_in("stub", "--tamper", tamper, "--tamper-every", "3") as stub:
        run = await driven(stub.url, chats(12), Closed(3))
    assert [sample.error for sample in run.samples if not sample.ok] == [failure.value] * 4


async def test_nobody_there_and_no_such_name_are_sentences() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(ValueError, match="Nothing answers at http://"):
            await driven(f"http://127.0.0.1:{taken.getsockname()[1]}", chats(1))
    with pytest.raises(ValueError, match=r"the name 'no-such-host\.invalid' is not known"):
        await driven("http://no-such-host.invalid", chats(1))
