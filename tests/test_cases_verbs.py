"""hybrid, outage and replay from end to end: real router, fake engine and stand-in cloud, as processes."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType

import pytest

from benchmarks import hybrid, outage, replay
from benchmarks.cases.engine import FakeEngine, SupervisedEngine
from benchmarks.cases.fault import faults_in
from benchmarks.cases.options import end_of, load_in
from benchmarks.cases.phase import phases_of
from benchmarks.cases.session import Session, run_session
from benchmarks.cases.stack import Stack, Wish, own_stack, with_budget
from benchmarks.cases.taking import Load
from benchmarks.drive.sample import Sample
from benchmarks.report.document import Document
from benchmarks.report.files import load
from benchmarks.workload.workload import arrivals_of
from tests.routers import until
from tests.stand_ins import standing_in

FAST = ("--input-tokens", "8", "--output-tokens", "8", "--seed", "1")
CLOUD = ("--ttft-s", "0.05", "--ttft-jitter", "0", "--tokens-per-s", "2000")
LENIENT = ("--promise", "ttft_s=20,share=0.5")


@pytest.fixture(autouse=True)
def _signals_as_before() -> Iterator[None]:
    """The verbs take signals for themselves, as processes of their own may."""
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with own_stack(Wish(fake=True, engine_options=("--step-ms", "2"), cloud_options=CLOUD)) as running:
        yield running


def ran(verb: ModuleType, *options: str) -> int:
    parser = argparse.ArgumentParser()
    verb.add_arguments(parser)
    return int(verb.main(parser.parse_args(options)))


def at(stack: Stack) -> tuple[str, ...]:
    return ("--url", stack.url, "--cloud-url", str(stack.cloud_url), "--ledger", str(stack.ledger))


def written(path: Path) -> tuple[Document, dict[str, list[Sample]]]:
    document, samples = load(path)
    assert len(samples) == len(document.runs)
    return document, samples


def seen(stack: Stack) -> int:
    """Requests that the router has answered so far, by its own count."""
    with urllib.request.urlopen(f"{stack.url}/metrics", timeout=10) as page:
        lines = page.read().decode().splitlines()
    return int(sum(float(line.split()[-1]) for line in lines if line.startswith("spillway_requests_total{")))


def trace_file(folder: Path) -> Path:
    path = folder / "small.csv"
    path.write_text("at_s,input_tokens,output_tokens\n" + "".join(f"{i / 10},8,8\n" for i in range(30)))
    return path


def test_a_hybrid_run_sends_the_same_load_three_ways_and_says_what_each_cost(stack: Stack, tmp_path: Path) -> None:
    out = tmp_path / "hybrid.json"
    mix = ("--mix", "tier=standard:0.5,premium:0.5", "--rate", "20", "--duration", "2")
    ran(hybrid, *at(stack), *FAST, *mix, *LENIENT, "--json", str(out))
    document, samples = written(out)
    local, cloud, both = (samples[run.name] for run in document.runs)
    assert [run.name for run in document.runs] == ["local only", "all cloud", "hybrid"]
    assert [sample.scheduled_s for sample in local] == pytest.approx([s.scheduled_s for s in cloud], abs=0.002)
    assert len(local) == len(cloud) == len(both) >= 20
    assert {sample.target for sample in local if sample.ok} == {"local/smoke"}
    assert {sample.target for sample in cloud if sample.ok} == {"cloud/stand-in"}
    assert {sample.target for sample in both if sample.ok} == {"local/smoke", "cloud/stand-in"}
    at_home, away, mixed = (run.parts[0] for run in document.runs)
    assert at_home["usd"] == 0.0
    assert 0.0 < mixed["usd"] < away["usd"]
    assert away["usd"] == pytest.approx(sum(sample.usd or 0.0 for sample in cloud))
    assert any("all cloud cost" in line for line in document.verdict)


def test_faults_of_the_cloud_are_judged_phase_by_phase_and_mended_at_the_end(stack: Stack, tmp_path: Path) -> None:
    out = tmp_path / "outage.json"
    load_of = ("--mix", "tier=premium:1", "--rate", "20", "--duration", "4")
    struck = ("--fault", "1.5:cloud-500", "--fault", "3:cloud-429")
    ran(outage, *at(stack), *FAST, *load_of, *struck, *LENIENT, "--json", str(out))
    document, samples = written(out)
    run = document.runs[0]
    before, broken, limited = run.parts
    assert [part["name"] for part in run.parts] == ["before", "cloud-500", "cloud-429=1"]
    # Those that were due before the fault and had no answer yet when it came are answered here.
    assert before["cloud_share"] > 0.5
    assert broken["cloud_share"] < 1.0
    assert any(reason.startswith("fallback:") for reason in broken["reasons"])
    assert sum(part["requests"] for part in run.parts) == len(samples[run.name])
    assert limited["requests"] > 0
    marked = {text: at_s for at_s, text in run.events}
    assert marked["cloud-500"] == pytest.approx(1.5, abs=0.5)
    assert any(text.startswith("cloud/stand-in: resting") for text in marked)
    with urllib.request.urlopen(f"{stack.cloud_url}/_stats", timeout=10) as stats:
        assert b'"mode": "ok"' in stats.read()


def struck(stack: Stack, *options: str) -> int:
    """`outage` as it is where it has started the stack itself, whose engine it may kill."""
    parser = argparse.ArgumentParser()
    outage.add_arguments(parser)
    given = parser.parse_args(options)
    faults, spec = faults_in(given.fault), load_in(given)
    phases = phases_of(faults, end_of(spec))

    async def case(session: Session) -> outage.Course:
        return await outage.judged(session, Load("outage", arrivals_of(session.spec)), faults, phases)

    session, course = run_session(given, spec, nullcontext(stack), case)
    return outage.presented("outage", outage.TITLE, session, course, given, faults)


def test_a_killed_engine_of_our_own_stack_comes_back(
    stack: Stack, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "outage.json"
    load_of = ("--rate", "20", "--duration", "10", "--fault", "2:kill-engine", "--fault", "4:engine-ok")
    status = struck(stack, "--input-tokens", "8", "--output-tokens", "20", *load_of, "--json", str(out))
    document, samples = written(out)
    run = document.runs[0]
    before, killed, back = run.parts
    # What the kill cut counts with the kill; bulk work may not leave, so it fails for as long as there is no engine.
    assert before["errors"] == {}
    assert sum(killed["errors"].values()) >= 5
    assert any(reason.startswith("fallback:") for reason in killed["reasons"])
    assert status == 1
    late = [sample for sample in samples[run.name] if sample.scheduled_s > 9.0]
    assert "local/smoke" in {sample.target for sample in late if sample.ok}
    assert back["requests"] > 0
    told = capsys.readouterr().out
    assert "kill-engine" in told
    assert "was ready again after" in told


def test_a_trace_is_replayed_faster_at_any_endpoint(tmp_path: Path) -> None:
    out = tmp_path / "replay.json"
    options = ("--trace", str(trace_file(tmp_path)), "--scale", "2", "--slices", "3", "--json", str(out))
    with standing_in("engine", "--step-ms", "1") as engine:
        assert ran(replay, "--url", engine.url, *options, *LENIENT) in {0, 1}
        with pytest.raises(ValueError, match="is no Spillway router, so no tier promises anything"):
            ran(replay, "--url", engine.url, *options)
    document, samples = written(out)
    (run,) = document.runs
    assert len(samples[run.name]) == 30
    assert max(sample.scheduled_s for sample in samples[run.name]) == pytest.approx(1.45, abs=0.01)
    assert [part["requests"] for part in run.parts] == [10, 10, 10]


@pytest.mark.parametrize(
    ("verb", "options", "sentence"),
    [
        (outage, (), "--fault names what breaks and when"),
        (outage, ("--fault", "1:explode"), "name one of kill-engine"),
        (outage, ("--fault", "90:cloud-429", "--duration", "30"), "comes after the load, which ends at 30 s"),
        (outage, ("--fault", "1:cloud-429", "--users", "2", "--requests", "9"), "add --duration"),
        (replay, (), "--trace names the file"),
        (replay, ("--trace", "x.csv", "--slices", "0"), "--slices 0 must be at least 1"),
        (hybrid, ("--cloud-url", "http://127.0.0.1:9"), "--cloud-url belongs to --url"),
        (hybrid, ("--url", "http://127.0.0.1:9"), "Nothing answers at http://127.0.0.1:9"),
        (hybrid, ("--engine", "fake", "--engine-options=--step-ms x"), "the fake engine did not start"),
        (hybrid, ("--duration", "0"), "must be above 0"),
    ],
)
def test_bad_options_are_refused_with_a_sentence(verb: ModuleType, options: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        ran(verb, *options)


def test_what_cannot_be_broken_is_refused_before_the_load(stack: Stack) -> None:
    short = (*FAST, "--rate", "5", "--duration", "2")
    with pytest.raises(ValueError, match="the engine at --url is not ours to break"):
        ran(outage, *at(stack), *short, "--fault", "1:kill-engine")
    with pytest.raises(ValueError, match="name the stand-in cloud with --cloud-url"):
        ran(outage, "--url", stack.url, *short, "--fault", "1:cloud-429")
    with pytest.raises(ValueError, match="'gold' does not exist"):
        ran(hybrid, "--url", stack.url, *short, "--default-tier", "gold")


def test_without_a_ledger_the_router_s_own_meter_says_what_was_spent(stack: Stack, tmp_path: Path) -> None:
    out = tmp_path / "hybrid.json"
    load_of = ("--mix", "tier=premium:1", "--rate", "10", "--duration", "1.5")
    ran(hybrid, "--url", stack.url, *FAST, *load_of, *LENIENT, "--json", str(out))
    local, cloud, both = (run.parts[0]["usd"] for run in written(out)[0].runs)
    assert local == 0.0
    assert cloud > 0.0
    assert both > 0.0


def test_an_interrupted_run_leaves_its_report(stack: Stack, tmp_path: Path) -> None:
    out = tmp_path / "outage.json"
    options = (*at(stack), *FAST, "--rate", "20", "--duration", "600", "--fault", "500:cloud-429", "--json", str(out))
    before = seen(stack)
    with subprocess.Popen([sys.executable, "-m", "benchmarks", "outage", *options]) as process:
        # More than the one request that is sent alone, so the load has begun.
        until(lambda: seen(stack) > before + 5)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) in {0, 1}
    document, samples = written(out)
    assert document.interrupted
    assert any("Stopped early" in line for line in document.verdict)
    assert [part["name"] for part in document.runs[0].parts] == ["before"]
    assert len(samples["outage"]) >= 5


def test_a_fault_that_could_not_be_carried_out_makes_the_run_invalid(stack: Stack, tmp_path: Path) -> None:
    out = tmp_path / "outage.json"
    # Where the cloud should be, there is a router, which has no switch.
    wrong = ("--url", stack.url, "--cloud-url", stack.url, "--fault", "0.5:cloud-429")
    files = ("--json", str(out), "--html", str(tmp_path / "outage.html"))
    assert ran(outage, *wrong, *FAST, "--rate", "10", "--duration", "1.5", *LENIENT, *files) == 1
    assert (tmp_path / "outage.html").stat().st_size > 1000
    assert any("cloud-429=1 could not be carried out" in why for why in written(out)[0].runs[0].invalid)


def test_a_fake_engine_comes_back_at_the_same_address() -> None:
    engine = FakeEngine(("--step-ms", "1"))
    try:
        url = engine.url
        engine.kill()
        with pytest.raises(urllib.error.URLError):
            urllib.request.urlopen(f"{url}/health", timeout=10)
        engine.mend()
        assert engine.url == url
        urllib.request.urlopen(f"{url}/health", timeout=10).close()
        engine.hang()
        with pytest.raises(TimeoutError):
            urllib.request.urlopen(f"{url}/health", timeout=0.3)
        engine.mend()
        urllib.request.urlopen(f"{url}/health", timeout=10).close()
    finally:
        engine.stop()


def test_a_supervised_engine_is_killed_by_its_process() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    with child:
        engine = SupervisedEngine(lambda: child.pid)
        engine.hang()
        os.waitpid(child.pid, os.WUNTRACED)
        engine.mend()
        os.waitpid(child.pid, os.WCONTINUED)
        engine.kill()
        assert child.wait(10) == -signal.SIGKILL
    SupervisedEngine(lambda: None).kill()


def test_a_budget_is_put_in_its_place() -> None:
    text = "[limits]\ncloud_usd_per_day = 1.0\n"
    assert with_budget(text, None) == text
    assert with_budget(text, 5.0) == "[limits]\ncloud_usd_per_day = 5.0\n"
    with pytest.raises(ValueError, match="needs a line `cloud_usd_per_day"):
        with_budget("[endpoint]\nport = 1\n", 5.0)
