"""`spillway status` tells the truth whoever is away: the verb, the feed and the processes are real; what is published
is the test's own."""

import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import ioctl
from pathlib import Path
from select import select
from typing import Any, Self

import pytest
from rich.console import Console
from rich.text import Text

from engines.home import logs_folder, make_home
from engines.processes.orphans import start_ticks
from engines.processes.record import records_folder
from engines.terminal.screen import Cropped
from tests.routers import until
from tests.stacks import SPILLWAY

# Publishes one engine that is ready and one that was given up, as the supervisor of its home, until it is killed.
PUBLISHES = """
import asyncio, os, sys
from pathlib import Path
from engines.feed import Feed
from engines.home import write_own_record
from engines.snapshot import EngineState, EngineView, HostView, Snapshot

home = Path(sys.argv[1])

def engine(name, state, error=None):
    return EngineView(name, name, "vllm", state, "http://127.0.0.1:9", "cpu", 512, None, 1.0, 0, error, None)

async def main():
    feed = Feed(home)
    await feed.open()
    write_own_record(home)
    engines = (engine("one", EngineState.READY), engine("bad", EngineState.QUARANTINED, "its files are damaged"))
    for number in range(1, 10**6):
        feed.publish(Snapshot(number, os.getpid(), engines, (), (), HostView(1, 1)))
        if number == 1:
            print(flush=True)
        await asyncio.sleep(0.05)

asyncio.run(main())
"""
# Says what the router says of itself to whoever asks, with the Snapshot that it heard last.
ROUTER = """
import json, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Answers(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(sys.argv[1].encode())

    def log_message(self, *_):
        pass

server = HTTPServer(("127.0.0.1", 0), Answers)
print(server.server_port, flush=True)
server.serve_forever()
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = tmp_path / "home"
    make_home(made)
    (logs_folder(made) / "bad.log").write_text("".join(f"line {number}\n" for number in range(100)))
    return made


@contextmanager
def _running(program: str, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process of ours and the first line that it says."""
    command = [sys.executable, "-c", program, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.send_signal(signal.SIGCONT)
            process.kill()


@contextmanager
def _engine_process(home: Path) -> Iterator[int]:
    """A process with a record, such as a keeper writes it."""
    with _running("import time; print(flush=True); time.sleep(600)") as (process, _):
        ids = [process.pid, start_ticks(process.pid)]
        record = {"name": "one", "keeper": ids, "child": ids, "command": [], "scratch": None}
        (records_folder(home) / "one.json").write_text(json.dumps(record))
        yield process.pid


def _status(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "SPILLWAY_HOME": str(home)}
    return subprocess.run([SPILLWAY, "status", *words], env=env, capture_output=True, text=True, check=False)


def test_of_nothing_it_says_how_to_start(home: Path) -> None:
    for words in ((), ("--json",)):
        said = _status(home, *words)
        assert said.returncode == 3
        assert f"nothing runs in {home}. `spillway up` starts the stack.\n" in said.stdout + said.stderr
        assert not (words and said.stdout)


def test_a_closed_engine_has_its_cause_and_the_last_30_lines_of_its_log(home: Path) -> None:
    with _running(PUBLISHES, str(home)):
        said = _status(home)
        told = json.loads(_status(home, "--json").stdout)
    assert said.returncode == 0, said.stdout + said.stderr
    assert "(the router does not answer)" in said.stdout
    assert "local/bad: its files are damaged" in said.stdout
    assert "the last 30 lines of bad:\n  line 70\n" in said.stdout
    assert "  line 99\n" in said.stdout
    assert "line 69" not in said.stdout
    assert [engine["name"] for engine in told["snapshot"]["engines"]] == ["one", "bad"]
    assert (told["router"], told["away"], told["survivors"]) == (None, "", [])
    assert told["last_words"]["bad"][0] == "line 70"


def test_when_the_supervisor_is_dead_what_lives_is_named(home: Path) -> None:
    with _running(PUBLISHES, str(home)) as (supervisor, _), _engine_process(home) as pid:
        supervisor.kill()
        supervisor.wait()
        said = _status(home)
        assert said.returncode == 1
        assert "the supervisor is dead, and what it started runs on without it:\n" in said.stdout
        assert f"  one, pid {pid}, for " in said.stdout
        assert "nothing runs" not in said.stdout
        (survivor,) = json.loads(_status(home, "--json").stdout)["survivors"]
        assert (survivor["name"], survivor["pid"], 0 <= survivor["for_s"] < 60) == ("one", pid, True)
    assert _status(home).returncode == 3


def test_without_a_supervisor_the_router_knows_what_was_heard_last(home: Path) -> None:
    engine: dict[str, Any] = {"name": "one", "model": "one", "kind": "vllm", "state": "ready", "url": ""}
    engine |= {
        "device": "cpu",
        "context_tokens": 512,
        "pid": None,
        "in_state_s": 1,
        "restarts": 3,
        "last_error": None,
        "load": None,
    }
    heard = {"snapshot_age_s": 75.0, "engines": [engine], "gpus": [], "host": {"total_bytes": 1, "available_bytes": 1}}
    with _engine_process(home), _running(ROUTER, json.dumps(heard)) as (_, port):
        plan: dict[str, Any] = {"fingerprint": "", "profile": "cpu", "engines": [], "models": []}
        plan |= {"router": {"command": [], "host": "127.0.0.1", "port": int(port)}}
        (home / "plan.json").write_text(json.dumps(plan))
        said = _status(home)
    assert said.returncode == 1
    assert "What was heard of it last, 1 min ago:" in said.stdout
    assert "local/one" in said.stdout


def test_a_supervisor_that_hangs_is_named_with_its_pid(home: Path) -> None:
    with _running(PUBLISHES, str(home)) as (supervisor, _):
        supervisor.send_signal(signal.SIGSTOP)
        said = _status(home)
    assert said.returncode == 1
    assert f"the supervisor (pid {supervisor.pid}) runs but does not answer: " in said.stdout
    assert f"`kill -9 {supervisor.pid}`" in said.stdout


class Terminal:
    """`spillway status --watch` on a terminal of its own."""

    def __init__(self, home: Path) -> None:
        self._master, slave = pty.openpty()
        ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
        env = {**os.environ, "SPILLWAY_HOME": str(home), "TERM": "xterm"}
        self.process = subprocess.Popen(
            [SPILLWAY, "status", "--watch"], env=env, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
        )
        os.close(slave)
        self.said = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)

    def shows(self, words: str) -> bool:
        """Whether they have come since this was asked last."""
        while select([self._master], [], [], 0.02)[0]:
            try:
                self.said += os.read(self._master, 65536).decode(errors="replace")
            except OSError:
                break
        found = self.said.rfind(words)
        self.said = self.said[found + len(words) :] if found >= 0 else self.said
        return found >= 0

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=30)


