"""Planning anew beside a running supervisor: the process that does it, and when it is begun."""

from __future__ import annotations

import asyncio
import fcntl
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from engines.home import last_plan, make_home, plan_path
from engines.plan import Plan, Source
from engines.reign.errand import Ended, run_errand
from engines.reign.replanning import BUSY, REFUSED, PlannerBusyError, decline, only_planner, write_plan
from engines.reign.replans import FIRST_WAIT_S, LOOK_EVERY_S, Replans, digest_of
from engines.runtime import MARKER, runtime
from tests.stacks import Place, place_in
from tests.supervised import engine_plan, plan_of


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A home, a stack.toml, and a runtime for the processor that looks installed."""
    made = place_in(tmp_path, {"SPILLWAY_RUNTIMES": str(tmp_path / "runtimes")})
    make_home(made.home)
    root = runtime("vllm-cpu", made.variables).root
    (root / "bin").mkdir(parents=True)
    (root / "bin" / "python").symlink_to(sys.executable)
    (root / MARKER).touch()
    return made


def replan(place: Place, *words: str) -> subprocess.CompletedProcess[str]:
    lock = Path(__file__).parents[1] / "models.lock"
    command = [
        sys.executable,
        "-m",
        "engines.reign.replanning",
        "--home",
        str(place.home),
        "--config",
        str(place.config),
    ]
    command += ["--lock", str(lock), "--profile", "cpu", *words]
    return subprocess.run(command, env=place.environment(), capture_output=True, text=True, check=False)


def test_a_plan_is_written_once_and_again_only_when_something_changed(place: Place) -> None:
    assert replan(place).stdout == "planned anew\n"
    plan = last_plan(place.home)
    assert plan
    assert plan.source
    assert (plan.source.config, plan.source.profile, plan.without) == (str(place.config), "cpu", ())
    assert replan(place).stdout == "nothing to change\n"
    assert replan(place, "--without", "GPU-1").stdout == "planned anew\n"
    assert [path.name for path in place.home.glob("plan.json*")] == ["plan.json"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        pytest.param("max_num_seqs", "max_seqs", "max_seqs is unknown", id="a mistake in the engines' tables"),
        pytest.param("may_spill", "may_spil", "may_spil", id="a mistake in the router's tables"),
        pytest.param("[models.smoke]", "[models.smoke", "stack.toml", id="half a file"),
    ],
)
def test_what_cannot_be_planned_is_refused_in_words_and_the_old_plan_stays(
    place: Place, old: str, new: str, words: str
) -> None:
    plan_path(place.home).write_text("the old plan")
    place.config.write_text(place.config.read_text().replace(old, new, 1))
    said = replan(place)
    assert (said.returncode, words in said.stderr, "Traceback" in said.stderr) == (REFUSED, True, False)
    assert plan_path(place.home).read_text() == "the old plan"


def test_a_runtime_that_is_not_installed_is_left_to_up(place: Place) -> None:
    (runtime("vllm-cpu", place.variables).root / MARKER).unlink()
    said = replan(place)
    assert (said.returncode, "Run `spillway up`." in said.stderr) == (REFUSED, True)


def test_a_missing_file_is_named(place: Place) -> None:
    place.config.unlink()
    said = replan(place)
    assert (said.returncode, str(place.config) in said.stderr, "Traceback" in said.stderr) == (REFUSED, True, False)


def test_only_one_plans_at_a_time(place: Place) -> None:
    with (place.home / "up.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(PlannerBusyError), only_planner(place.home, 0.0):
            pass
        assert replan(place).returncode == BUSY


def test_a_plan_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_plan(tmp_path, "old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("engines.reign.replanning.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_plan(tmp_path, "new")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


class Watched:
    """A plan made from two files, and what is done when it is asked for another, with a clock of its own."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.config, self.lock = folder / "stack.toml", folder / "models.lock"
        self.config.write_text("one")
        self.lock.write_text("one")
        source = Source(str(self.config), str(self.lock), "cpu")
        self.plan: Plan = replace(plan_of(engine_plan("one")), source=source)
        self.asked: list[list[str]] = []
        self.ends = Ended(0, "")
        self.now_s = 100.0
        monkeypatch.setattr("engines.reign.replans.run_errand", self._run)
        self.said: list[str] = []
        self.replans = Replans(folder, set(), self.said.append)
        self.replans.accept(self.plan, is_newest=True)

    async def _run(self, words: list[str], spared: set[int], tell: Callable[[str], None]) -> Ended:
        self.asked.append(words)
        return self.ends

    async def wait(self, seconds: float, *closed: str) -> int:
        """How often there was another plan meanwhile."""
        found = 0
        for _ in range(round(seconds / 0.25)):
            self.now_s += 0.25
            found += self.replans.tick(self.plan, closed, self.now_s)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        return found


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(tmp_path, monkeypatch)


async def test_nothing_is_planned_while_nothing_changes(watched: Watched) -> None:
    watched.config.write_text("one")
    assert (await watched.wait(60), watched.asked) == (0, [])


