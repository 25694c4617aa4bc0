"""`spillway preset` and `route` beside a router that runs: who obeys when, what is taken back, and a route of now."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from router.verbs.__main__ import main
from tests.routers import HELLO, Router, post, running_router, until
from tests.stand_ins import StandIn
from tests.test_verbs import STACK


@pytest.fixture(scope="module")
def running(tiny_engine: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Router]:
    """A router of two workers, and an engine that has two names. No cloud has a key, so none is loaded."""
    folder, url = tmp_path_factory.mktemp("verbs"), tiny_engine.url
    with running_router(folder, SERVED, {"near": url, "far": url}, {"FAR_KEY": ""}) as router:
        yield router


SERVED = STACK.replace('default = "tiny"', 'default = "near"') + "[endpoint]\nworkers = 2\n"


@pytest.fixture
def served(running: Router) -> Path:
    """Its file as it was in the beginning, and obeyed."""
    path = Path(running.get("/spillway/status")["config"]["path"])
    path.write_text(SERVED)
    until(lambda: presets(running) == {"home": 2} and not running.get("/spillway/status")["config"]["refused"])
    return path


def presets(router: Router) -> object:
    return router.get("/spillway/status")["presets"]


@dataclass(frozen=True, slots=True)
class Spoken:
    """A verb in this process, which has no key but those that a test sets."""

    router: Router
    capsys: pytest.CaptureFixture[str]

    def __call__(self, verb: str, path: Path, *more: str) -> tuple[int, str, str]:
        """(exit code, what was printed, what was printed to stderr)."""
        code = main(words(self.router, verb, path, *more))
        printed = self.capsys.readouterr()
        return code, printed.out, printed.err


@pytest.fixture
def spillway(running: Router, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Spoken:
    monkeypatch.delenv("FAR_KEY", raising=False)
    return Spoken(running, capsys)


def words(router: Router, verb: str, path: Path, *more: str) -> list[str]:
    return [verb, "--config", str(path), "--router", urlsplit(router.url).netloc, *more]


def target_of_write(router: Router) -> object:
    status, _, found = post(router, json.dumps({"model": "task/write", "messages": HELLO}).encode(), "/spillway/route")
    return (status, found["target"])


def test_a_switch_is_obeyed_by_every_worker_when_it_says_so(running: Router, served: Path) -> None:
    assert target_of_write(running) == (200, "local/near")
    # As the console script runs it, in a process that has no key.
    command = [sys.executable, "-m", "router.verbs", *words(running, "preset", served, "away")]
    environment = {name: value for name, value in os.environ.items() if name != "FAR_KEY"}
    said = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=60)
    assert (said.returncode, said.stderr) == (0, "")
    assert "obeyed after " in said.stdout
    assert presets(running) == {"away": 2}
    assert {target_of_write(running) for _ in range(8)} == {(200, "local/far")}
    assert served.read_text() == SERVED.replace("'home'", '"away"')
    status = running.get("/spillway/status")
    assert (status["preset"], status["cost_per_job"]) == ("away", {"letter": 0.0})


def test_what_the_running_router_refuses_is_taken_back(
    running: Router, served: Path, spillway: Spoken, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The key of a new cloud is set where the verb runs, and not where the router does.
    new = (
        '[clouds.new]\nmodel = "openai/new"\nkey_env = "NEW_KEY"\ninput_usd_per_mtok = 1.0\noutput_usd_per_mtok = 1.0\n'
    )
    served.write_text(SERVED + new)
    until(lambda: "NEW_KEY" in running.get("/spillway/status")["config"]["refused"])
    monkeypatch.setenv("NEW_KEY", "sk-new")
    code, _, refused = spillway("preset", served, "away")
    assert code == 1
    assert "the running router refuses it: " in refused
    assert "NEW_KEY is not set" in refused
    assert served.read_text() == SERVED + new
    assert presets(running) == {"home": 2}


def test_a_router_that_reads_another_file_is_not_waited_for(
    running: Router, served: Path, spillway: Spoken, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "stack.toml"
    path.write_text(STACK)
    monkeypatch.setenv("FAR_KEY", "sk")
    code, said, _ = spillway("preset", path, "away")
    assert code == 0
    assert f"it obeys {served}" in said
    assert presets(running) == {"home": 2}


def test_the_running_router_tells_where_a_request_would_go_and_nothing_happens(
    running: Router, served: Path, spillway: Spoken
) -> None:
    before = running.get("/spillway/decisions")
    code, said, _ = spillway("route", served, "--task", "write", "--tokens", "100", "--json")
    found = json.loads(said)
    assert (code, found["target"], found["prompt_tokens"]) == (0, "local/near", 100)
    assert not found["assumed"]
    ranks = {seen["target"]: seen["rank"] for seen in found["targets"]}
    assert ranks == {"local/near": 1, "local/far": None, "cloud/far": None}
    long = json.loads(spillway("route", served, "--model", "near", "--tokens", "9000", "--json")[1])
    assert long["refused"].startswith("400 context_length_exceeded")
    assert running.get("/spillway/decisions") == before
    assert [target["in_flight"]["requests"] for target in running.get("/spillway/status")["targets"]] == [0, 0, 0]


@pytest.mark.parametrize(
    ("body", "query", "status", "code"),
    [
        pytest.param(b"no", "", 400, "invalid_json", id="no JSON"),
        pytest.param(b'{"model": "auto"}', "", 400, "invalid_value", id="no request"),
        pytest.param(b'{"model": "task/x", "messages": [{"role": "user"}]}', "", 404, "model_not_found", id="no task"),
        pytest.param(
            b'{"model": "auto", "messages": [{"role": "user"}]}', "?tokens=-1", 400, "invalid_value", id="no count"
        ),
        pytest.param(
            b'{"model": "auto", "messages": [{"role": "user"}]}',
            f"?tokens={'9' * 5000}",
            400,
            "invalid_value",
            id="a count without end",
        ),
    ],
)
def test_what_is_no_request_is_refused_as_one(running: Router, body: bytes, query: str, status: int, code: str) -> None:
    found, _, said = post(running, body, f"/spillway/route{query}")
    assert (found, said["error"]["code"]) == (status, code)
