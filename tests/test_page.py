"""The page of `spillway plan`: on terminals of any width, in a pipe, and as JSON."""

import io
import json
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from engines.gpus.cards import declared
from engines.gpus.gpu import Health
from engines.memory.shape import Shape
from engines.page.page import command_groups, render_plan, wrapped
from engines.page.view import PlanView, Source, from_json
from engines.placement.place import Unplaced
from engines.plan import GIB, Runtime
from tests import wants
from tests.plans import busy, cards, engine, in_turn, printed, view

WIDTHS = (60, 80, 100, 120, 160, 200)


def test_the_terms_of_an_engine_are_those_of_its_bar() -> None:
    shown = busy()
    for each in shown.engines:
        on_card = [part.bytes for part in shown.gpus[each.gpus[0]].parts if part.engine == each.name]
        assert sum(on_card) == each.total_bytes > 0


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("shown", [busy(), in_turn(may_sleep=True)])
def test_no_line_but_a_command_is_wider_than_the_terminal(shown: PlanView, width: int) -> None:
    words = {word for each in shown.engines for group in command_groups(each) for word in group.split()}
    lines = printed(shown, width, force_terminal=True, color_system=None).splitlines()
    assert len(lines) > 30
    long = [line for line in lines if cell_len(line) > width and not words & set(line.split())]
    assert long == []


def test_no_line_ends_in_blanks() -> None:
    lines = printed(busy(), 160).splitlines()
    assert [line for line in lines if line != line.rstrip()] == []


