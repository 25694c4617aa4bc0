"""Vectors: `/v1/embeddings` at engines and at clouds, and nobody who makes text is asked for them, nor the reverse."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import openai
import pytest
from msgspec.structs import replace

from engines.snapshot import ModelView
from router.ask import Endpoint, read_ask
from router.errors import ApiError
from router.ids import new_id
from router.routing.filters import IS_CAPABLE, sieve
from tests.callers import heard, request
from tests.providers import RunningProvider, deployment
from tests.routers import TIERS, until
from tests.scripted import Line, ScriptedEngine, answered, scripted_engine
from tests.specimens import CLOUD, LOCAL, RULES
from tests.told import Told, engine, told

PATH = "/v1/embeddings"
CITIES = ["Oslo", "Rome", "Bern"]
VECTORS = json.dumps(
    {
        "object": "list",
        "data": [{"object": "embedding", "index": at, "embedding": [0.25, at]} for at in range(3)],
        "model": "tiny",
        "usage": {"prompt_tokens": 6, "total_tokens": 6},
    }
).encode()
PLACES = {
    "gemini": "gemini/gemini-embedding-001",
    "mistral": "mistral/mistral-embed",
    "together_ai": "together_ai/BAAI/bge-large-en-v1.5",
    "nebius": "nebius/BAAI/bge-en-icl",
    "sambanova": "sambanova/E5-Mistral-7B-Instruct",
    "somebody": "openai/their-embedder",
}
DAY = "[limits]\ncloud_usd_per_day = 5.0\n"


def gives_vectors(line: Line) -> None:
    line.send(answered(VECTORS))


@pytest.fixture(scope="module")
def embedder() -> Iterator[ScriptedEngine]:
    with scripted_engine() as running:
        running.script = gives_vectors
        yield running


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("embeddings")


@pytest.fixture(scope="module")
def running(home: Path, embedder: ScriptedEngine, provider: RunningProvider) -> Iterator[Told]:
    clouds = "".join(
        deployment(provider.url, name, model=model, capabilities=["embeddings"], output_usd_per_mtok=0.0)
        for name, model in PLACES.items()
    )
    writer = deployment(provider.url, "openai", capabilities=["chat"], serves=["writer"])
    views = (ModelView("tiny", 512, ("embeddings",), None),)
    with told(home, config=DAY + clouds + writer, tiers=TIERS) as router:
        router.teller.say(router.router, engine(embedder.url), models=views)
        yield router


@pytest.fixture
def client(running: Told) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{running.router.url}/v1", api_key="unused", max_retries=0, timeout=20) as made:
        yield made


def body(model: str = "tiny", **more: Any) -> bytes:
    return json.dumps({"model": model, "input": CITIES} | more).encode()


def test_an_engine_s_vectors_come_as_they_are(running: Told, embedder: ScriptedEngine) -> None:
    answer = heard(running.router.url, request(body(), path=PATH))
    assert (answer.status, answer.body) == (200, VECTORS)
    assert (answer.one("x-spillway-target"), answer.one("x-spillway-usd")) == ("local/tiny", "0")
    asked = embedder.asked[-1]
    assert asked.line == "POST /v1/embeddings HTTP/1.1"
    assert json.loads(asked.body) == {"model": "tiny", "input": CITIES}


def test_openai_s_own_client_reads_them(client: openai.OpenAI) -> None:
    answer = client.embeddings.create(model="tiny", input=CITIES, encoding_format="float")
    assert [each.embedding for each in answer.data] == [[0.25, 0.0], [0.25, 1.0], [0.25, 2.0]]


@pytest.mark.parametrize("name", PLACES)
def test_a_cloud_s_vectors_come_in_order_and_are_paid_for(
    client: openai.OpenAI, provider: RunningProvider, name: str
) -> None:
    provider.asked()
    raw = client.embeddings.with_raw_response.create(model=f"via-{name}", input=["Oslo", "Rom"])
    vectors = [each.embedding for each in raw.parse().data]
    assert [vector[0] for vector in vectors] == [4.0, 3.0]
    assert {len(vector) for vector in vectors} == {4}
    assert raw.headers["x-spillway-target"] == f"cloud/{name}"
    assert float(raw.headers["x-spillway-usd"]) > 0
    (asked,) = provider.asked()
    assert asked["path"].startswith(f"/{name}/")
    assert "Oslo" in json.dumps(asked["body"])


def test_they_are_written_into_the_books(running: Told, home: Path) -> None:
    name = new_id()
    assert heard(running.router.url, request(body(), f"x-request-id: {name}", path=PATH)).status == 200

    def row() -> tuple[int, int] | None:
        with closing(sqlite3.connect(home / "home" / "ledger.sqlite3", timeout=20)) as books:
            found = books.execute(
                "SELECT prompt_tokens, completion_tokens FROM outcome WHERE request_id = ?", (name,)
            ).fetchone()
        return None if found is None else (found[0], found[1])

    until(lambda: row() is not None)
    assert row() == (6, 0)


def test_who_makes_text_is_not_asked_for_vectors(running: Told) -> None:
    answer = heard(running.router.url, request(body("writer"), path=PATH))
    assert (answer.status, answer.code) == (400, "unsupported_capability")
    assert "embeddings" in answer.json["error"]["message"]


@pytest.mark.parametrize("name", ["tiny", "via-mistral"])
def test_who_makes_vectors_is_not_asked_for_text(running: Told, name: str) -> None:
    words = [{"role": "user", "content": "Where?"}]
    answer = heard(running.router.url, request(json.dumps({"model": name, "messages": words}).encode()))
    assert (answer.status, answer.code) == (400, "unsupported_capability")


def test_a_batch_is_longer_than_the_context_of_each_text() -> None:
    ask = read_ask(body("auto", input=["a text of some length"] * 2000), {}, Endpoint.EMBEDDING, RULES)
    target = replace(LOCAL, capabilities=frozenset({"embeddings"}), context_tokens=512)
    assert sieve(ask, [target])[0] == [target]


def test_only_who_can_is_left() -> None:
    vectors = read_ask(body("auto"), {}, Endpoint.EMBEDDING, RULES)
    text = read_ask(json.dumps({"model": "auto", "prompt": "x"}).encode(), {}, Endpoint.COMPLETION, RULES)
    writes = LOCAL
    embeds = replace(CLOUD, capabilities=frozenset({"embeddings"}), only_embeds=True)
    assert sieve(vectors, [writes, embeds]) == ([embeds], [(IS_CAPABLE, writes)])
    assert sieve(text, [writes, embeds]) == ([writes], [(IS_CAPABLE, embeds)])


@pytest.mark.parametrize(
    ("given", "prompt_bytes"),
    [("Oslo", 4), (CITIES, 12), ([1, 2, 3], 12), ([[1, 2], [3]], 12)],
    ids=["a text", "texts", "token ids", "lists of token ids"],
)
def test_what_is_to_be_read_is_measured(given: object, prompt_bytes: int) -> None:
    ask = read_ask(body(input=given), {}, Endpoint.EMBEDDING, RULES)
    assert (ask.prompt_bytes, ask.answers, ask.needs) == (prompt_bytes, 0, frozenset({"embeddings"}))


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (b'{"model":"tiny"}', "input: is missing"),
        (body(input=[]), "input: expected a text"),
        (body(input=""), "input: expected a text"),
        (body(input=["a", 1]), "not a mixture"),
        (body(input={"a": 1}), "input"),
    ],
    ids=["no input", "an empty list", "an empty text", "a mixture", "an object"],
)
def test_what_is_no_input_is_refused(raw: bytes, sentence: str) -> None:
    with pytest.raises(ApiError, match=sentence) as caught:
        read_ask(raw, {}, Endpoint.EMBEDDING, RULES)
    assert (caught.value.status, caught.value.param) == (400, "input")


def test_a_stream_of_vectors_there_is_none() -> None:
    assert not read_ask(body(stream=True), {}, Endpoint.EMBEDDING, RULES).stream
