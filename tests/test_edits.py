"""Edits of stack.toml while the router runs: good ones count without a request dropped, bad ones are refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
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
from tests.routers import TIERS, cloud_table

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


async def comes_true(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0)


class Unloadable(Clouds):
    """Whose SDK is broken."""

    def __init__(self) -> None:
        super().__init__((), KEYS)

    def _load(self) -> None:
        raise ImportError("no such module")


async def test_a_fault_of_ours_is_told_and_the_next_edit_is_obeyed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edited = Edited(tmp_path / "stack.toml", TIERS, clouds=Unloadable())
    monkeypatch.setattr("router.edits.LOOK_EACH_S", 0.001)
    with monkeypatch.context() as patch:
        patch.setattr("router.edits.gaps", lambda *_: 1 / 0)
        keeping = asyncio.create_task(edited.edits.keep())
        await comes_true(lambda: "ZeroDivisionError" in edited.edits.refused)
    # With the first of them the clouds are loaded, which fails; the second is obeyed all the same.
    edited.path.write_text(TIERS + NEW)
    await comes_true(lambda: "new" in edited.watch.rules.tiers)
    edited.path.write_text(TIERS)
    await comes_true(lambda: "new" not in edited.watch.rules.tiers)
    assert edited.edits.refused == ""
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)


def load_rules_of(path: Path, text: str) -> Rules:
    path.write_text(text)
    return load_rules(path)
