"""Several router processes on one port: they count together, and what kills one of them harms nobody else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from router.workers import how_ended, pause_s
from tests.reached import WORKERS, all_of, is_gone, reached, streaming, tells
from tests.routers import CHAT, HELLO, TIERS, Router, asked, cloud_table, running_router, until
from tests.stand_ins import StandIn, standing_in

CONFIG = f"[endpoint]\nworkers = {WORKERS}\n" + TIERS
PAIR = "[endpoint]\nworkers = 2\n" + TIERS


@pytest.fixture(scope="module")
def slow_engine() -> Iterator[StandIn]:
    with standing_in("engine", "--model", "slow", "--context", "512", "--step-ms", "100") as running:
        yield running


@pytest.fixture(scope="module")
def engines(tiny_engine: StandIn, slow_engine: StandIn) -> dict[str, str]:
    return {"tiny": tiny_engine.url, "slow": slow_engine.url}


@pytest.fixture(scope="module")
def errors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the shared router writes to stderr."""
    return tmp_path_factory.mktemp("errors") / "stderr"


@pytest.fixture(scope="module")
def router(engines: dict[str, str], errors: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Router]:
    """One router for all tests. Each test that kills a worker kills another one: whose has died before waits longer.

    The last test ends it.
    """
    folder = tmp_path_factory.mktemp("workers")
    with errors.open("w") as opened, running_router(folder, CONFIG, engines, errors=opened) as running:
        # Whoever is started from now on lives by the rules that the router started with.
        (folder / "stack.toml").write_text("broken")
        yield running


@pytest.fixture
def pair(tiny_engine: StandIn, tmp_path: Path) -> Iterator[Router]:
    """A router of two workers for one test, which ends it."""
    with running_router(tmp_path, PAIR, {"tiny": tiny_engine.url}) as running:
        yield running


def test_every_worker_takes_requests_and_knows_what_all_have_in_flight(router: Router) -> None:
    with all_of(router) as workers:
        assert len({worker.pid for worker in workers}) == WORKERS
        assert [worker.ask()[:2] for worker in workers] == [(200, "local/tiny")] * WORKERS
        with ExitStack() as opened:
            for number in (0, 1, 1, 2):
                opened.enter_context(streaming(router, number))
            assert [worker.in_flight() for worker in workers] == [4] * WORKERS
        until(lambda: [worker.in_flight() for worker in workers] == [0] * WORKERS)


def test_a_killed_worker_is_replaced_and_what_it_had_in_flight_no_longer_counts(router: Router, errors: Path) -> None:
    with (
        all_of(router) as (first, second, third),
        streaming(router, 0) as kept,
        streaming(router, 1),
        streaming(router, 1),
        streaming(router, 2),
    ):
        assert third.in_flight() == 4
        os.kill(second.pid, signal.SIGKILL)
        until(lambda: first.in_flight() == 2)
        assert b"chat.completion.chunk" in kept.next_chunk()
        with reached(router, 1, not_pid=second.pid) as successor:
            assert successor.in_flight() == 2
            assert successor.ask()[:2] == (200, "local/tiny")
    assert "worker 1 ended with signal SIGKILL; it is started again at once" in errors.read_text()


def test_what_a_killed_worker_had_counted_and_decided_stays(router: Router) -> None:
    with all_of(router) as (first, second, third):
        before = first.counted()
        for worker in (first, second, third, third):
            assert worker.ask()[0] == 200
        # Each shows what is new within a second, or when it is asked itself.
        until(lambda: first.counted() == before + 4)
        assert second.counted() == before + 4
        os.kill(third.pid, signal.SIGKILL)
        with reached(router, 2, not_pid=third.pid) as successor:
            assert [worker.counted() for worker in (first, second, successor)] == [before + 4] * WORKERS
            assert successor.ask()[0] == 200
            until(lambda: second.counted() == before + 5)


def test_whoever_is_asked_tells_the_decisions_of_all_the_latest_first(router: Router) -> None:
    with all_of(router) as workers:
        answered = [worker.ask()[2] for worker in workers]
        for worker in workers:
            until(partial(tells, worker, answered[::-1]))


def test_workers_say_how_many_they_are(router: Router) -> None:
    with urllib.request.urlopen(f"{router.url}/metrics", timeout=10) as response:
        assert "\nspillway_workers 3.0\n" in response.read().decode()
    assert router.get("/spillway/status")["workers"] == 3


def test_a_breaker_that_one_worker_opens_is_open_for_all(router: Router, tiny_engine: StandIn) -> None:
    with all_of(router) as (first, *others):
        # Each request is tried twice, and five failures open it, whoever saw them.
        tiny_engine.switch("500", for_requests=6)
        assert [first.ask()[0] for _ in range(3)] == [503] * 3
        assert [worker.target("local/tiny")["resting"] for worker in others] == ["500"] * len(others)
        assert others[0].ask()[:2] == (200, "local/tiny")
        until(lambda: [worker.target("local/tiny")["share"] for worker in (first, *others)] == [1.0] * WORKERS)


