"""A run against the stub engine as a real process: what is sent, when, and what is known of it afterwards."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Iterator

import pytest

from benchmarks.drive.pacing import Closed, Open, Pacing
from benchmarks.drive.progress import Progress
from benchmarks.drive.sample import Sample
from benchmarks.workload.arrival import Arrival, Kind, Prompt
from tests.driving import TOKENS, chats, come_true, control, driven
from tests.scripted import scripted_engine
from tests.stand_ins import StandIn, standing_in


@pytest.fixture(scope="module")
def engine() -> Iterator[StandIn]:
    with standing_in("stub") as stub:
        yield stub


@pytest.fixture
def stub(engine: StandIn) -> Iterator[StandIn]:
    yield engine
    control(engine, "first/0", "delay/0")


@pytest.mark.parametrize("kind", [Kind.CHAT, Kind.COMPLETION])
async def test_every_stream_is_complete_and_counted_three_ways(stub: StandIn, kind: Kind) -> None:
    run = await driven(stub.url, chats(30, kind=kind), Closed(5))
    assert [sample.number for sample in run.samples] == list(range(30))
    assert {sample.error for sample in run.samples} == {None}
    for sample in run.samples:
        assert (sample.events, sample.completion_tokens, sample.expected_output_tokens) == (TOKENS, TOKENS, TOKENS)
        assert (sample.prompt_tokens, sample.finish_reason, sample.kind) == (7, "length", kind.value)
        assert sample.request_id == "stub-0001"
        assert sample.first_s is not None
        assert sample.last_s is not None
        assert 0 <= sample.scheduled_s <= sample.sent_s <= sample.first_s <= sample.last_s <= sample.ended_s
        assert abs(sum(sample.gaps_s) - (sample.last_s - sample.first_s)) < 1e-9
        assert len(sample.gaps_s) == len(sample.gap_events)
    assert run.events == 30 * TOKENS
    assert (run.unfinished, run.was_stopped) == (0, False)
    assert run.seconds >= run.samples[-1].ended_s > 0
    assert run.cpu_s > 0


@pytest.mark.parametrize("kind", [Kind.CHAT, Kind.COMPLETION])
async def test_a_whole_answer_has_an_end_and_no_first_token(stub: StandIn, kind: Kind) -> None:
    control(stub, "delay/10000")
    run = await driven(stub.url, chats(3, kind=kind, stream=False))
    for sample in run.samples:
        assert (sample.error, sample.completion_tokens, sample.events) == (None, TOKENS, 0)
        assert (sample.ttft_s, sample.tpot_s) == (None, None)
        assert sample.e2e_s >= 0.01 * TOKENS


async def test_an_open_loop_sends_by_the_clock_and_waits_for_nobody(stub: StandIn) -> None:
    control(stub, "first/500000")
    run = await driven(stub.url, chats(20, every_s=0.005), Open())
    # All are under way before the first has a token: nothing has waited for an answer.
    assert max(sample.sent_s for sample in run.samples) < min(sample.first_s or 0.0 for sample in run.samples)
    for number, sample in enumerate(run.samples):
        assert sample.scheduled_s == pytest.approx(number * 0.005)
        assert sample.lag_s >= 0
        assert sample.ttft_s is not None
        assert sample.ttft_s >= 0.5


async def test_an_open_loop_ends_with_its_duration_and_keeps_what_was_sent_before(stub: StandIn) -> None:
    control(stub, "first/100000")
    run = await driven(stub.url, chats(every_s=0.05), Open(duration_s=0.22))
    assert [round(sample.scheduled_s, 6) for sample in run.samples] == [0.0, 0.05, 0.1, 0.15, 0.2]
    assert {sample.error for sample in run.samples} == {None}
    assert run.sending_s < run.seconds


async def test_users_have_one_request_at_a_time(stub: StandIn) -> None:
    control(stub, "first/20000")
    run = await driven(stub.url, chats(), Closed(3, requests=12))
    assert len(run.samples) == 12
    moments = [(sample.sent_s, 1) for sample in run.samples] + [(sample.ended_s, -1) for sample in run.samples]
    under_way = most = 0
    for _, change in sorted(moments, key=lambda moment: (moment[0], moment[1])):
        under_way += change
        most = max(most, under_way)
    assert most == 3


async def test_users_think_between_an_answer_and_the_next_question(stub: StandIn) -> None:
    run = await driven(stub.url, chats(), Closed(1, think_s=0.05, requests=3))
    first, second, third = run.samples
    assert second.scheduled_s - first.ended_s >= 0.049
    assert third.scheduled_s - second.ended_s >= 0.049


async def test_users_come_one_after_the_other_within_the_ramp(stub: StandIn) -> None:
    control(stub, "first/300000")
    run = await driven(stub.url, chats(), Closed(4, ramp_s=0.2, requests=4))
    assert [round(sample.scheduled_s, 2) for sample in run.samples] == [0.0, 0.05, 0.1, 0.15]


async def test_a_closed_loop_ends_with_its_duration(stub: StandIn) -> None:
    control(stub, "first/20000")
    run = await driven(stub.url, chats(), Closed(2, duration_s=0.3))
    assert len(run.samples) >= 2
    assert all(sample.scheduled_s < 0.3 for sample in run.samples)
    assert all(sample.ok for sample in run.samples)


@pytest.mark.parametrize("pacing", [Open(requests=5), Closed(2, requests=5)])
async def test_so_many_requests_are_sent_and_no_more(stub: StandIn, pacing: Pacing) -> None:
    drawn = []

    def arrivals() -> Iterator[Arrival]:
        for arrival in chats():
            drawn.append(arrival)
            yield arrival

    run = await driven(stub.url, arrivals(), pacing)
    assert len(run.samples) == 5
    assert len(drawn) == 5


async def test_progress_is_live_and_stopping_keeps_what_has_ended(stub: StandIn) -> None:
    control(stub, "delay/10000")
    progress, stop = Progress(), asyncio.Event()
    seen: list[Sample] = []
    arrivals = (Arrival(Prompt("Hi"), output_tokens=4 if number < 3 else 4000) for number in range(6))
    running = asyncio.create_task(
        driven(stub.url, arrivals, Closed(3), progress=progress, stop=stop, sinks=[seen.append])
    )
    await come_true(lambda: progress.done == 3 and progress.in_flight == 3 and progress.events > 12)
    assert (progress.sent, progress.failed, progress.output_tokens) == (6, 0, 12)
    assert len(progress.recent_ttft_s) == 3
    assert progress.connections == 3
    stop.set()
    run = await running
    assert (len(run.samples), run.unfinished, run.was_stopped) == (3, 3, True)
    assert sorted(seen, key=lambda sample: sample.number) == run.samples
    assert (progress.in_flight, progress.connections, progress.is_sending) == (0, 0, False)


async def test_a_run_leaves_no_file_open_and_the_collector_as_it_was(stub: StandIn) -> None:
    await driven(stub.url, chats(3))
    before = len(os.listdir("/proc/self/fd"))
    await driven(stub.url, chats(20), Closed(20))
    await come_true(lambda: len(os.listdir("/proc/self/fd")) == before)
    assert gc.isenabled()


async def test_connections_are_used_again() -> None:
    with scripted_engine() as engine:
        await driven(engine.url, chats(12), Closed(2))
        # One more is the run's first look whether anything listens.
        assert len(engine.lines) == 3


async def test_an_answer_can_be_cancelled_with_everything_around_it(stub: StandIn) -> None:
    control(stub, "delay/10000")
    progress = Progress()
    running = asyncio.create_task(driven(stub.url, chats(output_tokens=4000), Closed(2), progress=progress))
    await come_true(lambda: progress.events > 4)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert progress.connections == 0


async def test_what_a_workload_raises_in_the_middle_reaches_its_caller(stub: StandIn) -> None:
    def arrivals() -> Iterator[Arrival]:
        yield from chats(2)
        raise ValueError("line 3: input_tokens is missing")

    with pytest.raises(ValueError, match="line 3"):
        await driven(stub.url, arrivals())


async def test_nothing_to_send_is_said_so(stub: StandIn) -> None:
    with pytest.raises(ValueError, match="Nothing was sent"):
        await driven(stub.url, chats(0))
    with pytest.raises(ValueError, match="due after the end"):
        await driven(stub.url, iter([Arrival(Prompt("Hi"), at_s=3.0)]), Open(duration_s=1.0))


@pytest.mark.parametrize(
    ("users", "duration_s", "requests", "what"),
    [(0, 1.0, None, "0 users"), (1, 0.0, None, "duration of 0 s"), (1, None, 0, "0 requests"), (1, -1.0, 1, "-1 s")],
)
def test_a_pacing_that_measures_nothing_is_refused(
    users: int, duration_s: float | None, requests: int | None, what: str
) -> None:
    with pytest.raises(ValueError, match=what):
        Closed(users, duration_s=duration_s, requests=requests)


def test_more_connections_than_files_are_refused_beforehand() -> None:
    with pytest.raises(ValueError, match="ulimit -Hn"):
        asyncio.run(driven("http://127.0.0.1:9", chats(), Closed(10_000_000)))
