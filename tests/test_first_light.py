"""First light: OpenAI's own SDK, the real router, supervisor and vLLM, with a stand-in for the cloud alone."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from benchmarks.report import files
from engines.following import FeedError, follow
from engines.processes.orphans import session_members
from engines.processes.record import read_records
from engines.snapshot import EngineState, EngineView, Load
from tests.routers import until
from tests.stacks import Place, Shipped

RESTART_S = 180.0
QUESTION: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Where does the water go?"}]


@pytest.fixture
def stack(shipped: Shipped) -> Place:
    return shipped.place


@pytest.fixture
def client(stack: Place) -> Iterator[openai.OpenAI]:
    url = f"http://127.0.0.1:{stack.port}/v1"
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=60) as made:
        yield made


@pytest.mark.parametrize("content", ["Where does the water go?", "def f(x):", "¿Quién eres?", "x" * 300])
def test_the_smoke_model_says_in_english_what_it_is_and_stops(client: openai.OpenAI, content: str) -> None:
    answer = client.chat.completions.create(
        model="smoke", messages=[{"role": "user", "content": content}], temperature=0, max_tokens=300
    )
    assert answer.choices[0].finish_reason == "stop"
    text = answer.choices[0].message.content or ""
    assert "smoke" in text
    assert "make up" in text


def test_the_harness_measures_vllm_with_lengths_that_are_exact(stack: Place, tmp_path: Path) -> None:
    options = ["--url", f"http://127.0.0.1:{stack.port}", "--model", "smoke", "--mix", "local_only=1"]
    options += ["--users", "4", "--requests", "12", "--input-tokens", "uniform:20-200", "--output-tokens", "16"]
    command = [sys.executable, "-m", "benchmarks", "load", *options, "--json", f"{tmp_path}/load.json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    document, samples = files.load(tmp_path / "load.json")
    assert document.summary is not None, done.stderr
    assert (document.summary.errors, document.summary.token_mismatches) == (0, 0)
    (measured,) = samples.values()
    assert [sample.prompt_tokens for sample in measured] == [sample.expected_prompt_tokens for sample in measured]
    assert {sample.completion_tokens for sample in measured} == {16}
    assert {sample.target for sample in measured} == {"local/smoke"}
    # What the engine counted itself over the same time agrees, or a note would say so.
    assert not [note for note in document.runs[0].notes if "counted" in note]


def test_a_stream_from_vllm_arrives_token_by_token(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="tier/bulk", messages=QUESTION, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(raw.parse())
    assert raw.headers["x-spillway-target"] == "local/smoke"
    usage = chunks[-1].usage
    assert usage is not None
    spoken = [chunk for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]
    # vLLM joins tokens that its server had no time to send one by one, most of them on a machine with other work.
    assert len(spoken) > usage.completion_tokens / 10


def test_plain_completions_stream_and_do_not(client: openai.OpenAI) -> None:
    assert "smoke" in client.completions.create(model="smoke", prompt="Water", max_tokens=200).choices[0].text
    pieces = list(client.completions.create(model="smoke", prompt="Water", max_tokens=20, stream=True))
    assert pieces[-1].choices[0].finish_reason in {"length", "stop"}


def test_a_prompt_over_the_context_is_counted_by_vllm_and_states_the_sizes(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(
            model="smoke",
            messages=[{"role": "user", "content": "water " * 5000}],
            extra_headers={"x-spillway-privacy": "local-only"},
        )
    assert refused.value.code == "context_length_exceeded"
    assert "4096" in refused.value.message


def test_a_prompt_over_the_context_goes_to_the_twin_if_it_may(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="smoke", messages=[{"role": "user", "content": "water " * 5000}], max_tokens=5
    )
    assert raw.headers["x-spillway-target"] == "cloud/stand-in"
    assert raw.headers["x-spillway-reason"] in {"escalate:context", "spill:ttft"}


def test_what_vllm_refuses_reaches_the_client_as_its_own_mistake(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="top_p"):
        client.chat.completions.create(model="smoke", messages=QUESTION, top_p=7)


def test_a_client_that_leaves_frees_vllm(stack: Place, client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="smoke", messages=QUESTION, stream=True, max_tokens=3000, extra_body={"ignore_eos": True}
    )
    before = load(stack).generation_tokens_total
    tokens = iter(stream)
    next(tokens)
    stream.close()
    until(lambda: load(stack).running == 0 and load(stack).generation_tokens_total > before)
    assert load(stack).generation_tokens_total - before < 2500


def load(stack: Place) -> Load:
    """A figure read after this call, not the newest one from before it."""
    heard = follow(stack.home)
    first = next(heard).sequence
    newer = next(each for each in heard if each.sequence > first + 2)
    assert newer.engines[0].load is not None
    return newer.engines[0].load


def test_many_streams_at_once_all_arrive_whole(client: openai.OpenAI) -> None:
    def ask(number: int) -> str | None:
        chunks = client.chat.completions.create(
            model="tier/bulk", messages=[{"role": "user", "content": f"Question {number}?"}], stream=True
        )
        return list(chunks)[-1].choices[0].finish_reason

    with ThreadPoolExecutor(32) as users:
        assert set(users.map(ask, range(64))) == {"stop"}


def test_a_killed_supervisor_is_followed_by_another_and_no_stream_notices(stack: Place, client: openai.OpenAI) -> None:
    before = next(follow(stack.home))
    tokens = iter(
        client.chat.completions.create(
            model="tier/bulk", messages=QUESTION, stream=True, max_tokens=2000, extra_body={"ignore_eos": True}
        )
    )
    next(tokens)
    os.kill(before.supervisor_pid, signal.SIGKILL)
    assert list(tokens)[-1].choices[0].finish_reason == "length"
    engine = engine_that_is_back(stack)
    assert (engine.pid, engine.restarts, engine.is_adopted) == (before.engines[0].pid, 0, True)
    assert next(follow(stack.home)).supervisor_pid != before.supervisor_pid


def engine_that_is_back(stack: Place) -> EngineView:
    found: list[EngineView] = []

    def is_back() -> bool:
        with suppress(FeedError):
            found.append(stack.engine())
        return bool(found) and found[-1].state is EngineState.READY

    until(is_back, RESTART_S)
    return found[-1]


# After all that ask the stack, because it ends it: what is left alone here has a real engine's many processes.
def test_a_supervisor_whose_home_is_removed_leaves_nothing(stack: Place) -> None:
    sessions = [record.keeper.pid for record in read_records(stack.home)]
    assert len(sessions) == 3
    assert all(session_members(session) for session in sessions)
    shutil.rmtree(stack.home)
    deadline_s = time.monotonic() + RESTART_S
    while any(session_members(session) for session in sessions):
        assert time.monotonic() < deadline_s


def test_the_demo_shows_the_spill_on_real_vllm(tmp_path: Path) -> None:
    figures = tmp_path / "demo.json"
    command = [sys.executable, "-m", "benchmarks", "demo", "--seconds", "20", "--json", str(figures)]
    # Other tests compute at the same time, some with a vLLM of their own on the same cores.
    command += ["--patience", f"{RESTART_S}"]
    environment = {**os.environ, "SPILLWAY_HOME": str(tmp_path / "home")}
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert figures.exists(), said.stdout + said.stderr
    told = json.loads(figures.read_text())
    assert (told["shown"], told["failures"]) == (True, []), said.stdout
