"""The tables of `status` show every figure that fits and every trouble in words, at whatever width."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from engines.elsewhere.listed import UNKNOWN_CONTEXT_TOKENS
from engines.snapshot import EngineState, EngineView, GpuState, GpuView, HostView, Load, Snapshot
from engines.terminal.ages import ago
from engines.terminal.table import render_stack

GIB = 2**30
LOAD = Load(3, 2, 0.25, 524_288, 10, 20, 0, 0.3)
ROUTER: Mapping[str, Any] = {
    "endpoint": "http://127.0.0.1:4000/v1",
    "tiers": [{"name": "standard", "ttft_target_s": 2, "order": ["local", "cloud"], "may_spill": True}],
    "clouds": [
        {
            "name": "nano",
            "model": "openai/gpt-5-nano",
            "input_usd_per_mtok": 0.05,
            "output_usd_per_mtok": None,
            "state": "off",
            "why": "the variable OPENAI_API_KEY is not set",
        }
    ],
    "spend": {"today_usd": 0.12, "cloud_usd_per_day": 5, "lost_outcomes": 0},
}


def _engine(name: str = "qwen", **facts: Any) -> EngineView:
    made = EngineView(
        name=name,
        model="qwen3-8b",
        kind="vllm",
        state=EngineState.READY,
        url="http://127.0.0.1:9",
        device="GPU-11111111-aaaa",
        context_tokens=32_768,
        pid=7,
        in_state_s=190.0,
        restarts=0,
        last_error=None,
        load=LOAD,
        memory_bytes=22 * GIB,
    )
    return replace(made, **facts)


def _gpu(uuid: str = "GPU-11111111-aaaa", **facts: Any) -> GpuView:
    made = GpuView(
        uuid, "NVIDIA H100 80GB HBM3", 80 * GIB, 60 * GIB, 20 * GIB, 3 * GIB, temperature_c=71, power_w=312.4
    )
    return replace(made, in_state_s=7200.0, age_s=1.2, **facts)


def _snapshot(*engines: EngineView, gpus: tuple[GpuView, ...] = (), **facts: Any) -> Snapshot:
    return Snapshot(1, 2, engines or (_engine(),), (), gpus, HostView(1, 1), **facts)


def _shown(
    snapshot: Snapshot,
    width: int = 100,
    router: Mapping[str, Any] | None = ROUTER,
    last_words: Mapping[str, Sequence[str]] | None = None,
) -> str:
    console = Console(width=width)
    with console.capture() as capture:
        console.print(render_stack(snapshot, router, "127.0.0.1", 4321, last_words), highlight=False)
    return capture.get()


def _row(shown: str, beginning: str) -> dict[str, str]:
    """A row by its column names; every column begins or ends where its name does."""
    lines = shown.splitlines()
    number = next(number for number, line in enumerate(lines) if line.startswith(beginning))
    head = next(line for line in reversed(lines[:number]) if line.split()[:1] in (["ENGINE"], ["GPU"], ["CLOUD"]))
    cells, names = (_split(line) for line in (lines[number], head))
    assert len(cells) == len(names)
    return dict(zip(names, cells, strict=True))


def _split(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


def test_an_engine_is_shown_with_its_state_its_load_and_its_memory() -> None:
    shown = _shown(_snapshot(_engine(restarts=2), gpus=(_gpu("GPU-00000000-cccc"), _gpu())), 160)
    assert _row(shown, "local/qwen") == {
        "ENGINE": "local/qwen",
        "STATE": "ready 3 min",
        "DEVICE": "GPU 1",
        "MODEL": "qwen3-8b",
        "CONTEXT": "32,768",
        "KV TOKENS": "524,288",
        "RUN": "3",
        "WAIT": "2",
        "HEARD": "0.3 s",
        "MEMORY": "22.0 GiB",
        "RESTARTS": "2",
    }


def test_what_is_not_known_is_a_dash_and_never_a_zero() -> None:
    elsewhere = _engine(
        kind="url", device="elsewhere", context_tokens=UNKNOWN_CONTEXT_TOKENS, load=None, memory_bytes=None
    )
    row = _row(_shown(_snapshot(elsewhere), 160), "local/qwen")
    unknown = ("CONTEXT", "KV TOKENS", "RUN", "WAIT", "HEARD", "MEMORY")
    assert {row[name] for name in unknown} == {"-"}
    gpu = _gpu(foreign_bytes=None)
    shown = _row(_shown(_snapshot(gpus=(replace(gpu, temperature_c=None, power_w=None),))), "0 GPU-11111111")
    assert {shown[name] for name in ("OTHERS", "TEMP", "POWER")} == {"-"}


@pytest.mark.parametrize(
    ("held", "words"), [(0, "0.0 GiB"), (1, "1 MiB"), (30 * 2**20, "30 MiB"), (GIB // 2, "0.5 GiB")]
)
def test_little_memory_is_not_shown_as_none(held: int, words: str) -> None:
    assert _row(_shown(_snapshot(_engine(memory_bytes=held))), "local/qwen")["MEMORY"] == words


def test_a_gpu_is_shown_with_what_is_wrong_and_what_others_hold() -> None:
    sick = _gpu("GPU-22222222-bbbb", state=GpuState.QUARANTINED, why="has fallen off the bus: reboot the machine")
    shown = _shown(_snapshot(gpus=(_gpu(why="others hold 3.0 GiB of it: python3 (pid 4711)"), sick)))
    assert _row(shown, "0 GPU-11111111") == {
        "GPU": "0 GPU-11111111",
        "NAME": "H100 80GB HBM3",
        "STATE": "ok 2 h",
        "USED": "60.0 GiB",
        "OF": "80.0 GiB",
        "OTHERS": "3.0 GiB",
        "TEMP": "71 °C",
        "POWER": "312 W",
        "READ": "1.2 s",
    }
    assert _row(shown, "1 GPU-22222222")["STATE"] == "quarantined 2 h"
    assert "GPU 0 (GPU-11111111-aaaa): others hold 3.0 GiB of it: python3 (pid 4711)\n" in shown
    assert "GPU 1 (GPU-22222222-bbbb): has fallen off the bus: reboot the machine\n" in shown


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"state": EngineState.LOADING, "progress": "loading weights 43 %"}, "loading weights 43 %"),
        ({"last_error": "killed by the system", "restarts": 1}, "ended before: killed by the system"),
        ({"state": EngineState.FAILED, "last_error": "out of memory", "failed_starts": 3}, "out of memory (3 failed"),
        ({"changes": "half the context: memory"}, "runs otherwise than planned: half the context: memory"),
        ({"is_adopted": True}, "was adopted from an earlier supervisor"),
        ({"weight": 0.5}, "its GPU is slowed down: it counts as 0.5 of one"),
        ({"load": replace(LOAD, age_s=12.0)}, "has told nothing of its load for 12 s"),
    ],
)
@pytest.mark.parametrize("width", [80, 100])
def test_every_fact_that_needs_words_has_a_line(facts: dict[str, Any], words: str, width: int) -> None:
    assert f"\nlocal/qwen: {words}" in _shown(_snapshot(_engine(**facts)), width)
    assert "local/qwen:" not in _shown(_snapshot(), width)


def test_a_change_under_way_and_one_that_is_refused_are_said_above_all() -> None:
    shown = _shown(_snapshot(busy="qwen is replaced", refused="[models.qwen] max_seqs is unknown"))
    before = shown[: shown.index("ENGINE")]
    assert "under way: qwen is replaced" in before
    assert "the newest change is refused: [models.qwen] max_seqs is unknown" in before
    assert "refused" not in _shown(_snapshot())


def test_the_last_lines_of_an_engine_are_shown_whole_and_as_they_are() -> None:
    lines = ["Traceback (most recent call last):", "[bold]no markup[/bold] " + "x" * 120]
    shown = _shown(_snapshot(), last_words={"qwen": lines, "quiet": []})
    assert "the last 2 lines of qwen:\n  Traceback (most recent call last):" in shown
    assert "[bold]no markup[/bold]" in shown
    assert shown.count("x") >= 120
    assert "quiet" not in shown


def test_old_readings_of_gpus_are_said_to_be_old() -> None:
    assert "the GPUs were read 31 s ago" in _shown(_snapshot(gpus=(replace(_gpu(), age_s=31.0),)))
    assert "were read" not in _shown(_snapshot(gpus=(_gpu(),)))


def test_tiers_clouds_preset_and_spend_are_the_routers() -> None:
    shown = _shown(_snapshot())
    assert "endpoint  http://127.0.0.1:4000/v1\n" in shown
    assert "cloud/nano: the variable OPENAI_API_KEY is not set" in shown
    row = _row(shown, "cloud/nano ")
    assert (row["$/M IN"], row["OUT"], row["STATE"]) == ("0.05", "?", "off")
    assert "spent today  $0.1200 of $5.00" in shown
    assert "preset" not in shown
    preset = {**ROUTER, "preset": "local-first", "cost_per_job": {"audit": 0.3, "letter": None}}
    assert "preset       local-first, audit $0.3000 a job, letter unknown a job" in _shown(_snapshot(), router=preset)
    away = _shown(_snapshot(), router=None)
    assert "endpoint  http://127.0.0.1:4321/v1  (the router does not answer)" in away
    assert "TIER" not in away
    capped = {"hour_usd": 0.5, "cloud_usd_per_hour": 1.0, "month_usd": 7.0, "cloud_usd_per_month": None}
    spend = _shown(_snapshot(), router={**ROUTER, "spend": {**ROUTER["spend"], **capped}})
    assert "spent today  $0.1200 of $5.00, this hour $0.5000 of $1.00\n" in spend + "\n"
    assert "counts" not in spend
    short = {**ROUTER["spend"], "pacing": {"short": "the clouds' money is short: a dollar counts 1.50 times"}}
    assert "a dollar counts 1.50 times\n" in _shown(_snapshot(), router={**ROUTER, "spend": short}) + "\n"
    written = {"today_usd": 0.0, "cloud_usd_per_day": 5, "lost_outcomes": 4, "ledger": "database or disk is full"}
    lost = {**ROUTER, "spend": written}
    assert "the ledger cannot be written, so no cloud is asked: database or disk is full" in _shown(
        _snapshot(), router=lost
    )
    assert "4 requests could not be written to the ledger" in _shown(_snapshot(), router=lost)


def _crowd() -> Snapshot:
    long = "a-rather-long-name-9b"
    engines = (
        _engine(long, model=long, state=EngineState.QUARANTINED, in_state_s=86_400.0, device="GPU-11111111-aaaa"),
        _engine("b", device="GPU-11111111-aaaa,GPU-22222222-bbbb", restarts=12),
    )
    return _snapshot(*engines, gpus=(_gpu(), _gpu("GPU-22222222-bbbb", state=GpuState.QUARANTINED)))


@pytest.mark.parametrize("width", [60, 80, 100, 140, 200])
def test_no_line_is_wider_than_its_terminal_and_no_cell_is_cut(width: int) -> None:
    shown = _shown(_crowd(), width)
    assert max(len(line.rstrip()) for line in shown.splitlines()) <= width
    assert "…" not in shown
    for cell in ("local/a-rather-long-name-9b", "quarantined 1 d", "1 GPU-22222222", "quarantined 2 h"):
        assert cell in shown


def test_the_least_columns_go_first() -> None:
    def columns(width: int, beginning: str) -> set[str]:
        return set(_row(_shown(_crowd(), width), beginning))

    engine, gpu = "local/a-rather", "1 GPU-22222222"
    everything, some, few = (columns(width, engine) for width in (160, 100, 80))
    assert everything > some > few >= {"ENGINE", "STATE", "RUN", "WAIT", "RESTARTS"}
    assert everything - some <= {"MODEL", "KV TOKENS", "CONTEXT"}
    assert columns(100, gpu) > columns(80, gpu) >= {"GPU", "STATE", "USED", "OF", "TEMP", "OTHERS"}


@pytest.mark.parametrize(
    ("age_s", "words"), [(0, "0 s"), (59, "59 s"), (60, "1 min"), (3599, "59 min"), (7200, "2 h"), (259_200, "3 d")]
)
def test_ages_are_short(age_s: float, words: str) -> None:
    assert ago(age_s) == words