def test_a_terminal_of_ascii_gets_ascii_only() -> None:
    console = Console(width=100, file=io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    with console.capture() as got:
        console.print(render_plan(busy()), crop=False)
    assert got.get().isascii()
    assert "##" in got.get()


def test_nothing_is_coloured_in_a_pipe() -> None:
    assert "\x1b" not in printed(busy())
    assert "\x1b" in printed(busy(), force_terminal=True, color_system="standard")


def test_exact_figures_stand_under_the_bars() -> None:
    page = " ".join(printed(busy(), 120).split())
    assert "b qwen weights 15.00 + KV 20.00 + overhead 3.00 = 38.00 GiB" in page
    assert "c embed weights 1.00 + KV 4.00 + overhead 3.00 = 8.00 GiB" in page
    assert "others 3.00, kept free 1.79, driver 0.50 GiB" in page


def test_gpus_of_one_group_share_their_figures() -> None:
    page = printed(busy(), 120)
    assert page.count("weights 65.70") == 1
    first, second = (next(n for n, line in enumerate(page.splitlines()) if f"GPU-0000000{n_}" in line) for n_ in (0, 1))
    assert second == first + 1


def test_an_engine_that_is_more_than_the_card_has_is_said_to_be() -> None:
    gpu = cards()
    assert "1.50 GiB more than there is" in printed(view(gpu, [engine("large", gpu, 70.0, 8.0)]))


def test_every_term_is_marked_measured_or_estimated() -> None:
    gpu = cards()
    plan = engine("qwen", gpu)
    plan = replace(plan, sum=replace(plan.sum, measured=("weights_bytes", "graph_bytes")))
    shown = view(gpu, [plan])
    sources = {term.name: term.source for term in shown.engines[0].terms}
    assert sources == {
        "weights": Source.MEASURED,
        "activations": Source.ESTIMATED,
        "CUDA graphs": Source.MEASURED,
        "KV cache": Source.PLANNED,
        "CUDA context": Source.ESTIMATED,
    }
    page = " ".join(printed(shown, 80).split())
    assert "weights 15.00 GiB measured" in page
    assert "+ activations 1.00 GiB estimated" in page
    assert "= 0.4654 x 79.50 GiB 37.00 GiB utilization" in page


@pytest.mark.parametrize(("requests", "kept"), [(20, True), (21, False)])
def test_what_runs_at_once_stands_beside_the_promise(requests: int, kept: bool) -> None:
    gpu = cards()
    promise = wants.want("qwen", concurrent_requests=requests)
    page = printed(view(gpu, [engine("qwen", gpu)], wanted=[promise]), force_terminal=True, color_system="standard")
    assert f"promised {requests}" in page
    red = "\x1b[1;31m"
    assert (f"{red}promised" in page) is not kept


def test_a_promise_in_tokens_is_counted_in_requests() -> None:
    gpu = cards()
    shown = view(gpu, [engine("qwen", gpu)], wanted=[wants.want("qwen", kv_tokens=4 * 8192)])
    assert shown.engines[0].promised_requests == 4.0


def test_replicas_show_their_figures_once_and_each_its_command() -> None:
    gpus = cards(2)
    engines = [
        engine("qwen", gpus[:1]),
        engine("qwen-2", gpus[1:], model="qwen", port=20002, folder="/srv/models/qwen"),
    ]
    page = printed(view(gpus, engines))
    assert page.count("CUDA graphs") == 1
    assert "all figures as for a qwen" in page
    assert "--port 20001" in page
    assert "--port 20002" in page


def commands_in(page: str) -> list[str]:
    return [line.strip() for line in page.splitlines() if line.strip().startswith("CUDA_VISIBLE_DEVICES=")]


def test_in_a_pipe_a_command_is_one_line_that_a_shell_takes() -> None:
    gpu = cards()
    odd = ("--chat-template", 'it\'s "mine" $HOME', "--flag")
    shown = view(gpu, [engine("qwen", gpu, extra_args=odd)])
    words = shlex.split(commands_in(printed(shown, 60))[0])
    assert words == [f"CUDA_VISIBLE_DEVICES={gpu[0].uuid}", *shown.engines[0].command]
    assert tuple(words[-3:]) == odd
    assert "--gpu-memory-utilization 0.4654" in " ".join(words)


@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_command_copied_from_a_terminal_runs_in_a_shell(width: int) -> None:
    gpu = cards()
    tell = "import json, os, sys; print(json.dumps([os.environ['CUDA_VISIBLE_DEVICES'], *sys.argv[1:]]))"
    runtime = Runtime("vllm-cuda", "0.33.0", (sys.executable, "-c", tell, "serve"))
    shown = view(gpu, [engine("qwen", gpu, runtime=runtime, extra_args=("--name", "it's a 'name'"))])
    page = printed(shown, width, force_terminal=True, color_system=None)
    start = page.index("CUDA_VISIBLE_DEVICES=")
    copied = page[start : page.index("\n\n", start)]
    said = subprocess.run(["sh", "-c", copied], capture_output=True, text=True, check=True, timeout=30).stdout
    assert json.loads(said) == [gpu[0].uuid, *shown.engines[0].command[3:]]
    assert copied.count("\\\n") == len(copied.splitlines()) - 1 > 1


@given(st.lists(st.text(min_size=1, max_size=30), min_size=1, max_size=20), st.integers(10, 80))
def test_wrapped_lines_hold_all_words_and_pass_the_width_for_long_words_only(words: list[str], width: int) -> None:
    groups = [shlex.quote(word) for word in words]
    lines = wrapped(groups, width)
    assert all(line.endswith(" \\") for line in lines[:-1])
    assert shlex.split(" ".join([*(line[:-2] for line in lines[:-1]), lines[-1]])) == words
    longest = max(len(group) for group in groups)
    assert all(len(line) <= max(width, longest + 2) + 2 for line in lines if "\n" not in line)


def test_flags_stay_with_their_values() -> None:
    gpu = cards()
    groups = command_groups(view(gpu, [engine("qwen", gpu)]).engines[0])
    assert "--max-model-len 8192" in groups
    assert "serve" in groups


def test_ollama_is_told_its_bounds_by_its_environment() -> None:
    gpu = cards()
    runtime = Runtime("ollama", "", ("ollama", "serve"))
    plan = engine(
        "qwen", gpu, kind="ollama", runtime=runtime, gpu_memory_utilization=None, shape=Shape(1, 4096, 3, 512)
    )
    page = printed(view(gpu, [plan]))
    words = shlex.split(commands_in(page)[0])
    assert words[-2:] == ["ollama", "serve"]
    assert {"OLLAMA_CONTEXT_LENGTH=4096", "OLLAMA_NUM_PARALLEL=3", "OLLAMA_HOST=127.0.0.1:20001"} <= set(words)
    assert "utilization" not in page


def test_names_are_text_and_no_markup() -> None:
    gpu = cards(name="Card [bold]x[/bold]")
    unplaced = [Unplaced("[red]b", "[red]b", "needs [1]", ("[dim]c",))]
    page = printed(view(gpu, [engine("[i]a[/i]", gpu)], unplaced))
    for words in ("Card [bold]x[/bold]", "a [i]a[/i]", "[red]b", "needs [1]", "[dim]c"):
        assert words in page


def test_declared_gpus_are_marked_and_their_islands_named() -> None:
    page = " ".join(printed(view(declared("16xH100-80GB").seen), 120).split())
    assert "16 x NVIDIA H100 80GB HBM3" in page
    assert "NVLink joins 0-7 and 8-15" in page
    assert "declared, not in this machine" in page


def test_mig_instances_name_their_gpu() -> None:
    gpus = cards(2, parent_uuid="GPU-abcd1234-9999", name="NVIDIA A100 MIG 3g.20gb")
    assert "part of GPU-abcd1234" in printed(view(gpus))


def test_faults_and_health_get_a_word_and_health_that_is_good_none() -> None:
    sick = Health(temperature_c=91, throttles=("thermal",), uncorrected_ecc_errors=3, recovery="gpu reset")
    well = Health(temperature_c=45, throttles=(), uncorrected_ecc_errors=0, remap_failed=False, recovery="none")
    page = printed(view([*cards(health=sick), wants.gpu(9, health=well)], faults=("GPU 0000:41:00.0 is lost.",)))
    for word in ("slowed down: thermal", "91 C", "3 uncorrected ECC errors", "gpu reset", "0000:41:00.0 is lost"):
        assert page.count(word) == 1
    assert "45 C" not in page


def test_without_a_gpu_the_bar_is_that_of_the_machine() -> None:
    shown = view((), [engine("smoke", (), 1.0, 2.0, shape=Shape(2, 4096, 64, 4096))], host_bytes=16 * GIB)
    assert shown.host is not None
    assert sum(part.bytes for part in shown.host.parts) == 16 * GIB
    page = " ".join(printed(shown, 80).split())
    assert "no GPU: no driver is loaded" in page
    assert "RAM 16.00 GiB, cores 0-2, 5" in page
    assert "weights 2.00 + KV 4.00" in page
    assert "KV cache 2.00 GiB planned" in page
    assert "VLLM_CPU_KVCACHE_SPACE=2" in page


def test_what_does_not_fit_says_by_how_much_and_what_would() -> None:
    page = printed(busy(), 120)
    assert "1 more has no place" in page
    tail = page[page.index("DOES NOT FIT") :]
    assert "needs 141.1 GiB = weights 131.5 + KV 6.0 + overhead 3.6; 80.0 GiB there" in tail
    assert "fits with: AWQ 4-bit checkpoint (41.8 GiB) | tensor parallel 2 | context 8192" in tail


def test_the_json_is_read_back_as_it_was() -> None:
    for shown in (busy(), view((), [engine("smoke", ())], host_bytes=16 * GIB), view(declared("2xL4").seen)):
        assert from_json(shown.to_json()) == shown


def test_the_json_has_the_keys_that_programs_rely_on() -> None:
    raw: Mapping[str, Any] = json.loads(busy().to_json())
    assert {"schema", "profile", "endpoint", "gpus", "engines", "unplaced"} <= raw.keys()
    assert {"uuid", "name", "total_bytes", "parts", "is_declared"} <= raw["gpus"][0].keys()
    assert {"command", "environment", "terms", "kv_tokens", "utilization", "gpus"} <= raw["engines"][0].keys()
    assert raw["unplaced"][0]["ways"][1] == "tensor parallel 2"
    assert raw["engines"][0]["gpus"] == [0, 1]
