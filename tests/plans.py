"""Plans of a few engines made from a few numbers, as the values of the page, and the page as it is printed."""

import io
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rich.console import Console

from engines.gpus.gpu import Gpu, Gpus
from engines.memory.shape import Shape
from engines.page.page import render_plan
from engines.page.view import PlanView
from engines.page.viewing import view_of
from engines.placement.place import Unplaced
from engines.placement.want import Rules, Want
from engines.plan import GIB, EnginePlan, Plan, RouterPlan, Runtime, Sum
from tests import wants


def cards(count: int = 1, **changes: Any) -> tuple[Gpu, ...]:
    """Cards of 80 GiB of which the driver keeps half a GiB, with UUIDs as they are."""
    uuids = [f"GPU-{number:08x}-1111-2222-3333-444455556666" for number in range(count)]
    facts = {"reserved_bytes": GIB // 2, **changes}
    return tuple(wants.gpu(number, uuid=uuid, **facts) for number, uuid in enumerate(uuids))


def engine(name: str, gpus: Sequence[Gpu], weights: float = 15.0, kv: float = 20.0, **changes: Any) -> EnginePlan:
    """An engine with 3 GiB of overhead on these GPUs, or on the CPU if there are none."""
    bytes_of = Sum(int(weights * GIB), GIB, GIB, GIB, int(kv * GIB), int(kv * 8192), 131072, kv)
    facts: dict[str, Any] = {
        "name": name,
        "kind": "vllm",
        "runtime": Runtime("vllm-cuda", "0.33.0", ("/opt/runtimes/vllm-cuda/bin/vllm", "serve")),
        "model": name,
        "folder": f"/srv/models/{name}",
        "revision": "0" * 40,
        "dtype": "bfloat16",
        "device": ",".join(gpu.uuid for gpu in gpus) or "cpu",
        "gpu_uuids": tuple(gpu.uuid for gpu in gpus),
        "gpu_name": gpus[0].name if gpus else "cpu",
        "cores": () if gpus else (0, 1, 2, 5),
        "shape": Shape(max(1, len(gpus)), 8192, 256, 4096),
        "gpu_memory_utilization": 0.4654 if gpus else None,
        "kv_blocks": None,
        "cpu_kv_cache_gib": int(kv),
        "max_num_queued_reqs": 1024,
        "port": 20001,
        "extra_args": (),
        "sum": bytes_of,
    }
    return EnginePlan(**{**facts, **changes})


def view(
    gpus: Sequence[Gpu] = (),
    engines: Sequence[EnginePlan] = (),
    unplaced: Sequence[Unplaced] = (),
    *,
    rules: Rules = wants.RULES,
    wanted: Sequence[Want] = (),
    **more: Any,
) -> PlanView:
    plan = Plan("f", "gpu" if gpus else "cpu", tuple(engines), (), RouterPlan((), "127.0.0.1", 4000))
    host_bytes = more.pop("host_bytes", None)
    seen = Gpus(tuple(gpus), None if gpus else "no driver is loaded", **more)
    return view_of(plan, seen, unplaced, wanted, rules, host_bytes)


def printed(shown: PlanView, width: int = 120, **terminal: Any) -> str:
    """The page as it arrives in a pipe, or on a terminal with `force_terminal`."""
    file = io.StringIO()
    Console(width=width, file=file, **terminal).print(render_plan(shown), crop=False)
    return file.getvalue()


def in_turn(*, may_sleep: bool = False, kinds: str = "vllm") -> PlanView:
    """One card that a kept model has with one of two others, which take turns."""
    gpus = cards()
    loose: dict[str, Any] = {"keep": False, "may_sleep": may_sleep, "kind": kinds}
    engines = [
        engine("kept", gpus, 10.0, 5.0),
        engine("coder", gpus, 30.0, 20.0, **loose),
        engine("writer", gpus, 40.0, 15.0, is_alternate=True, **loose),
    ]
    return view(gpus, engines)


def busy(gpus: Sequence[Gpu] | None = None) -> PlanView:
    """Four cards: two hold one model together, one holds two, one holds nothing; and one model has no place."""
    gpus = gpus or cards(4, links=())
    engines = [
        engine("llama-70b", gpus[:2], 65.7, 5.0),
        engine("qwen", gpus[2:3]),
        engine("embed", gpus[2:3], 1.0, 4.0),
    ]
    needs = "needs 141.1 GiB = weights 131.5 + KV 6.0 + overhead 3.6; 80.0 GiB there"
    ways = ("AWQ 4-bit checkpoint (41.8 GiB)", "tensor parallel 2", "context 8192")
    rules = replace(wants.RULES, foreign_bytes={gpus[2].uuid: 3 * GIB, gpus[3].uuid: 0}, reserve_bytes=GIB)
    return view(gpus, engines, [Unplaced("large", "large", needs, ways)], rules=rules)
