"""A server's own tokenizer: prompts made by asking it are exact, and one that cannot be asked gets a sentence."""

from __future__ import annotations

import json
import threading
from argparse import ArgumentParser
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from typing import Any

import pytest

from benchmarks.workload.arrival import Kind
from benchmarks.workload.served import Served
from benchmarks.workload.synthetic import Synthetic
from benchmarks.workload.tokenizer import Folder
from benchmarks.workload.workload import add_arguments, arrivals_of, spec_in
from tests import vocabularies

MODEL = "a-model"


class Answering(BaseHTTPRequestHandler):
    """As vLLM answers `/tokenize` and `/v1/models`, by a folder's tokenizer."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    folder: Folder

    def do_GET(self) -> None:
        self._say(200, {"data": [{"id": MODEL}]} if self.path == "/v1/models" else {})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path != "/tokenize" or asked["model"] != MODEL:
            self._say(404, {"error": f"no {self.path} of {asked['model']}"})
        elif "messages" in asked:
            count = self.folder.counts([asked["messages"][0]["content"]], Kind.CHAT)[0]
            self._say(200, {"count": count, "tokens": [7] * count})
        elif asked["add_special_tokens"]:
            count = self.folder.counts([asked["prompt"]], Kind.COMPLETION)[0]
            self._say(200, {"count": count, "tokens": [7] * count})
        else:
            self._say(200, {"tokens": [*self.folder.ids([asked["prompt"].split()[0]])]})

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""

    def _say(self, status: int, answer: dict[str, Any]) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return Folder(vocabularies.folder_of(vocabularies.byte_level(), tmp_path_factory.mktemp("models") / "model"))


@pytest.fixture(scope="module")
def url(folder: Folder) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Answering,), {"folder": folder}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize("kind", [Kind.CHAT, Kind.COMPLETION])
def test_prompts_are_of_the_length_that_the_server_counts(url: str, folder: Folder, kind: Kind) -> None:
    synthetic = Synthetic(Served(f"{url}/v1", MODEL), kind, seed=1)
    for tokens in (20, 57, 400):
        prompt = synthetic.prompt(tokens)
        assert isinstance(prompt.content, str)
        assert (prompt.tokens, folder.counts([prompt.content], kind)) == (tokens, [tokens])


def test_the_options_reach_the_server_that_is_measured(url: str, folder: Folder) -> None:
    parser = ArgumentParser()
    parser.add_argument("--url")
    add_arguments(parser)
    arguments = ["--url", url, "--tokenizer", "server", "--input-tokens", "uniform:20-90"]
    found = list(islice(arrivals_of(spec_in(parser.parse_args(arguments))), 20))
    texts = [str(arrival.prompt.content) for arrival in found]
    assert [arrival.prompt.tokens for arrival in found] == folder.counts(texts, Kind.CHAT)


def test_ids_are_those_that_the_server_has_for_its_words(url: str, folder: Folder) -> None:
    synthetic = Synthetic(Served(url, ""), Kind.EMBEDDING, seed=1, as_ids=True)
    content = synthetic.prompt(50).content
    assert isinstance(content, tuple)
    assert set(content) <= set(folder.ids(Served(url, "").candidates()))


def test_a_server_that_cannot_be_asked_gets_a_sentence(url: str) -> None:
    with pytest.raises(ValueError, match=r"answers /tokenize with 404.*no /tokenize of another"):
        Served(url, "another").counts(["hello"], Kind.CHAT)
    with pytest.raises(ValueError, match="does not answer"):
        Served("http://127.0.0.1:9", "").counts(["hello"], Kind.CHAT)
    with pytest.raises(ValueError, match="must be an address"):
        Served("ftp://127.0.0.1", MODEL)
