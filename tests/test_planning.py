"""`spillway plan` as a user runs it: on a driver's GPUs, on declared ones, on none; what fits, and what does not."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.double.nvml_double import Double, DoubleGpu, Foreign
from engines import planning
from engines.config import Wanted, WantedExternal, WantedGpus, WantedModel
from engines.gpus.gpu import Gpus
from engines.home import plan_path
from engines.life.residency import first_awake, rooms_of
from engines.models.lock import Lock, LockedModel
from engines.plan import ExternalPlan, PlanError, RouterPlan, Source
from engines.runtime import runtime
from engines.stack import Asked, Stack
from tests.noted import noted
from tests.stack_cases import Case, case
from tests.wants import gpu, model

GIB = 2**30


@pytest.fixture
def llama(tmp_path: Path) -> Case:
    """An 8B model in 16 bits."""
    return case(tmp_path, {"llama": model(15.0)}, "[models.llama]\ncontext_tokens = 8192\nconcurrent_requests = 8")


def bytes_on(card: dict[str, Any]) -> int:
    total: int = sum(part["bytes"] for part in card["parts"]) - card["over_bytes"]
    return total


def test_a_plan_for_the_gpu_that_the_driver_shows(llama: Case, tmp_path: Path) -> None:
    double = Double(tmp_path / "nvml", [DoubleGpu()])
    shown = llama.json(**double.env)
    (card,), (engine,) = shown["gpus"], shown["engines"]
    assert card["name"] == "NVIDIA H100 80GB HBM3"
    assert bytes_on(card) == card["total_bytes"]
    assert engine["requests_at_once"] >= 8
    command = engine["command"]
    assert command[command.index("--gpu-memory-utilization") + 1] == f"{engine['utilization']:.4f}"
    assert engine["port"] == int(command[command.index("--port") + 1])


def test_a_machine_with_gpus_plans_the_gpu_build(llama: Case, tmp_path: Path) -> None:
    double = Double(tmp_path / "nvml", [DoubleGpu()])
    said = llama.plan(**double.env).stdout
    assert "profile gpu" in said
    assert "/bin/vllm serve " in said
    assert "--enforce-eager" not in said


def test_the_cpu_profile_leaves_gpus_alone(tmp_path: Path) -> None:
    double = Double(tmp_path / "nvml", [DoubleGpu()])
    small = case(tmp_path, {"small": model(0.1)}, "[models.small]\ncontext_tokens = 4096")
    said = small.plan("--profile", "cpu", **double.env).stdout
    assert "the profile cpu was asked for" in said
    assert "--enforce-eager" in said


def test_nothing_is_placed_on_a_gpu_that_asks_for_a_reset(llama: Case, tmp_path: Path) -> None:
    double = Double(tmp_path / "nvml", [DoubleGpu(recovery=1), DoubleGpu(uuid="GPU-b", pci_address="00000000:18:00.0")])
    shown = llama.json(**double.env)
    assert [shown["gpus"][number]["uuid"] for number in shown["engines"][0]["gpus"]] == ["GPU-b"]
    double.change_gpu(1, recovery=2)
    said = llama.plan(**double.env)
    assert said.returncode == 1
    assert "no GPU here can take an engine" in said.stdout


def test_the_same_question_gets_the_same_answer(llama: Case) -> None:
    answers = [llama.json("--gpus", "2xL40S") for _ in range(2)]
    assert answers[0] == answers[1]


def test_what_others_hold_is_not_given_away(llama: Case, tmp_path: Path) -> None:
    double = Double(tmp_path / "nvml", [DoubleGpu()])
    free = llama.json(**double.env)["engines"][0]["kv_tokens"]
    double.change(foreign=(Foreign("GPU-a", 4_000_001, 30 * GIB),))
    shown = llama.json(**double.env)
    assert shown["engines"][0]["kv_tokens"] < free - 200_000
    assert sum(part["bytes"] for part in shown["gpus"][0]["parts"] if part["kind"] == "foreign") == 30 * GIB


def test_only_the_gpus_that_may_be_used_are(tmp_path: Path) -> None:
    tables = "[models.llama]\ncontext_tokens = 8192\n[gpus]\nuse = ['GPU-b']\nreserve_gib = 10"
    llama = case(tmp_path, {"llama": model(15.0)}, tables)
    double = Double(tmp_path / "nvml", [DoubleGpu(), DoubleGpu(uuid="GPU-b", pci_address="00000000:18:00.0")])
    (card,) = llama.json(**double.env)["gpus"]
    assert card["uuid"] == "GPU-b"
    assert sum(part["bytes"] for part in card["parts"] if part["kind"] == "kept") >= 10 * GIB


def test_a_gpu_to_use_that_is_not_there_is_named(tmp_path: Path) -> None:
    tables = "[models.llama]\ncontext_tokens = 8192\n[gpus]\nuse = ['GPU-x']"
    llama = case(tmp_path, {"llama": model(15.0)}, tables)
    double = Double(tmp_path / "nvml", [DoubleGpu()])
    said = llama.plan(**double.env)
    assert said.returncode == 1
    assert "[gpus] use names 'GPU-x' and no GPU's UUID begins so; there are: GPU-a" in said.stdout


def test_declared_gpus_stand_in_for_a_machine_that_is_not_there_yet(tmp_path: Path) -> None:
    tables = "[models.llama]\ncontext_tokens = 8192\n[gpus]\ndeclared = '2xRTX4090'"
    llama = case(tmp_path, {"llama": model(15.0)}, tables)
    assert [card["is_declared"] for card in llama.json()["gpus"]] == [True, True]
    assert len(llama.json("--gpus", "1xH100-80GB")["gpus"]) == 1


def test_nothing_starts_on_gpus_that_are_only_declared(tmp_path: Path) -> None:
    tables = "[models.llama]\ncontext_tokens = 8192\n[gpus]\ndeclared = '2xRTX4090'"
    llama = case(tmp_path, {"llama": model(0.1)}, tables)
    said = llama.run("up", "--profile", "gpu")
    assert said.returncode == 1
    assert "NVML finds no GPU" in said.stdout


def test_a_model_that_is_too_large_says_by_how_much_and_what_would_fit(tmp_path: Path) -> None:
    big = case(
        tmp_path,
        {"big": model(131.5, layers=80, heads=64, hidden_size=8192)},
        "[models.big]\ncontext_tokens = 16384",
    )
    said = big.plan("--gpus", "1xH100-80GB")
    assert said.returncode == 1
    assert "weights 131.5" in said.stdout
    assert "| 1 more H100-80GB" in said.stdout
    assert big.plan("--gpus", "4xH100-80GB").returncode == 0


def test_a_refusal_does_not_mix_with_the_json_that_a_program_reads(llama: Case) -> None:
    said = llama.plan("--json", "--gpus", "2xRTX490")
    assert (said.returncode, said.stdout) == (1, "")
    assert "RTX4090" in said.stderr


def test_a_misspelt_card_is_answered_with_its_neighbours(llama: Case) -> None:
    said = llama.plan("--gpus", "2xRTX490")
    assert said.returncode == 1
    assert "RTX4090" in said.stdout


def test_replicas_stand_on_different_gpus_and_have_names_and_ports_of_their_own(tmp_path: Path) -> None:
    llama = case(tmp_path, {"llama": model(15.0)}, "[models.llama]\ncontext_tokens = 8192\nreplicas = 2")
    engines = llama.json("--gpus", "2xL40S")["engines"]
    assert [engine["name"] for engine in engines] == ["llama", "llama-2"]
    assert engines[0]["gpus"] != engines[1]["gpus"]
    assert engines[0]["port"] != engines[1]["port"]


def test_a_model_that_is_wanted_but_not_locked_is_refused_before_anything_else(llama: Case) -> None:
    config = llama.place.config
    config.write_text(config.read_text() + "[models.other]\nsource = 'hf:acme/other'\ncontext_tokens = 4096\n")
    said = llama.plan("--gpus", "1xL4")
    assert said.returncode == 1
    assert "[models.other]" in said.stdout
    assert "spillway lock" in said.stdout


def stack_of(
    tables: dict[str, WantedModel], models: dict[str, LockedModel], gpus: Gpus, **externals: WantedExternal
) -> Stack:
    """What was asked for, as read; nothing of it lies on a disk."""
    wanted = Wanted(tables, WantedGpus(), {}, {}, externals)
    asked = Asked(Path("stack.toml"), Path("models.lock"), None)
    return Stack(asked, wanted, Lock(2, {}, models), runtime("vllm"), gpus, "")


NO_GPU = Gpus((), "there is none")
ROUTER = RouterPlan((), "127.0.0.1", 4000)


def test_an_ollama_engine_has_the_name_and_the_digest_to_ask_for_and_its_slots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gguf = replace(model(4.6, quantization="Q4_K_M", source="ollama:acme/small"), revision="a" * 64)
    here = Gpus((gpu(),), None)
    monkeypatch.setattr(planning, "read_gpus", lambda: here)
    tables = {"small": WantedModel(context_tokens=8192, engine="ollama", concurrent_requests=2)}
    stack = stack_of(tables, {"small": gguf}, here)
    monkeypatch.setenv("SPILLWAY_OLLAMA", sys.executable)
    (engine,) = planning.startable(stack, ROUTER, tmp_path).engines
    assert engine.runtime.command == (sys.executable, "serve")
    assert (engine.folder, engine.revision, engine.slots) == ("acme/small:latest", "a" * 64, 2)
    assert engine.served_name == "acme/small:latest-aaaaaaaaaaaa"


def test_ollama_that_is_not_installed_is_planned_for_and_not_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gguf = replace(model(4.6, quantization="Q4_K_M", source="ollama:acme/small"), revision="a" * 64)
    stack = stack_of({"small": WantedModel(context_tokens=8192, engine="ollama")}, {"small": gguf}, NO_GPU)
    monkeypatch.setenv("SPILLWAY_OLLAMA", str(tmp_path / "nothing"))
    assert planning.planned(stack, ROUTER, tmp_path).placement.unplaced == ()
    with pytest.raises(PlanError, match=r"\[models.small\] .* there is no `ollama` here"):
        planning.startable(stack, ROUTER, tmp_path)


def test_servers_that_others_run_need_no_engine(tmp_path: Path) -> None:
    studio = WantedExternal("http://127.0.0.1:1234", "STUDIO_KEY", {"ours": "theirs"}, 8192)
    plan = planning.startable(stack_of({}, {}, NO_GPU, studio=studio), ROUTER, tmp_path)
    assert plan.engines == ()
    assert plan.externals == (
        ExternalPlan("studio", "http://127.0.0.1:1234", "STUDIO_KEY", (("ours", "theirs"),), 8192),
    )


def test_a_plan_knows_what_it_was_made_from_wherever_it_is_read(tmp_path: Path) -> None:
    plan = planning.startable(stack_of({}, {}, NO_GPU), ROUTER, tmp_path)
    assert plan.source == Source(str(Path("stack.toml").absolute()), str(Path("models.lock").absolute()))


def test_models_that_need_not_be_kept_take_turns_on_the_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = Gpus((gpu(),), None)
    monkeypatch.setattr(planning, "read_gpus", lambda: here)
    tables = {
        "kept": WantedModel(context_tokens=4096),
        "a": WantedModel(context_tokens=4096, keep=False, min_residence_s=30, drain_s=5),
        "b": WantedModel(context_tokens=4096, keep=False),
    }
    stack = stack_of(tables, {"kept": model(0.2), "a": model(60.0), "b": model(60.0)}, here)
    plan = planning.startable(stack, ROUTER, tmp_path)
    assert [(each.name, each.keep, each.is_alternate) for each in plan.engines] == [
        ("kept", True, False),
        ("a", False, False),
        ("b", False, True),
    ]
    assert (plan.engines[1].min_residence_s, plan.engines[1].drain_s) == (30, 5)
    assert first_awake(plan.engines) == {"kept", "a"}
    (room_bytes,) = rooms_of(plan.engines).values()
    assert room_bytes < 80 * GIB
    assert len({engine.port for engine in plan.engines}) == 3


def test_an_engine_that_runs_goes_on_as_it_is_when_another_model_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Gpus((gpu(),), None)
    monkeypatch.setattr(planning, "read_gpus", lambda: here)
    tables, models = {name: WantedModel(context_tokens=4096) for name in "ab"}, {"a": model(10.0), "b": model(20.0)}
    both = planning.startable(stack_of(tables, models, here), ROUTER, tmp_path)
    alone = stack_of({"a": tables["a"]}, models, here)
    plan_path(tmp_path).write_text(both.to_json())
    (afresh,) = planning.startable(alone, ROUTER, tmp_path).engines
    noted(tmp_path, *both.engines)
    (goes_on,) = planning.startable(alone, ROUTER, tmp_path).engines
    assert goes_on == both.engines[0]
    assert afresh.sum.kv_bytes > goes_on.sum.kv_bytes


def test_a_gpu_in_quarantine_is_done_without_and_named_where_that_is_too_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Gpus((gpu(0), gpu(1)), None)
    monkeypatch.setattr(planning, "read_gpus", lambda: here)
    one = stack_of({"llama": WantedModel(context_tokens=4096)}, {"llama": model(15.0)}, here)
    plan = planning.startable(one, ROUTER, tmp_path, ("GPU-0",))
    assert [engine.gpu_uuids for engine in plan.engines] == [("GPU-1",)]
    assert plan.without == ("GPU-0",)
    two = stack_of({"llama": WantedModel(context_tokens=4096)}, {"llama": model(100.0)}, here)
    with pytest.raises(PlanError, match=r"GPU-0 .* is in quarantine"):
        planning.startable(two, ROUTER, tmp_path, ("GPU-0",))
    with pytest.raises(PlanError, match=r"no GPU here can take an engine(.|\n)*GPU-0(.|\n)*GPU-1"):
        planning.startable(one, ROUTER, tmp_path, ("GPU-0", "GPU-1"))


def test_gpus_that_go_while_a_plan_is_made_are_no_reason_for_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    stack = stack_of({"llama": WantedModel(context_tokens=4096)}, {"llama": model(1.0)}, Gpus((gpu(),), None))
    monkeypatch.setattr(planning, "read_gpus", lambda: Gpus((), "GPU 0 is lost"))
    with pytest.raises(PlanError, match="cannot be used any more: GPU 0 is lost"):
        planning.planned(stack, ROUTER, Path("home"))
