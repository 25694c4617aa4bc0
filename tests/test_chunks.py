"""Plain chunks pass untouched; what is not surely plain takes the long way, which gives the client the same bytes."""

from __future__ import annotations

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.chunks import LAST_CHUNK, framed, plain_chunks
from router.reply import Reading
from router.sse import DONE
from tests.test_sse import ROLE, USAGE, chunk

HI = chunk(content="Hi")
STOP = chunk(finish="stop")
ERROR = b'data: {"error":{"message":"EngineCore died"}}\n\n'
PLAIN = st.text(max_size=40).map(lambda text: chunk(content=text))
ANY = st.one_of(PLAIN, st.sampled_from([ROLE, STOP, USAGE, ERROR, DONE, b": ping\n\n", b"data: x\n\n", b"\n", b"{}"]))


def unframed(data: bytes) -> bytes:
    """The body in these chunks, as a parser reads it that knows nothing of plain ones."""
    pieces: list[bytes] = []

    class Response:
        def on_body(self, body: bytes) -> None:
            pieces.append(body)

    parser = httptools.HttpResponseParser(Response())
    parser.feed_data(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + data)
    return b"".join(pieces)


@given(events=st.lists(PLAIN, min_size=1, max_size=8))
def test_whole_chunks_of_one_content_event_each_are_plain(events: list[bytes]) -> None:
    data = b"".join([framed(event) for event in events])
    assert plain_chunks(data) == len(events)
    assert unframed(data) == b"".join(events)


@given(chunks=st.lists(st.lists(ANY, min_size=1, max_size=3).map(b"".join), min_size=1, max_size=4))
def test_what_is_plain_says_nothing_that_had_to_be_read(chunks: list[bytes]) -> None:
    data = b"".join([framed(each) for each in chunks])
    if (count := plain_chunks(data)) == 0:
        return
    reading = Reading("local/smoke", show_usage=False)
    reading.feed(HI)
    assert reading.feed(unframed(data)) == b"".join(chunks)
    assert (reading.failure, reading.ended, reading.finish_reason, reading.spoken) == (None, False, None, 1 + count)


@pytest.mark.parametrize("border", range(1, len(framed(HI))))
def test_half_a_chunk_is_not_plain(border: int) -> None:
    whole = framed(HI)
    assert [plain_chunks(whole[:border]), plain_chunks(whole + whole[:border]), plain_chunks(whole[border:])] == [
        0,
        0,
        0,
    ]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(framed(STOP), id="the last token"),
        pytest.param(framed(USAGE), id="usage"),
        pytest.param(framed(ERROR), id="an error"),
        pytest.param(framed(DONE), id="DONE"),
        pytest.param(LAST_CHUNK, id="the end"),
        pytest.param(framed(HI) + LAST_CHUNK, id="a token and the end"),
        pytest.param(framed(HI + ERROR), id="an error behind a token in one chunk"),
        pytest.param(framed(ERROR + HI), id="an error before a token in one chunk"),
        pytest.param(framed(HI.replace(b"null", b'null,"finish_reason":"stop"')), id="two reasons, the last one final"),
        pytest.param(
            framed(HI.replace(b"null", b'"stop","finish_reason":null')), id="two reasons, the first one final"
        ),
        pytest.param(framed(b'data: {"a":null,"choices":[]}\n\n'), id="no reason"),
        pytest.param(framed(HI.replace(b"data: ", b"data: {}\ndata: ")), id="an event of two lines"),
        pytest.param(framed(HI[:-1]), id="an event that goes on in the next chunk"),
        pytest.param(framed(HI[5:]), id="the rest of an event"),
        pytest.param(framed(HI.replace(b"\n\n", b"\r\n\r\n")), id="other line ends"),
        pytest.param(b"+" + framed(HI), id="a signed size"),
        pytest.param(b"0x" + framed(HI), id="a size that Python would take"),
        pytest.param(b"0" + framed(HI), id="a size with a zero before it"),
        pytest.param(framed(HI).replace(b"\r\n", b";x=1\r\n", 1), id="a chunk extension"),
        pytest.param(framed(HI).replace(b"\r\n", b"\n", 1), id="a bare line feed"),
        pytest.param(framed(HI)[:-2] + b"\n\n" + framed(HI), id="no line end behind a chunk"),
        pytest.param(framed(chunk(content="x" * 5000)), id="a long event"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_anything_else_is_read(data: bytes) -> None:
    assert plain_chunks(data) == 0