def test_one_requests_money_is_spent_once_whichever_workers_are_asked(tiny_engine: StandIn, tmp_path: Path) -> None:
    # What is set aside takes each byte for a token.
    each_usd = (len(HELLO[0]["role"] + str(HELLO[0]["content"])) * 0.15 + 4 * 0.60) / 1e6
    # A cloud that takes its time, so that nobody has paid yet when the others ask.
    with standing_in("cloud", "--ttft-s", "0.5", "--tokens-per-s", "2000") as cloud:
        config = PAIR + cloud_table(cloud.url) + f"[limits]\ncloud_usd_per_day = {each_usd * 1.75:.9f}\n"
        with (
            running_router(tmp_path, config, {"tiny": tiny_engine.url}) as router,
            all_of(router, 2) as workers,
            ThreadPoolExecutor(2) as users,
        ):
            until(lambda: all(worker.target("cloud/stand-in")["state"] == "ready" for worker in workers))
            answers = list(users.map(lambda worker: worker.ask("tier/premium")[:2], workers))
            assert sorted(answers) == [(200, "cloud/stand-in"), (200, "local/tiny")]
            assert cloud.stats()["requests"] == 1


def test_an_interrupted_router_ends_all_workers(pair: Router) -> None:
    with all_of(pair, 2) as workers:
        pids = [worker.pid for worker in workers]
    pair.process.send_signal(signal.SIGINT)
    assert pair.process.wait(timeout=30) == 0
    assert [is_gone(pid) for pid in pids] == [True] * 2


def test_workers_whose_parent_is_killed_go_too(pair: Router) -> None:
    with all_of(pair, 2) as workers:
        pids = [worker.pid for worker in workers]
    pair.process.kill()
    until(lambda: all(is_gone(pid) for pid in pids))


def test_a_worker_lives_by_the_rules_that_the_router_started_with(router: Router) -> None:
    with reached(router, 0) as before:
        os.kill(before.pid, signal.SIGKILL)
        with reached(router, 0, not_pid=before.pid) as successor:
            assert successor.ask()[:2] == (200, "local/tiny")


def started(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "router", "--engine", "tiny=http://127.0.0.1:9", "--workers", "2", *options]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "SPILLWAY_HOME": str(folder)},
    )


def test_what_stops_every_worker_is_said_once_and_stops_the_router(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite3").mkdir()
    ended = started(tmp_path, "--port", "0")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.count(str(tmp_path / "ledger.sqlite3")) == 1
    assert "the router does not start: its first worker ended with exit code 1" in ended.stderr


def test_a_port_that_is_taken_is_refused_by_the_parent(tmp_path: Path, router: Router) -> None:
    port = router.url.rpartition(":")[2]
    ended = started(tmp_path / "other", "--port", port)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith(f"port 127.0.0.1:{port} is taken by another program; stop it, or ")


def test_more_workers_than_may_be_are_refused(tmp_path: Path) -> None:
    ended = started(tmp_path, "--workers", "65")
    assert ended.returncode == 2
    assert "[endpoint]: workers: " in ended.stderr


@pytest.mark.parametrize(
    ("deaths", "wait_s"), [(1, 0.0), (2, 0.5), (3, 1.0), (4, 2.0), (5, 4.0), (6, 8.0), (7, 8.0), (9_999, 8.0)]
)
def test_a_worker_that_dies_again_waits_longer(deaths: int, wait_s: float) -> None:
    assert pause_s(deaths) == wait_s


@pytest.mark.parametrize(
    ("code", "words"),
    [(0, "exit code 0"), (3, "exit code 3"), (-9, "signal SIGKILL"), (-64, "signal SIGRTMAX"), (-99, "signal 99")],
)
def test_an_end_is_told_in_words(code: int, words: str) -> None:
    assert how_ended(code) == words


def test_told_to_stop_all_workers_finish_what_runs_and_go(router: Router) -> None:
    # The last to ask the shared router.
    with all_of(router) as workers:
        pids = [worker.pid for worker in workers]
    with reached(router, 1) as worker:
        worker.connection.request("POST", CHAT, asked("slow", stream=True, max_tokens=10))
        response = worker.connection.getresponse()
        assert b"data: " in response.readline()
        router.process.send_signal(signal.SIGTERM)
        assert b"data: [DONE]" in response.read()
    assert router.process.wait(timeout=30) == 0
    assert [is_gone(pid) for pid in pids] == [True] * WORKERS
