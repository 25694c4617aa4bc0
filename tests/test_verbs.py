"""`spillway cost`, `preset` and `route` as a user meets them: what they print, what they write, what they refuse."""

from __future__ import annotations

import io
import json
import os
import stat
import subprocess
import threading
import tomllib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from rich.console import Console

from ground.table import Column, Fitted
from router.verbs.__main__ import main
from router.verbs.given import VerbError
from router.verbs.line import with_preset, write_whole
from router.verbs.shown import dollars
from tests.routers import HELLO, TIERS
from tests.stacks import SPILLWAY

EXAMPLE = Path(__file__).parents[1] / "compose" / "examples" / "seo-crew.toml"
STACK = f"""# The one line:
active_preset = 'home'   # this one

[presets.home]
about = "what runs here"
default = "tiny"
[presets.away]
default = ["far", "tiny"]
[clouds.far]
model = "openai/far"
key_env = "FAR_KEY"
optional = true
serves = ["far"]
input_usd_per_mtok = 1.0
output_usd_per_mtok = 2.0
[tasks.write]
tier = "standard"
[jobs.letter]
tasks.write = {{ prompt_tokens = 100000, completion_tokens = 50000 }}
[tiers.thrifty]
ttft_target_s = 5.0
strategy = {{ cheapest = 1.0, least_busy = 0.5 }}
[models.tiny]
source = "builtin:smoke"
size = "small"
{TIERS}"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "stack.toml"
    path.write_text(STACK)
    return path


@pytest.fixture(autouse=True)
def _a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAR_KEY", "sk-far")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("active_preset = 'a'  # why\n[x]\n", 'active_preset = "b"  # why\n[x]\n', id="its comment stays"),
        pytest.param("a = 1\r\nactive_preset='a'\r\n", 'a = 1\r\nactive_preset="b"\r\n', id="its line ends stay"),
        pytest.param("# all\n[x] # one\ny = 1\n", 'active_preset = "b"\n\n# all\n[x] # one\ny = 1\n', id="a new line"),
        pytest.param('[x]\nactive_preset = "a"\n', 'active_preset = "b"\n\n[x]\nactive_preset = "a"\n', id="another's"),
        pytest.param('active_preset = """a"""\n', 'active_preset = "b"\n', id="any kind of text"),
    ],
)
def test_only_the_one_line_is_changed(text: str, expected: str) -> None:
    changed = with_preset(text, "b")
    assert changed == expected
    assert tomllib.loads(changed) == tomllib.loads(text) | {"active_preset": "b"}


def test_of_a_file_with_all_comments_one_line_differs() -> None:
    before = EXAMPLE.read_text()
    after = with_preset(before, "nebius-balanced")
    differing = [old for old, new in zip(before.splitlines(), after.splitlines(), strict=True) if old != new]
    assert differing == ['active_preset = "local-first"']


def test_a_file_is_replaced_whole_with_its_rights_and_behind_its_link(path: Path) -> None:
    path.chmod(0o640)
    link = path.with_name("link.toml")
    link.symlink_to(path)
    write_whole(link, STACK, "new = 1\n")
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode), link.is_symlink()) == ("new = 1\n", 0o640, True)
    assert {each.name for each in path.parent.iterdir()} == {"stack.toml", "link.toml"}


def test_what_somebody_else_has_written_meanwhile_stays(path: Path) -> None:
    path.write_text("theirs = 1\n")
    with pytest.raises(VerbError, match="changed by somebody else"):
        write_whole(path, STACK, "new = 1\n")
    assert path.read_text() == "theirs = 1\n"
    assert os.listdir(path.parent) == ["stack.toml"]


def spoken(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """(exit code, what was printed)."""
    code = main(arguments)
    printed = capsys.readouterr()
    return code, printed.out + printed.err


def test_the_costs_of_all_presets_stand_in_one_table(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = spoken(capsys, "cost", "--config", str(path), "--jobs", "200")
    assert code == 0
    assert "letter: 150,000 tokens a job" in said
    home, away = [line.split() for line in said.splitlines() if "$" in line]
    assert home == ["*", "home", "$0.0000", "$0.00", "$0.00", "what", "runs", "here"]
    assert away == ["away", "$0.2000", "$40.00", "$40.00"]


def test_one_preset_is_shown_task_by_task(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = spoken(capsys, "cost", "--config", str(path), "--preset", "home")
    assert (code, "local, $0" in said, "local/tiny" in said) == (0, True, True)
    found = json.loads(spoken(capsys, "cost", "--config", str(path), "--preset", "away", "--jobs", "10", "--json")[1])
    assert [(each["preset"], each["usd"], each["month_usd"]) for each in found] == [("away", 0.2, 2.0)]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("cost", "--preset", "nobody"), "no preset is called 'nobody'; there are: home, away"),
        (("cost", "--job", "nobody"), "no job is called 'nobody'; there are: letter"),
        (("preset", "nobody"), "no preset is called 'nobody'"),
        (("route", "--task", "nobody"), "the task 'nobody' does not exist; there are: "),
        (("route", "--file", "nothing.json"), "nothing.json: cannot be read"),
        (("preset", "away", "--router", "nowhere"), "write it like 127.0.0.1:4000"),
        (("route", "--router", "127.0.0.1:1"), "no router answers at 127.0.0.1:1"),
    ],
)
def test_what_does_not_exist_is_named_beside_what_does(
    path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    code, said = spoken(capsys, arguments[0], "--config", str(path), *arguments[1:])
    assert (code, words in said) == (1, True), said
    assert path.read_text() == STACK


def test_presets_are_listed_with_the_active_one_marked(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = spoken(capsys, "preset", "--config", str(path))
    assert code == 0
    assert [line.split()[:3] for line in said.splitlines()[1:]] == [["*", "home", "$0.0000"], ["away", "$0.2000"]]


def test_a_preset_with_a_hole_is_refused_before_anything_is_written(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FAR_KEY")
    path.write_text(STACK.replace('["far", "tiny"]', '"far"'))
    before = path.read_bytes()
    code, said = spoken(capsys, "preset", "away", "--config", str(path))
    assert code == 1
    assert "nothing was changed" in said
    assert "[tasks.write]: has no place that is on: cloud/far is off (the variable FAR_KEY is not set)" in said
    assert path.read_bytes() == before


def test_without_a_router_the_line_counts_from_the_next_start(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = spoken(capsys, "preset", "away", "--config", str(path), "--router", "127.0.0.1:1")
    assert (code, "nothing runs at 127.0.0.1:1" in said, "letter $0.2000 a job" in said) == (0, True, True)
    assert path.read_text() == STACK.replace("'home'", '"away"')
    code, said = spoken(capsys, "preset", "away", "--config", str(path), "--router", "127.0.0.1:1")
    assert (code, "as it was already" in said) == (0, True)


def test_where_no_router_runs_a_route_is_reckoned_from_the_file(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = spoken(capsys, "route", "--config", str(path), "--task", "write", "--tokens", "3000")
    assert code == 0
    for words in ("goes to   local/tiny", "about 3,000 tokens", "no router runs that reads this file", "$0"):
        assert words in said


def test_a_route_reckoned_from_a_file_that_no_router_would_obey_says_so(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["route", "--config", str(path), "--task", "write"]) == 0
    assert capsys.readouterr().err == ""
    path.write_text(path.read_text().replace('["far", "tiny"]', '["fur", "tiny"]'))
    assert main(["route", "--config", str(path), "--task", "write", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["target"] == "local/tiny"
    assert 'a router would refuse this file: [presets.away]: default: the model "fur" runs nowhere' in said.err


def test_a_request_in_a_file_is_read_as_a_request_is(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body = {"model": "far", "messages": HELLO, "tools": [{"type": "function", "function": {"name": "f"}}]}
    path.with_name("request.json").write_text(json.dumps(body))
    asked = ("route", "--config", str(path), "--file", str(path.with_name("request.json")), "--json")
    code, said = spoken(capsys, *asked)
    found = json.loads(said)
    # Nobody has said that it can use tools.
    assert (code, found["target"], found["needs"], found["models"]) == (1, None, ["tools"], ["far"])
    assert found["assumed"]
    assert json.loads(spoken(capsys, *asked, "--model", "tiny")[1])["target"] == "local/tiny"


def test_the_console_script_knows_the_stack_and_the_lock(tmp_path: Path) -> None:
    shown = subprocess.run([SPILLWAY, "route", "--json"], capture_output=True, text=True, cwd=tmp_path, check=False)
    found = json.loads(shown.stdout)
    assert (shown.returncode, found["target"], found["tier"]) == (0, "local/smoke", "standard"), shown.stderr


class _Somebody(BaseHTTPRequestHandler):
    """A server that has never heard of Spillway; what it says stands in `answer`."""

    answer: tuple[int, bytes]

    def do_GET(self) -> None:
        status, body = self.answer
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.mark.parametrize("verb", [("preset", "away"), ("route", "--task", "write")])
@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        pytest.param(404, b'{"error": "no such page"}', "answers 404: no such page", id="an error in other words"),
        pytest.param(200, b'{"ok": true}', ("is no router of Spillway", "answers otherwise"), id="something else"),
        pytest.param(200, b"<html>", "answers 200: not a word of ours", id="a page"),
        pytest.param(500, b'{"error": null}', "answers 500: not a word of ours", id="an error without words"),
    ],
)
def test_a_stranger_at_the_router_s_address_is_said_to_be_one(
    path: Path,
    capsys: pytest.CaptureFixture[str],
    verb: tuple[str, ...],
    status: int,
    body: bytes,
    words: str | tuple[str, ...],
) -> None:
    before = path.read_text()
    speaker = type("Speaker", (_Somebody,), {"answer": (status, body)})
    with ThreadingHTTPServer(("127.0.0.1", 0), speaker) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        name, *more = verb
        code, said = spoken(capsys, name, "--config", str(path), "--router", f"127.0.0.1:{server.server_port}", *more)
        server.shutdown()
    assert code == 1
    assert any(each in said for each in ([words] if isinstance(words, str) else words)), said
    assert path.read_text() == before


@pytest.mark.parametrize(
    ("usd", "words"),
    [(0.0, "$0.0000"), (0.00000335, "<$0.0001"), (0.00006, "$0.0001"), (1.5, "$1.5000"), (None, "unknown")],
)
def test_a_few_dollars_are_never_shown_as_none(usd: float | None, words: str) -> None:
    assert dollars(usd) == words


def test_a_narrow_terminal_shows_fewer_columns_and_every_figure_whole() -> None:
    columns = [Column("name"), Column("tokens", is_number=True, rank=1), Column("dollars", is_number=True)]
    rows = [["data_collection", "375,000", "$0.1562"]]
    for width, expected in ((40, rows[0]), (26, ["data_collection", "$0.1562"])):
        paper = io.StringIO()
        Console(width=width, file=paper).print(Fitted(columns, rows))
        assert paper.getvalue().splitlines()[1].split() == expected
