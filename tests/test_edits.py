"""Edits of stack.toml while the router runs: good ones count without a request dropped, bad ones are refused."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from router.clouds.cloud import Clouds
from router.edits import Edits
from router.outbox import Outbox
from router.tables.kept import keep_rules, keep_rules_in, kept_rules
from router.tables.read import load_rules
from router.tables.rules import Rules
from router.upstream import Upstream
from router.watch import Watch
from tests.callers import heard, request
from tests.reached import Worker, all_of
from tests.routers import TIERS, asked, cloud_table, running_router, until
from tests.scripted import DONE, HI, LAST, STOP, STREAM_HEAD, Line, framed
from tests.stand_ins import StandIn
from tests.test_sse import ROLE, USAGE
from tests.wired import Wired, wired

KEYS = {"STAND_IN_KEY": "sk-1"}
NEW = "[tiers.new]\nttft_target_s = 3.0\n"


class Edited:
    """A stack.toml and those who obey it, without a process."""

    def __init__(self, path: Path, text: str, rules_fd: int | None = None, clouds: Clouds | None = None) -> None:
        self.path = path
        path.write_text(text)
        rules = load_rules(path)
        self.watch, self.clouds = Watch(rules, environment=KEYS), clouds or Clouds((), KEYS)
        self.upstream = Upstream(rules.limits, Outbox())
        self.edits = Edits(path, self.watch, self.clouds, self.upstream, rules_fd)

    def edit(self, text: str) -> bool:
        self.path.write_text(text)
        return self.edits.look()


@pytest.fixture
def edited(tmp_path: Path) -> Edited:
    return Edited(tmp_path / "stack.toml", TIERS)


def test_a_file_that_is_not_edited_changes_nothing(edited: Edited) -> None:
    assert not edited.edits.look()
    assert not edited.edit(TIERS)
    assert not edited.edit(TIERS + "# a remark\n")
    assert not edited.edit(TIERS + "[gpus]\nreserve_gib = 2.0\n")
    assert edited.edits.refused == ""


def test_tiers_limits_and_clouds_are_obeyed_together(edited: Edited) -> None:
    assert edited.edit(TIERS + NEW + cloud_table("http://127.0.0.1:9") + "[limits]\nconnect_s = 7.0\n")
    assert "new" in edited.watch.rules.tiers
    assert edited.upstream.limits.connect_s == 7.0
    (cloud,) = edited.watch.view(0.0).targets
    assert (cloud.name, cloud.off) == ("cloud/stand-in", "starting: its SDK is being loaded")
    assert edited.edit(TIERS)
    assert edited.watch.view(0.0).targets == ()


@pytest.mark.parametrize(
    ("text", "word"),
    [
        pytest.param("tiers = ", "TOML", id="no TOML"),
        pytest.param(TIERS.replace("order", "ordre"), "ordre", id="an unknown key"),
        pytest.param(TIERS + "[limits]\ndefault_tier = 'gone'\n", "gone", id="a tier that is not there"),
        pytest.param("ÿþ", "stack.toml", id="no table"),
    ],
)
def test_a_bad_edit_is_refused_until_it_is_mended(edited: Edited, text: str, word: str) -> None:
    before = edited.watch.rules
    assert not edited.edit(text)
    assert word in edited.edits.refused
    assert edited.watch.rules is before
    assert not edited.edit(TIERS)
    assert edited.edits.refused == ""


PRESETS = """
[models.tiny]
[models.big]
[tasks.think]
tier = "standard"
[presets.frugal]
default = "tiny"
[presets.lavish]
default = "big"
[jobs.page.tasks.think]
prompt_tokens = 1000000
"""


def with_preset(name: str) -> str:
    return f'active_preset = "{name}"\n{TIERS}{PRESETS}'


def test_a_preset_is_switched_by_one_line(edited: Edited) -> None:
    assert edited.edit(with_preset("frugal"))
    assert edited.watch.rules.preset == edited.watch.rules.presets["frugal"]
    assert edited.edit(with_preset("lavish"))
    assert edited.watch.rules.preset == edited.watch.rules.presets["lavish"]


@pytest.mark.parametrize(
    ("more", "hole"),
    [
        pytest.param(
            "[chains.tiny]\nfallbacks = ['tine']\n", '"tine" runs nowhere; did you mean "tiny"?', id="a model"
        ),
        pytest.param(
            cloud_table("http://127.0.0.1:9").replace("STAND_IN_KEY", "NO_KEY"), "NO_KEY is not set", id="a key"
        ),
        pytest.param(
            '[clouds.own]\nmodel = "openai/own"\nkey_env = "STAND_IN_KEY"\n', "the price of openai/own", id="a price"
        ),
    ],
)
def test_an_edit_with_a_hole_is_refused_and_the_hole_is_named(edited: Edited, more: str, hole: str) -> None:
    assert edited.edit(with_preset("frugal"))
    before = edited.watch.rules
    assert not edited.edit(with_preset("lavish") + more)
    assert hole in edited.edits.refused
    assert str(edited.path) in edited.edits.refused
    assert edited.watch.rules is before
    assert edited.edit(with_preset("lavish"))
    assert edited.edits.refused == ""


def test_models_of_engines_that_no_table_names_are_no_hole(tmp_path: Path) -> None:
    edited = Edited(tmp_path / "stack.toml", TIERS)
    assert edited.edit(TIERS + "[tiers.new]\nttft_target_s = 3.0\nfallbacks = ['theirs']\n")
    assert not edited.edit(TIERS + "[models.tiny]\n[tiers.new]\nttft_target_s = 3.0\nfallbacks = ['theirs']\n")
    assert '"theirs" runs nowhere' in edited.edits.refused


def test_a_file_that_is_gone_for_a_moment_changes_nothing(edited: Edited) -> None:
    edited.path.unlink()
    assert not edited.edits.look()
    assert "cannot be read" in edited.edits.refused
    assert not edited.edit(TIERS)
    assert edited.edits.refused == ""


def test_what_a_running_router_cannot_change_stays(edited: Edited) -> None:
    before = edited.watch.rules
    assert edited.edit(TIERS + NEW + "[endpoint]\nport = 9999\nworkers = 3\n[limits]\ndrain_s = 29.0\n")
    assert edited.watch.rules.endpoint == before.endpoint
    assert edited.watch.rules.limits.drain_s == before.limits.drain_s


def test_a_worker_that_starts_later_finds_the_rules_that_were_obeyed_last(tmp_path: Path) -> None:
    path = tmp_path / "stack.toml"
    path.write_text(TIERS)
    fd = keep_rules(load_rules(path))
    edited = Edited(path, TIERS, fd)
    edited.edit(TIERS + NEW)
    edited.edit("broken")
    assert "new" in kept_rules(fd).tiers
    keep_rules_in(fd, load_rules_of(path, TIERS))
    assert "new" not in kept_rules(fd).tiers


class Loading(Clouds):
    """Clouds whose SDK never comes to an end of being loaded."""

    def __init__(self) -> None:
        super().__init__((), KEYS)
        self.has_begun = asyncio.Event()

    async def warm(self) -> None:
        self.has_begun.set()
        await asyncio.Event().wait()


async def test_an_edit_is_obeyed_while_the_clouds_are_still_being_loaded(tmp_path: Path) -> None:
    clouds, changed = Loading(), asyncio.Event()
    edited = Edited(tmp_path / "stack.toml", TIERS, clouds=clouds)
    edited.path.write_text(TIERS + cloud_table("http://127.0.0.1:9"))
    keeping = asyncio.create_task(edited.edits.keep())
    await asyncio.wait_for(clouds.has_begun.wait(), 20)
    edited.watch.on_change = changed.set
    edited.path.write_text(TIERS + NEW)
    await asyncio.wait_for(changed.wait(), 20)
    assert "new" in edited.watch.rules.tiers
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)


def load_rules_of(path: Path, text: str) -> Rules:
    path.write_text(text)
    return load_rules(path)


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wired]:
    with wired(tmp_path_factory.mktemp("edits"), tiers=with_preset("frugal")) as running:
        yield running


def test_a_stream_under_way_lives_through_an_edit_that_takes_its_tier_away(wire: Wired) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def held(line: Line) -> None:
        line.send(STREAM_HEAD + framed(ROLE, HI))
        begun.set()
        assert go_on.wait(20)
        line.send(framed(STOP, USAGE, DONE) + LAST)

    wire.engine.script = held
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(heard, wire.url, request(asked(stream=True), "x-spillway-tier: bulk"))
        assert begun.wait(20)
        (wire.folder / "stack.toml").write_text(NEW + "[limits]\ndefault_tier = 'new'\n")
        until(lambda: [tier["name"] for tier in wire.router.get("/spillway/status")["tiers"]] == ["new"])
        go_on.set()
        assert answer.result().body == ROLE + HI + STOP + DONE
    refused = heard(wire.url, request(asked(), "x-spillway-tier: bulk"))
    assert (refused.status, refused.code) == (404, "model_not_found")


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
