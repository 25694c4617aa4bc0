"""The commit gate and what follows it: before the first token another target may be tried, after it never."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from router.errors import StreamBroken, TargetUnavailable
from router.reply import Reply
from router.sse import DONE
from tests.test_sse import ROLE, USAGE, chunk

HI, THERE, STOP = chunk(content="Hi"), chunk(content=" there"), chunk(finish="stop")
ERROR = b'data: {"error":{"message":"EngineCore died"}}\n\n'
ABORT = chunk(finish="abort")
GARBAGE = b"data: {half\n\n"
PING = b": ping\n\n"


class Source:
    """A stream of events that ends, or breaks, after the last one; remembers whether it was let go."""

    def __init__(self, *events: bytes, breaks: bool = False) -> None:
        self.closed: list[str] = []
        self.reply = Reply("local/smoke", "text/event-stream", self._release, events=self._send(events, breaks))

    async def _send(self, events: tuple[bytes, ...], breaks: bool) -> AsyncGenerator[bytes, None]:
        try:
            for event in events:
                yield event
            if breaks:
                raise StreamBroken("local/smoke", "cut", "the connection was closed in the middle of the answer")
        finally:
            self.closed.append("events")

    async def _release(self) -> None:
        self.closed.append("target")


async def relay(source: Source, show_usage: bool = False) -> list[bytes]:
    await source.reply.until_first_token(show_usage)
    return [raw async for raw in source.reply.rest(show_usage)]


async def relay_until_broken(source: Source) -> tuple[list[bytes], StreamBroken]:
    sent: list[bytes] = []

    async def send() -> None:
        await source.reply.until_first_token(False)
        async for raw in source.reply.rest(False):
            sent.append(raw)

    with pytest.raises(StreamBroken) as caught:
        await send()
    return sent, caught.value


async def test_a_whole_stream_is_relayed_as_it_came() -> None:
    source = Source(ROLE, PING, HI, THERE, STOP, USAGE, DONE)
    assert await relay(source, show_usage=True) == [ROLE, PING, HI, THERE, STOP, USAGE, DONE]
    assert (source.reply.usage, source.reply.finish_reason, source.reply.spoken) == ((7, 3), "stop", 2)


async def test_usage_is_hidden_from_clients_that_did_not_ask() -> None:
    source = Source(ROLE, HI, STOP, USAGE, DONE)
    assert await relay(source) == [ROLE, HI, STOP, DONE]
    assert source.reply.usage == (7, 3)


async def test_usage_beside_a_token_is_not_lost() -> None:
    both = chunk(content="Hi", usage={"prompt_tokens": 1, "completion_tokens": 1})
    source = Source(both, STOP, DONE)
    assert await relay(source) == [both, STOP, DONE]
    assert source.reply.usage == (1, 1)


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        pytest.param(Source(), "empty", id="nothing came"),
        pytest.param(Source(ROLE), "empty", id="the role alone, then the end"),
        pytest.param(Source(ROLE, DONE), "empty", id="the role alone, then DONE"),
        pytest.param(Source(ROLE, breaks=True), "cut", id="the role alone, then a cut"),
        pytest.param(Source(ERROR), "stream_error", id="an error at once"),
        pytest.param(Source(ROLE, ERROR), "stream_error", id="an error after the role"),
        pytest.param(Source(ABORT, DONE), "abort", id="an engine that is shutting down"),
        pytest.param(Source(ROLE, GARBAGE), "malformed", id="no JSON"),
        pytest.param(Source(PING, USAGE, DONE), "empty", id="usage without an answer"),
    ],
)
async def test_before_the_first_token_another_target_may_be_tried(source: Source, cause: str) -> None:
    with pytest.raises(TargetUnavailable) as caught:
        await source.reply.until_first_token(False)
    assert (caught.value.target, caught.value.cause, caught.value.saturated) == ("local/smoke", cause, False)


@pytest.mark.parametrize(
    ("source", "sent", "cause"),
    [
        pytest.param(Source(HI, THERE, ERROR), [HI, THERE], "stream_error", id="an error"),
        pytest.param(Source(HI, THERE), [HI, THERE], "cut", id="an end without DONE"),
        pytest.param(Source(HI, STOP), [HI, STOP], "cut", id="a finish without DONE"),
        pytest.param(Source(HI, breaks=True), [HI], "cut", id="a connection that broke"),
        pytest.param(Source(HI, DONE), [HI], "cut", id="DONE without a finish reason"),
        pytest.param(Source(HI, ABORT, DONE), [HI], "abort", id="an abort"),
        pytest.param(Source(HI, b'data: {"usage":{]\n\n'), [HI], "malformed", id="telling garbage"),
    ],
)
async def test_after_the_first_token_it_is_broken(source: Source, sent: list[bytes], cause: str) -> None:
    relayed, error = await relay_until_broken(source)
    assert (error.target, error.cause) == ("local/smoke", cause)
    assert relayed == sent


async def test_nothing_is_relayed_before_the_first_token() -> None:
    source = Source(ROLE, HI, STOP, DONE)
    await source.reply.until_first_token(False)
    assert source.reply.held_back == [ROLE, HI]


async def test_an_answer_without_text_is_an_answer_when_it_has_a_finish_reason() -> None:
    assert await relay(Source(ROLE, STOP, DONE)) == [ROLE, STOP, DONE]


async def test_a_whole_body_passes_the_gate() -> None:
    source = Source()
    reply = Reply("local/smoke", "application/json", source._release, body=b"{}")
    await reply.until_first_token(False)
    assert [raw async for raw in reply.rest(False)] == []
    await reply.close()
    assert source.closed == ["target"]


@pytest.mark.parametrize("read", [0, 1, 2], ids=["before a token", "after the first", "in the middle"])
async def test_closing_lets_go_of_the_target_at_once(read: int) -> None:
    source = Source(HI, THERE, STOP, DONE)
    if read > 0:
        await source.reply.until_first_token(False)
    if read > 1:
        await anext(source.reply.rest(False))
    await source.reply.close()
    assert source.closed[-1] == "target"
    assert read == 0 or source.closed == ["events", "target"]


async def test_the_target_is_let_go_even_if_closing_its_stream_fails() -> None:
    source = Source()

    async def stubborn() -> AsyncGenerator[bytes, None]:
        try:
            yield HI
        finally:
            raise OSError("the socket is gone")

    reply = Reply("local/smoke", "text/event-stream", source._release, events=stubborn())
    await reply.until_first_token(False)
    with pytest.raises(OSError, match="gone"):
        await reply.close()
    assert source.closed == ["target"]
