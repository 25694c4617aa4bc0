"""What is measured is what happened: against a server that notes when it writes, and against the stub engine.

A machine that is busy with other things is late now and then, which no measurement can undo: each proof is given a few
tries, and one exact one proves it. A harness that measures wrongly is wrong in every one.
"""

from __future__ import annotations

import asyncio
import json
import re
from argparse import ArgumentParser
from contextlib import suppress
from time import monotonic

import pytest

from benchmarks.drive import truth
from benchmarks.drive.pacing import Open
from benchmarks.drive.progress import Progress
from benchmarks.drive.truth import Found, Truth, compared, measured
from benchmarks.quantiles import quantile
from tests.driving import chats, come_true, driven
from tests.scripted import DONE, LAST, STOP, STREAM_HEAD, framed
from tests.stand_ins import standing_in
from tests.test_sse import ROLE, USAGE, chunk

TRIES = 100
EXACT_S = 0.001
# A busy machine makes what counts from the start longer and never shorter, so the quickest tell whether it is measured
# truly; between two tokens it takes as often as it adds.
TELLING = {"ttft_s": 0.05, "e2e_s": 0.05, "tpot_s": 0.5, "itl_s": 0.5}


class Notary:
    """Answers with five tokens, some of them in pairs, and notes the moment of each write by number of the question."""

    def __init__(self) -> None:
        self.wrote_s: dict[int, list[float]] = {}
        self.open = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        while head := await self._head(reader):
            found = re.search(rb"content-length: (\d+)", head)
            assert found is not None
            asked = json.loads(await reader.readexactly(int(found[1])))
            moments = self.wrote_s.setdefault(int(asked["messages"][0]["content"].split()[1]), [])
            writer.write(STREAM_HEAD + framed(ROLE))
            for tokens in (1, 2, 1, 1):
                await asyncio.sleep(0.01)
                moments.append(monotonic())
                writer.write(framed(*[chunk(content=" w")] * tokens))
            await asyncio.sleep(0.002)
            writer.write(framed(STOP, USAGE, DONE) + LAST)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        self.open -= 1

    async def _head(self, reader: asyncio.StreamReader) -> bytes:
        try:
            return await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""


async def _offs_s() -> list[float]:
    """How long after each write it is said to have come."""
    notary, progress = Notary(), Progress()
    server = await asyncio.start_server(notary.answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        run = await driven(f"http://127.0.0.1:{port}", chats(60, every_s=0.005), Open(), progress=progress)
        await come_true(lambda: notary.open == 0)
    offs_s = []
    for sample in run.samples:
        assert (sample.error, sample.events, sample.gap_events) == (None, 5, (2, 1, 1))
        assert sample.first_s is not None
        read_s = [progress.began_s + sample.first_s]
        for gap_s in sample.gaps_s:
            read_s.append(read_s[-1] + gap_s)
        wrote_s = notary.wrote_s[sample.number]
        offs_s += [read - wrote for read, wrote in zip(read_s, wrote_s, strict=True)]
        assert sample.e2e_s == pytest.approx(read_s[-1] - progress.began_s - sample.scheduled_s)
    return offs_s


async def test_moments_are_those_of_the_writes() -> None:
    for _ in range(TRIES):
        offs_s = await _offs_s()
        assert len(offs_s) == 240
        assert min(offs_s) >= 0
        if quantile(offs_s, 0.99) <= EXACT_S:
            return
    pytest.fail(f"1 % of the moments were {quantile(offs_s, 0.99) * 1000:.2f} ms late in the last of {TRIES} tries")


async def test_an_engine_of_known_latency_is_measured_to_a_millisecond_or_a_hundredth() -> None:
    told = Truth(first_s=0.1, gap_s=0.02, tokens=6)
    with standing_in("stub") as stub:
        for _ in range(TRIES):
            found = compared(await measured(stub.url, told, rate=100.0, requests=50), told)
            telling = [each for each in found if TELLING[each.name] == each.share]
            assert len(telling) == len(TELLING)
            if all(each.is_exact for each in telling):
                return
    pytest.fail("\n".join(str(each) for each in telling))


def test_a_figure_that_is_off_is_found_and_shown() -> None:
    assert Found("ttft_s", 0.5, 0.2019, 0.2).is_exact
    assert Found("itl_s", 0.5, 0.0209, 0.02).is_exact
    wrong = Found("ttft_s", 0.99, 0.2021, 0.2)
    assert not wrong.is_exact
    assert "TOO MUCH" in str(wrong)


def test_the_command_refuses_what_proves_nothing() -> None:
    parser = ArgumentParser()
    truth.add_arguments(parser)
    with pytest.raises(ValueError, match="above 0"):
        truth.main(parser.parse_args(["--requests", "0"]))


def test_the_command_shows_every_quantile(capsys: pytest.CaptureFixture[str]) -> None:
    parser = ArgumentParser()
    truth.add_arguments(parser)
    status = truth.main(parser.parse_args(["--requests", "20", "--first-ms", "30", "--gap-ms", "5", "--tokens", "4"]))
    printed = capsys.readouterr().out
    assert status == (1 if "TOO MUCH" in printed else 0)
    assert printed.count("truth") == 16
    assert "20 requests, 80 events" in printed
