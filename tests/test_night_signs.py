"""How a Snapshot shows that a fault was noticed, or that all is well again; and what is written for a stage."""

from __future__ import annotations

import tomllib
from dataclasses import replace

import pytest

from benchmarks.night import signs
from benchmarks.night.course import course
from benchmarks.night.scenery import MODEL, SECOND, Engines, Scenery, Table, lock_text, stack_text
from benchmarks.night.witness import Sight
from engines.snapshot import EngineState, EngineView, GpuState, GpuView, HostView, Snapshot

SMOKE = EngineView(MODEL, MODEL, "vllm", EngineState.READY, "http://e", "GPU-a", 4096, 100, 5.0, 0, None, None)
GPU = GpuView("GPU-a", "Card", 10, 1, 9)
BEFORE = Snapshot(1, 7, (SMOKE,), (), (GPU,), HostView(2, 1))


def now(*engines: EngineView) -> Snapshot:
    return replace(BEFORE, engines=engines)


def test_an_engine_that_is_not_ready_or_not_the_same_process_is_disturbed() -> None:
    assert not signs.disturbed(BEFORE, BEFORE)
    assert signs.disturbed(BEFORE, now(replace(SMOKE, state=EngineState.FAILED, pid=None)))
    assert signs.disturbed(BEFORE, now(replace(SMOKE, restarts=1)))
    assert signs.disturbed(BEFORE, now(replace(SMOKE, pid=101)))
    assert not signs.disturbed(BEFORE, now(SMOKE, replace(SMOKE, name=SECOND, state=EngineState.LOADING)))


def test_all_is_as_before_with_the_same_names_all_ready_and_nothing_under_way() -> None:
    assert signs.as_before(BEFORE, now(replace(SMOKE, pid=101)))
    assert not signs.as_before(BEFORE, now(SMOKE, replace(SMOKE, name="smoke~2")))
    assert not signs.as_before(BEFORE, replace(BEFORE, busy="smoke is replaced"))
    assert not signs.as_before(BEFORE, now())
    assert signs.restarted(BEFORE, now(replace(SMOKE, pid=101)))
    assert not signs.restarted(BEFORE, BEFORE)


def test_a_change_under_way_shows_in_words_or_in_a_second_engine() -> None:
    assert not signs.changing(BEFORE, BEFORE)
    assert signs.changing(BEFORE, replace(BEFORE, busy="smoke is replaced"))
    assert signs.changing(BEFORE, now(SMOKE, replace(SMOKE, name="smoke~2")))
    assert signs.changing(BEFORE, now(replace(SMOKE, state=EngineState.DRAINING)))


def test_an_engine_on_another_gpu_is_elsewhere() -> None:
    assert signs.elsewhere(BEFORE, now(replace(SMOKE, device="GPU-b")))
    assert not signs.elsewhere(BEFORE, BEFORE)
    assert not signs.elsewhere(BEFORE, now())


def test_a_gpu_in_trouble_and_another_supervisor_are_seen() -> None:
    sick = replace(BEFORE, gpus=(replace(GPU, state=GpuState.SLOWED),))
    assert signs.gpu_trouble(BEFORE, sick)
    assert signs.gpus_well(sick, BEFORE)
    assert not signs.gpus_well(sick, sick)
    assert signs.another_supervisor(BEFORE, replace(BEFORE, supervisor_pid=8))
    assert signs.ready(MODEL)(BEFORE, BEFORE)
    assert not signs.ready(MODEL, SECOND)(BEFORE, BEFORE)


def test_the_course_tells_each_change_once_and_when() -> None:
    failed = now(replace(SMOKE, state=EngineState.FAILED, pid=None, last_error="killed"))
    sights = [Sight(8.0, BEFORE), Sight(9.0, BEFORE), Sight(10.5, failed), Sight(12.0, now())]
    told = course(sights, 10.0)
    assert [line for line in told if "smoke" in line] == [
        "-2.00 s smoke: ready, pid 100, restart 0",
        "+0.50 s smoke: failed, pid None, restart 0, killed",
        "+2.00 s smoke: gone",
    ]
    assert len(told) == 5


def test_a_stage_s_stack_says_who_may_spill() -> None:
    text = stack_text((Table(), Table(SECOND, max_num_seqs=16)), 4010, "http://127.0.0.1:9")
    tables = tomllib.loads(text)
    assert tables["models"].keys() == {MODEL, SECOND}
    assert tables["models"][SECOND]["max_num_seqs"] == 16
    assert tables["clouds"]["stand-in"]["serves"] == [MODEL, SECOND]
    assert tables["endpoint"]["port"] == 4010
    assert [name for name, tier in tables["tiers"].items() if not tier["may_spill"]] == ["bulk"]


def test_a_stage_s_lock_has_the_smoke_model_twice_and_nothing_else() -> None:
    shipped = (
        'schema = 2\n[models.smoke]\nsource = "builtin:smoke"\ntwin = "x"\n[models.smoke.weights]\nplain_bytes = 1\n'
        '[[models.smoke.files]]\npath = "a"\n[models.other]\nsource = "hf:a/b"\n[[models.other.files]]\npath = "b"\n'
    )
    models = tomllib.loads(lock_text(shipped, "folder:/there"))["models"]
    assert models.keys() == {MODEL, SECOND}
    assert models[MODEL] == models[SECOND]
    assert models[MODEL]["source"] == "folder:/there"
    assert "twin" not in models[MODEL]
    with pytest.raises(ValueError, match="has no"):
        lock_text("schema = 2\n")


def test_sceneries_are_named_for_the_table() -> None:
    assert Scenery(Engines.REAL).words == "vLLM"
    assert Scenery(Engines.REAL, tensor_parallel=2).words == "vLLM, 2 workers"
    assert Scenery(Engines.GPUS).words == "fake, 2 GPUs"
