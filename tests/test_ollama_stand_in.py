"""The stand-in for Ollama has the traps of the real one: a process of its own, asked as its clients ask it."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.ports import unused_port
from tests.routers import until
from tests.running_ollama import NAME, add_model
from tests.stand_in_ollama import binary, switch
from tests.stand_in_registry import standing_in_registry

LIMIT_S = 30


@dataclass(frozen=True)
class Served:
    """A server that runs, and the folder of its switches."""

    port: int
    state: Path

    def ask(self, path: str, body: dict[str, Any] | None = None, host: str = "localhost") -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LIMIT_S)
        try:
            method = "GET" if body is None else "POST"
            connection.request(method, path, None if body is None else json.dumps(body), {"host": host})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def complete(self, model: str = NAME) -> tuple[int, str]:
        return self.ask("/v1/completions", {"model": model, "prompt": "Hello", "max_tokens": 2})

    def load(self, **options: int) -> tuple[int, str]:
        return self.ask("/api/generate", {"model": NAME, "options": options})

    def asked(self, path: str) -> int:
        """How many requests came for this address so far."""
        return (self.state / "asked.jsonl").read_text().count(f'"{path}"')

    def is_up(self) -> bool:
        try:
            return self.ask("/api/version")[0] == 200
        except OSError:
            return False


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """With two slots, a queue for one more load, and a model that was pulled."""
    folder = tmp_path_factory.mktemp("ollama")
    ours = Served(unused_port(), folder)
    variables = {"OLLAMA_HOST": f"127.0.0.1:{ours.port}", "OLLAMA_MODELS": str(folder / "models"), "NO_PROXY": "*"}
    variables |= {"OLLAMA_NUM_PARALLEL": "2", "OLLAMA_MAX_QUEUE": "1", "OLLAMA_NO_CLOUD": "1"}
    with (
        standing_in_registry() as registry,
        subprocess.Popen([binary(folder), "serve"], env={**os.environ, **variables}) as process,
    ):
        try:
            add_model(registry)
            until(ours.is_up)
            source = f"{registry.url.removeprefix('http://')}/library/{NAME}"
            assert '"status": "success"' in ours.ask("/api/pull", {"model": source, "insecure": True})[1]
            assert ours.ask("/api/copy", {"source": source, "destination": NAME})[0] == 200
            yield ours
        finally:
            process.terminate()


def test_another_host_in_the_header_is_forbidden(served: Served) -> None:
    assert served.ask("/api/version", host="example.com")[0] == 403
    assert served.ask("/api/version", host=f"127.0.0.1:{served.port}")[0] == 200


def test_a_pull_says_its_error_after_a_status_that_is_good(served: Served) -> None:
    status, said = served.ask("/api/pull", {"model": "127.0.0.1:1/library/none:1", "insecure": True})
    assert status == 200
    assert "error" in json.loads(said.splitlines()[-1])


@pytest.mark.parametrize("name", ["gpt-oss:120b-cloud", "gpt-oss:cloud"])
def test_models_of_the_cloud_are_off(served: Served, name: str) -> None:
    status, said = served.complete(name)
    assert status == 403
    assert json.loads(said)["error"]["message"] == "ollama cloud is disabled: remote model is unavailable"


def test_a_model_that_is_not_there_has_an_error_in_both_dialects(served: Served) -> None:
    assert served.ask("/api/generate", {"model": "none:1"}) == (404, '{"error": "model \'none:1\' not found"}')
    assert json.loads(served.complete("none:1")[1])["error"]["type"] == "not_found_error"


def test_requests_beyond_its_slots_wait_and_are_not_refused(served: Served, tmp_path: Path) -> None:
    assert served.load()[0] == 200
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    switch(served.state, reply_gate=str(gate))
    before = served.asked("/v1/completions")
    with ThreadPoolExecutor() as pool:
        asked = [pool.submit(served.complete) for _ in range(3)]
        until(lambda: served.asked("/v1/completions") == before + 3)
        assert not any(each.done() for each in asked)
        switch(served.state)
        until(lambda: _opened(gate, asked))
    assert [each.result()[0] for each in asked] == [200, 200, 200]


def test_only_those_who_wait_for_a_load_are_refused(served: Served, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    switch(served.state, load_gate=str(gate))
    with ThreadPoolExecutor() as pool:
        asked = [pool.submit(served.load, num_ctx=8192) for _ in range(3)]
        until(lambda: any(each.done() for each in asked))
        refused = next(each for each in asked if each.done())
        assert (refused.result()[0], "maximum pending requests exceeded" in refused.result()[1]) == (503, True)
        switch(served.state)
        until(lambda: _opened(gate, asked))
    assert sorted(each.result()[0] for each in asked) == [200, 200, 503]


def _opened(gate: Path, asked: list[Future[tuple[int, str]]]) -> bool:
    """Let pass whoever waits at the gate now; whether all are through."""
    try:
        os.close(os.open(gate, os.O_WRONLY | os.O_NONBLOCK))
    except OSError:
        # Nobody waits there at this moment.
        return all(each.done() for each in asked)
    return False
