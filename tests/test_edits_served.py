"""Edits of stack.toml, obeyed by routers as processes: what clients, those who look and siblings notice of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.callers import Heard, heard, request
from tests.reached import Worker, all_of
from tests.routers import TIERS, asked, cloud_table, running_router, until
from tests.scripted import DONE, HI, LAST, STOP, STREAM_HEAD, Line, answered, framed
from tests.stand_ins import StandIn
from tests.test_edits import NEW, with_preset
from tests.test_sse import ROLE, USAGE
from tests.wired import Wired, wired


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wired]:
    with wired(tmp_path_factory.mktemp("edits"), tiers=with_preset("frugal")) as running:
        yield running


def obeyed(wire: Wired, text: str, last_tier: str) -> None:
    """Until this is what the router obeys."""
    (wire.folder / "stack.toml").write_text(text)
    until(lambda: wire.router.get("/spillway/status")["tiers"][-1]["name"] == last_tier)


def over_the_end_of_its_tier(wire: Wired, first: bytes, last: bytes, stream: bool) -> Heard:
    """What comes of a request if an edit takes its tier away between these two pieces of the engine's answer."""
    begun, go_on = threading.Event(), threading.Event()

    def held(line: Line) -> None:
        line.send(first)
        begun.set()
        assert go_on.wait(20)
        line.send(last)

    obeyed(wire, TIERS, "premium")
    wire.engine.script = held
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(heard, wire.url, request(asked(stream=stream), "x-spillway-tier: bulk"))
        assert begun.wait(20)
        obeyed(wire, NEW + "[limits]\ndefault_tier = 'new'\n", "new")
        go_on.set()
        return answer.result()


def test_a_stream_under_way_lives_through_an_edit_that_takes_its_tier_away(wire: Wired) -> None:
    first, last = STREAM_HEAD + framed(ROLE, HI), framed(STOP, USAGE, DONE) + LAST
    assert over_the_end_of_its_tier(wire, first, last, stream=True).body == ROLE + HI + STOP + DONE
    refused = heard(wire.url, request(asked(), "x-spillway-tier: bulk"))
    assert (refused.status, refused.code) == (404, "model_not_found")


def test_a_request_that_failed_meanwhile_is_refused_in_words(wire: Wired) -> None:
    failed = over_the_end_of_its_tier(wire, b"", answered(b'{"error":"no"}', "500 Broken"), stream=False)
    assert (failed.status, failed.code) == (503, "no_target")


def test_a_bad_edit_is_shown_and_the_old_rules_stay(wire: Wired) -> None:
    before = wire.router.get("/spillway/status")["tiers"]
    (wire.folder / "stack.toml").write_text("[tiers.new]\nttft_target_s = 'soon'\n")
    until(lambda: "ttft_target_s" in wire.router.get("/spillway/status")["config"]["refused"])
    assert wire.router.get("/spillway/status")["tiers"] == before
    assert "refused" in wire.log


def test_a_cloud_that_is_new_serves(wire: Wired, fast_cloud: StandIn) -> None:
    (wire.folder / "stack.toml").write_text(TIERS + cloud_table(fast_cloud.url))
    until(lambda: [each["state"] for each in wire.router.get("/spillway/status")["clouds"]] == ["on"])
    answer = heard(wire.url, request(asked("tier/premium")))
    assert (answer.status, answer.one("x-spillway-target")) == (200, "cloud/stand-in")


def test_the_cost_of_a_job_is_told_at_the_start_and_after_every_switch(wire: Wired) -> None:
    cloud = cloud_table("http://127.0.0.1:9", serves="big")
    (wire.folder / "stack.toml").write_text(with_preset("lavish").replace("[models.big]\n", "") + cloud)
    until(lambda: "preset=lavish" in wire.log)
    said = [line for line in wire.log.splitlines() if "what a job costs" in line]
    assert [line.split("job=")[1] for line in said] == [
        "page preset=frugal usd=0.0",
        "page preset=lavish usd=0.15",
    ]


def test_all_workers_obey(tiny_engine: StandIn, tmp_path: Path) -> None:
    config = "[endpoint]\nworkers = 3\n" + TIERS
    with running_router(tmp_path, config, {"tiny": tiny_engine.url}) as router, all_of(router) as workers:
        (tmp_path / "stack.toml").write_text(config + NEW)
        until(lambda: all(knows(worker, "new") for worker in workers))
        assert [worker.ask("tier/new")[:2] for worker in workers] == [(200, "local/tiny")] * 3


def knows(worker: Worker, tier: str) -> bool:
    return tier in [each["name"] for each in worker.get("/spillway/status")["tiers"]]
