"""Reading the records of keepers, whatever lies in their folder."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engines.home import make_home, running_supervisor, write_own_record
from engines.processes.process import how_ended
from engines.processes.record import ProcessId, Record, read_records, record_path, records_folder, take_end
from engines.processes.registration import OOM_END, UNKNOWN_END, Registration
from engines.processes.remains import bury
from engines.processes.succession import REVIVED_VARIABLE

OLD: dict[str, Any] = {"name": "one", "keeper": [11, 12], "child": [13, 14], "command": ["run"], "scratch": None}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    make_home(tmp_path)
    return tmp_path


def test_a_record_of_an_older_version_is_read_without_what_it_lacks(home: Path) -> None:
    record_path(home, "one").write_text(json.dumps(OLD))
    assert read_records(home) == (Record("one", ProcessId(11, 12), ProcessId(13, 14), None, ("run",)),)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        json.dumps(OLD)[:40],
        "[]",
        "7",
        "\xff",
        json.dumps({**OLD, "keeper": 11}),
        json.dumps({**OLD, "keeper": [11]}),
        json.dumps({**OLD, "keeper": [11, None]}),
        json.dumps({**OLD, "child": None}),
        json.dumps({**OLD, "name": "../one"}),
    ],
)
def test_a_file_that_is_no_record_is_left_out(home: Path, text: str) -> None:
    record_path(home, "one").write_text(text, encoding="latin-1")
    record_path(home, "two").write_text(json.dumps({**OLD, "name": "two"}))
    assert [record.name for record in read_records(home)] == ["two"]


def test_the_end_of_a_child_is_told_once(home: Path) -> None:
    path = str(record_path(home, "qwen2.5"))
    more = {"name": "qwen2.5", "command": ["run"], "scratch": None, "note": "what it is"}
    registration = Registration(path, os.getpid(), more, lambda _: None)
    registration.end(OOM_END)
    registration.remove()
    me = ProcessId.of(os.getpid())
    assert me
    assert json.loads((records_folder(home) / "qwen2.5.ended").read_text())["oom"] is True
    told = records_folder(home) / "qwen2.5.ended"
    assert take_end(told) == Record("qwen2.5", me, me, None, ("run",), "what it is", ended=OOM_END)
    assert take_end(told) is None
    assert read_records(home) == ()


def test_a_torn_word_of_an_end_is_removed(home: Path) -> None:
    torn = records_folder(home) / "one.ended"
    torn.write_text('{"name": "one", "ke')
    assert take_end(torn) is None
    assert not torn.exists()


def test_a_full_disk_leaves_no_half_record_and_is_tried_again(home: Path) -> None:
    said: list[str] = []
    record_path(home, "one").mkdir()
    registration = Registration(
        str(record_path(home, "one")), os.getpid(), {"name": "one", "scratch": None}, said.append
    )
    assert [path.name for path in records_folder(home).iterdir()] == ["one.json"]
    assert len(said) == 1
    assert said[0].startswith("no process record: ")
    record_path(home, "one").rmdir()
    registration.update({})
    assert [(record.name, record.keeper.pid) for record in read_records(home)] == [("one", os.getpid())]


def test_ends_that_no_code_tells_have_words() -> None:
    assert how_ended(UNKNOWN_END) == "unknown end"
    assert how_ended(OOM_END) == "signal SIGKILL: killed by the kernel for lack of memory"


def test_a_supervisor_without_a_record_is_found_by_its_lock(home: Path) -> None:
    assert running_supervisor(home) is None
    record = write_own_record(home)
    me = ProcessId.of(os.getpid())
    assert running_supervisor(home) == me
    record.unlink()
    assert running_supervisor(home) == me
    record.write_text("{")
    assert running_supervisor(home) == me


def test_a_reused_pid_is_no_supervisor(home: Path) -> None:
    me = ProcessId.of(os.getpid())
    assert me
    other = [me.pid, me.ticks + 1]
    record_path(home, "supervisor").write_text(json.dumps({**OLD, "name": "supervisor", "keeper": other}))
    assert running_supervisor(home) is None


def test_only_a_dead_supervisors_place_is_taken_by_one_that_a_keeper_started(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(REVIVED_VARIABLE, "1")
    with pytest.raises(SystemExit, match="was taken down"):
        write_own_record(home)
    record_path(home, "supervisor").write_text("torn")
    monkeypatch.setenv(REVIVED_VARIABLE, "1")
    write_own_record(home)
    assert running_supervisor(home) == ProcessId.of(os.getpid())
    assert REVIVED_VARIABLE not in os.environ


def test_shared_memory_of_which_only_the_record_knows_is_removed(home: Path) -> None:
    mine, others = (Path(f"/dev/shm/spillway-test-{name}-{os.getpid()}") for name in ("mine", "others"))
    try:
        mine.touch()
        others.touch()
        told = {mine.name: mine.stat().st_ino, others.name: others.stat().st_ino + 1}
        registration = Registration(
            str(record_path(home, "one")), os.getpid(), {"name": "one", "scratch": None}, lambda _: None
        )
        registration.update(told)
        (record,) = read_records(home)
        assert record.segments == told
        gone = ProcessId(record.keeper.pid, record.keeper.ticks + 1)
        assert not bury(home, replace(record, keeper=gone))
        assert (mine.exists(), others.exists()) == (False, True)
        assert read_records(home) == ()
    finally:
        mine.unlink(missing_ok=True)
        others.unlink(missing_ok=True)