@pytest.mark.parametrize("name", ["config", "lock"])
async def test_a_changed_file_is_planned_from_once(watched: Watched, name: str) -> None:
    getattr(watched, name).write_text("two")
    assert await watched.wait(3 * LOOK_EVERY_S + 1) == 1
    assert await watched.wait(60) == 0
    assert (len(watched.asked), watched.asked[0][:2]) == (1, ["-m", "engines.reign.replanning"])


async def test_a_file_that_is_still_being_written_is_waited_for(watched: Watched) -> None:
    for text in ("t", "tw", "two"):
        watched.config.write_text(text)
        await watched.wait(LOOK_EVERY_S)
    assert watched.asked == []
    assert await watched.wait(2) == 1


async def test_a_refusal_is_told_until_the_file_is_mended_and_tried_again_less_and_less(watched: Watched) -> None:
    watched.ends = Ended(REFUSED, "stack.toml: it does not fit")
    watched.config.write_text("two")
    assert await watched.wait(4) == 0
    assert watched.replans.refused == "stack.toml: it does not fit"
    await watched.wait(FIRST_WAIT_S * 5)
    assert (len(watched.asked), len(watched.said)) == (3, 1)
    watched.ends = Ended(0, "")
    watched.config.write_text("one")
    assert (await watched.wait(4), watched.replans.refused) == (1, "")


async def test_whoever_plans_already_is_no_refusal(watched: Watched) -> None:
    watched.ends = Ended(BUSY, "another plan is being made")
    watched.config.write_text("two")
    await watched.wait(4)
    assert (watched.replans.refused, len(watched.asked) > 1) == ("", True)
    watched.ends = Ended(0, "")
    assert await watched.wait(4) == 1


async def test_a_plan_that_breaks_is_told_by_its_last_line(watched: Watched) -> None:
    watched.ends = Ended(-9, "Traceback\n  somewhere\nValueError: a slip")
    watched.config.write_text("two")
    await watched.wait(4)
    assert "ValueError: a slip" in watched.replans.refused
    assert "somewhere" in watched.said[0]


async def test_a_gpu_in_quarantine_is_planned_without_and_with_again(watched: Watched) -> None:
    assert await watched.wait(4, "GPU-2", "GPU-1") == 1
    assert watched.asked[0][-3:] == ["--without", "GPU-1", "GPU-2"]
    assert await watched.wait(60, "GPU-1", "GPU-2") == 0
    assert await watched.wait(4) == 1
    assert "--without" not in watched.asked[1]


async def test_a_plan_of_an_earlier_supervisor_is_checked_once(watched: Watched, tmp_path: Path) -> None:
    replans = watched.replans = Replans(tmp_path, set(), print)
    replans.accept(watched.plan)
    assert await watched.wait(60) == 1


async def test_an_edit_while_the_one_before_is_carried_out_is_not_lost(watched: Watched) -> None:
    watched.config.write_text("two")
    assert await watched.wait(4) == 1
    watched.config.write_text("three")
    assert await watched.wait(4) == 1


async def test_files_are_looked_at_again_after_somebody_else_has_planned(watched: Watched) -> None:
    watched.config.write_text("two")
    watched.replans.accept(watched.plan)
    watched.config.write_text("one")
    assert await watched.wait(4) == 1


async def test_what_up_has_tried_in_vain_is_told_and_not_tried_again(watched: Watched, tmp_path: Path) -> None:
    watched.config.write_text("two")
    assert watched.plan.source
    decline(tmp_path, digest_of(watched.plan.source), "engine one failed")
    watched.replans.accept(watched.plan)
    assert (await watched.wait(600), watched.asked, watched.replans.refused) == (0, [], "engine one failed")
    watched.config.write_text("three")
    assert (await watched.wait(4), watched.replans.refused) == (1, "")


async def test_an_errand_is_spared_while_it_runs_and_tells_line_by_line() -> None:
    spared: set[int] = set()
    told: list[tuple[str, int]] = []
    program = "import sys; print('one', flush=True); print('two', flush=True); sys.exit('a sentence')"
    ended = await run_errand(["-c", program], spared, lambda line: told.append((line, len(spared))))
    assert (told, ended, spared) == ([("one", 1), ("two", 1)], Ended(1, "a sentence"), set())


async def test_an_errand_that_is_called_off_is_ended() -> None:
    spared: set[int] = set()
    program = "import json, os, time; print(json.dumps(os.getpid()), flush=True); time.sleep(600)"
    lines: asyncio.Queue[str] = asyncio.Queue()
    task = asyncio.create_task(run_errand(["-c", program], spared, lines.put_nowait))
    pid = json.loads(await asyncio.wait_for(lines.get(), 30))
    assert spared == {pid}
    began_s = time.monotonic()
    task.cancel()
    await asyncio.wait({task}, timeout=30)
    assert (task.cancelled(), spared, time.monotonic() - began_s < 30) == (True, set(), True)
    assert not Path(f"/proc/{pid}").exists()


def test_a_port_that_is_taken_is_refused_before_the_router_gives_up_its_own(place: Place) -> None:
    assert replan(place).returncode == 0
    before = plan_path(place.home).read_text()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        place.config.write_text(place.config.read_text().replace(f"port = {place.port}", f"port = {port}"))
        said = replan(place)
    assert (said.returncode, f"port {port} on 127.0.0.1 is taken by" in said.stderr) == (1, True)
    assert plan_path(place.home).read_text() == before