@pytest.mark.parametrize(("height", "shown"), [(4, ["0", "1", "2"]), (7, ["0", "1", "2", "3", "4", "5"])])
def test_a_screen_that_is_too_small_says_how_much_it_does_not_show(height: int, shown: list[str]) -> None:
    console = Console(width=80, height=height)
    with console.capture() as capture:
        console.print(Cropped(Text("\n".join(map(str, range(10))))))
    *lines, last = capture.get().splitlines()
    assert lines == shown
    assert last == f"... {10 - len(shown)} more lines: make the terminal taller to see them"
    with console.capture() as capture:
        console.print(Cropped(Text("0\n1\n2\n\n")))
    assert capture.get().splitlines() == ["0", "1", "2"]


def test_watching_goes_on_without_the_supervisor_and_with_the_next_one(home: Path) -> None:
    with Terminal(home) as terminal:
        until(lambda: terminal.shows("nothing runs in"))
        with _engine_process(home):
            with _running(PUBLISHES, str(home)):
                until(lambda: terminal.shows("local/one"))
                # The log of a watched engine is short, so that it pushes nothing else off the screen.
                until(lambda: terminal.shows("the last 8 lines of bad:"))
            until(lambda: terminal.shows("the supervisor is dead"))
            until(lambda: terminal.shows("What was heard of it last"))
            with _running(PUBLISHES, str(home)):
                until(lambda: terminal.shows("(the router does not answer)"))
                terminal.said = ""
                until(lambda: terminal.shows("local/one"))
                assert "is dead" not in terminal.said
        until(lambda: terminal.shows("nothing runs in"))
        assert terminal.interrupt() == 130


def test_watching_for_a_program_is_a_line_of_json_each_time_until_nobody_reads(home: Path) -> None:
    env = {**os.environ, "SPILLWAY_HOME": str(home)}
    command = [SPILLWAY, "status", "--watch", "--json"]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watching:
        lines = watching.stdout
        assert lines
        assert watching.stderr
        with _running(PUBLISHES, str(home)):
            until(lambda: json.loads(lines.readline())["snapshot"] is not None)
        until(lambda: json.loads(lines.readline())["away"] != "")
        lines.close()
        assert watching.wait(timeout=30) == 0
        assert watching.stderr.read() == ""
