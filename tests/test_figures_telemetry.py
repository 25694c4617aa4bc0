"""What is seen while a load runs: of real engines, of a router, of a driver; silence and death cost only themselves."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import pytest

from benchmarks.double.nvml_double import GIB, Double, DoubleGpu
from benchmarks.figures.page import page_of
from benchmarks.figures.places import Places, places_of
from benchmarks.figures.telemetry import Telemetry
from benchmarks.price import Price
from tests.routers import LONGEST_WAIT_S, Router, asked, post
from tests.stand_ins import StandIn, standing_in

EVERY_S = 0.05
# With a later state of the driver as its argument, which takes effect after the first readings.
METERED = """
import asyncio, dataclasses, json, os, sys
from msgspec import structs
from benchmarks.drive.progress import Progress
from benchmarks.figures.places import Places
from benchmarks.figures.telemetry import Telemetry

async def watch():
    async with Telemetry(Places(reads_gpus=True), Progress(), every_s=0.02) as telemetry:
        while len(telemetry.timeline()) < 2:
            await asyncio.sleep(0)
        os.replace(sys.argv[1], os.environ["NVML_DOUBLE"] + "/state")
        seen = len(telemetry.timeline())
        while len(telemetry.timeline()) < seen + 3:
            await asyncio.sleep(0)
    print(json.dumps([[structs.asdict(each) for each in telemetry.timeline()], dataclasses.asdict(telemetry.taken())]))

asyncio.run(watch())
"""


@dataclass
class Progress:
    in_flight: int = 0
    done: int = 0
    events: int = 0
    output_tokens: int = 0


@asynccontextmanager
async def answering(answer: bytes, hangs_up: bool = True) -> AsyncIterator[str]:
    """The address of a server that says these bytes to everybody, and hangs up or stays silent."""
    silent = asyncio.Event()

    async def answer_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        if not hangs_up:
            await silent.wait()
        writer.close()

    server = await asyncio.start_server(answer_one, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        silent.set()
        server.close()


async def eventually(holds: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + LONGEST_WAIT_S
    while not holds():
        assert time.monotonic() < deadline_s, "it never came true"
        await asyncio.sleep(EVERY_S / 5)


def said(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


def ask(root: str, model: str, tokens: int) -> subprocess.Popen[bytes]:
    """A request of a client that is a process of its own, so that the loop of the test goes on meanwhile."""
    body = json.dumps({"model": model, "prompt": "one two three", "max_tokens": tokens, "ignore_eos": True})
    script = (
        "import sys, urllib.request as u; u.urlopen(u.Request(sys.argv[1], sys.argv[2].encode()), timeout=30).read()"
    )
    return subprocess.Popen([sys.executable, "-c", script, f"{root}/v1/completions", body])


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", b"hello"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", b"hello"),
        (b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhello", b"hello"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello", None),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nhel", None),
        (b"HTTP/1.1 404 Not Found\r\ncontent-length: 5\r\n\r\nhello", None),
        (b"SSH-2.0-OpenSSH_9.2\r\n", None),
        (b"", None),
    ],
    ids=["length", "chunks", "until it ends", "cut", "cut chunk", "404", "no HTTP", "nothing"],
)
async def test_a_page_is_whole_or_none(answer: bytes, body: bytes | None) -> None:
    async with answering(answer) as root:
        assert await page_of(root) == body


async def test_a_server_that_says_nothing_is_waited_for_no_longer_than_told() -> None:
    async with answering(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhel", hangs_up=False) as root:
        begun_s = time.monotonic()
        assert await page_of(root, 0.1) is None
        assert time.monotonic() - begun_s < LONGEST_WAIT_S


async def test_nobody_there_is_none() -> None:
    async with answering(b"") as root:
        pass
    assert await page_of(root) is None
    assert await page_of("http://no-such-host.invalid/") is None


async def test_an_engine_is_found_behind_its_address(tiny_engine: StandIn) -> None:
    expected = Places((tiny_engine.url,), None, reads_gpus=True)
    assert await places_of(f"{tiny_engine.url}/v1") == await places_of(f"{tiny_engine.url}/") == expected


async def test_a_router_is_found_with_its_engines_and_the_price_of_its_cloud(
    shared_router: Router, tiny_engine: StandIn
) -> None:
    expected = Places((tiny_engine.url,), shared_router.url, reads_gpus=True, cloud_price=Price(0.15, 0.60))
    assert await places_of(f"{shared_router.url}/v1") == expected


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"status": "ok"}', b"null"])
async def test_an_address_that_says_nothing_of_itself_is_no_error(body: bytes) -> None:
    async with answering(said(body)) as root:
        assert await places_of(root) == Places((), None, reads_gpus=True)
    assert await places_of(root) == Places((), None, reads_gpus=True)


async def test_an_engine_is_watched_while_it_works_and_its_tokens_are_counted() -> None:
    with standing_in("engine", "--model", "watched", "--step-ms", "5") as engine:
        progress = Progress()
        places = Places((engine.url,))
        with ask(engine.url, "watched", 7) as before:
            before.wait()
        async with Telemetry(places, progress, every_s=2 * EVERY_S) as telemetry:
            progress.in_flight = 1
            with ask(engine.url, "watched", 300) as client:
                await eventually(lambda: any(moment.running for moment in telemetry.timeline()))
                await eventually(lambda: client.poll() is not None)
            progress.in_flight, progress.done, progress.events = 0, 1, 300
        taken, timeline = telemetry.taken(), telemetry.timeline()
    assert taken.generation_tokens == 300, "what it did before does not count"
    assert taken.prompt_tokens is not None
    assert taken.prompt_tokens > 0
    assert (taken.joules, taken.cloud_usd) == (None, None)
    assert any(moment.kv_used for moment in timeline)
    assert [moment.in_flight for moment in timeline[1:-1]][:1] == [1]
    assert timeline[-1].running == timeline[-1].waiting == 0
    steps = pairwise(timeline)
    shown = sum((m.output_tokens_per_s or 0) * (m.at_s - before.at_s) for before, m in steps)
    assert shown == pytest.approx(300)


async def test_an_engine_that_dies_is_missing_and_the_watch_goes_on() -> None:
    with standing_in("engine", "--model", "mortal") as engine:
        async with Telemetry(Places((engine.url,)), Progress(), every_s=EVERY_S) as telemetry:
            engine.process.kill()
            engine.process.wait()
            await eventually(lambda: telemetry.taken().missed >= 3)
    timeline = telemetry.timeline()
    assert timeline[0].running == 0
    assert timeline[-1].running is timeline[-1].kv_used is None


async def test_an_engine_that_hangs_holds_back_no_look_for_long() -> None:
    async with (
        answering(b"", hangs_up=False) as root,
        Telemetry(Places((root,)), Progress(), every_s=EVERY_S) as telemetry,
    ):
        await eventually(lambda: len(telemetry.timeline()) >= 5)
    assert telemetry.taken().missed == telemetry.taken().asked >= 5


@pytest.mark.parametrize("value", [b"NaN", b"+Inf", b"many"])
async def test_a_page_of_rubbish_ends_nothing(value: bytes) -> None:
    body = b"vllm:num_requests_running %s\n" % value
    async with answering(said(body)) as root, Telemetry(Places((root,)), Progress(), every_s=EVERY_S) as telemetry:
        await eventually(lambda: telemetry.taken().missed >= 3)


async def test_a_router_tells_what_was_spent_since_the_watch_began(shared_router: Router) -> None:
    body = asked(stream=False)
    await asyncio.to_thread(post, shared_router, body, x_spillway_tier="premium")
    async with Telemetry(Places((), shared_router.url), Progress(), every_s=EVERY_S) as telemetry:
        status, headers, _ = await asyncio.to_thread(post, shared_router, body, x_spillway_tier="premium")
        await eventually(lambda: (telemetry.taken().cloud_usd or 0) > 0)
    assert status == 200
    assert headers["x-spillway-target"].startswith("cloud/")
    assert telemetry.taken().cloud_usd == pytest.approx(float(headers["x-spillway-usd"]), rel=0.01)
    assert telemetry.timeline()[0].cloud_usd == 0.0


async def test_engines_that_cannot_be_asked_are_seen_through_the_router() -> None:
    page = b"spillway_workers 1\nspillway_kv_used_fraction{} 0.5\nspillway_engine_waiting{} 3\n"
    async with (
        answering(said(page)) as root,
        Telemetry(Places((), root), Progress(), every_s=EVERY_S) as telemetry,
    ):
        await eventually(lambda: len(telemetry.timeline()) >= 2)
    assert {(moment.kv_used, moment.waiting, moment.running) for moment in telemetry.timeline()} == {(0.5, 3, None)}


async def test_moments_count_from_the_start_of_the_run() -> None:
    async with Telemetry(Places(), Progress(), every_s=EVERY_S) as telemetry:
        await eventually(lambda: len(telemetry.timeline()) >= 3)
        began_unix_s = time.time()
        seen = len(telemetry.timeline())
        await eventually(lambda: len(telemetry.timeline()) >= seen + 3)
    own, shifted = telemetry.timeline(), telemetry.timeline(began_unix_s)
    assert len(shifted) == len(own) - seen
    assert all(moment.at_s >= 0 for moment in shifted)
    assert shifted[0].at_s < own[seen].at_s


def test_gpus_are_watched_through_the_driver(tmp_path: Path) -> None:
    card = DoubleGpu(power_mw=250_500, used_bytes=4 * GIB, energy_mj=7_000_000_000)
    double = Double(tmp_path, [card, replace(card, uuid="GPU-b", power_mw=501_000)])
    later = [replace(gpu, energy_mj=7_000_003_000) for gpu in double.state.gpus]
    (tmp_path / "later").write_text(replace(double.state, gpus=tuple(later)).text())
    env = os.environ | double.env
    ran = subprocess.run(
        [sys.executable, "-c", METERED, tmp_path / "later"], env=env, capture_output=True, text=True, check=True
    )
    timeline, taken = json.loads(ran.stdout)
    assert {(moment["gpu_power_w"], moment["gpu_memory_bytes"]) for moment in timeline} == {(751.5, 8 * GIB)}
    assert taken["gpus"] == 2
    assert taken["joules"] == 6.0
