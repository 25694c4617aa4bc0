"""What vLLM itself makes of the KV cache: runs in an engine runtime's python, not in ours, and imports nothing of ours.

Reads one JSON case a line, writes one JSON answer a line. vLLM's own code does everything that decides the cache: the
configuration, the model (on the meta device, so without memory), the choice of attention backend and block size, the
specs of the layers, their groups and the pool. Only the machine is made up: with `--card 9.0` vLLM believes in GPUs of
that compute capability, and is not asked to compute. Without it, vLLM is on the CPU.

What it makes of a model's weights is answered by `weights_vllm`, which lies beside this file. The proofs start it
(`benchmarks.proof.kv_specs` and `.weights`); it takes long to begin, so a process may be asked about both.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, TextIO
from unittest.mock import MagicMock

CARD_BYTES = 80 * 2**30
# Compiled for CUDA only, and not in a CPU runtime. Nothing here calls into them.
COMPILED = tuple(
    f"vllm.{name}"
    for name in ("_C_stable_libtorch", "_moe_C_stable_libtorch", "_qutlass_C", "_flashmla_C", "_flashmla_extension_C")
)
FLASH_ATTENTION = ("vllm.vllm_flash_attn", "vllm.vllm_flash_attn.flash_attn_interface")
OPERATORS = ("_C", "_moe_C")
PACKAGES = ("flashinfer", "deep_gemm", "vllm.third_party.deep_gemm", "vllm.third_party.flashmla")
AMPERE, HOPPER, BLACKWELL = 8, 9, 10
SHOWN_CHARACTERS = 600


def answers_alone() -> TextIO:
    """Standard output for answers and nothing else, and vLLM kept quiet and off the network."""
    # vLLM writes to standard output as it likes; the answers go where it does not.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    os.environ |= {
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
        "DO_NOT_TRACK": "1",
        "VLLM_LOGGING_LEVEL": "ERROR",
    }
    return answers


def main() -> int:
    """Answer all cases."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--card", help="compute capability of the made-up GPUs, as 9.0 (none: the CPU)")
    options = parser.parse_args()
    answers = answers_alone()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["VLLM_CACHE_ROOT"] = folder
        if options.card:
            believe_in(tuple(int(part) for part in options.card.split(".")))
        start_distributed(folder)
        for line in sys.stdin:
            case = json.loads(line)
            try:
                answer = _about_weights(case) if "moe_backend" in case else _answered(case)
            # vLLM refuses in many ways, and whatever it refuses with is its answer.
            except Exception as error:
                answer = {"error": f"{type(error).__name__}: {error}"[:SHOWN_CHARACTERS]}
            print(json.dumps({"name": case["name"]} | answer), file=answers)
    return 0


def _module(name: str) -> Any:
    return importlib.import_module(name)


def _about_weights(case: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = _module("weights_vllm").answered(configured, case)
    return answer


def believe_in(capability: tuple[int, ...]) -> None:
    """Make vLLM believe in GPUs: a platform that answers for them, and names in place of what is compiled for CUDA."""
    major = capability[0]
    versions = {2: True, 3: major in (AMPERE, HOPPER), 4: major in (HOPPER, BLACKWELL)}
    supported = {"is_fa_version_supported": lambda version, device=None: versions[version]}
    for name in COMPILED:
        _stand_in(name)
    for name in FLASH_ATTENTION:
        _stand_in(name, fa_version_unsupported_reason=lambda *_: None, **supported)
    sys.meta_path += [_Missing(package) for package in PACKAGES]
    torch = _module("torch")
    # A model that asks for the device at hand is put where it takes no memory.
    torch.cuda.current_device = torch.accelerator.current_device_index = lambda: "meta"
    torch.cuda.Stream = torch.cuda.Event = torch.accelerator.empty_cache = MagicMock
    _module("vllm.platforms")._current_platform = _card(capability)()
    _module("vllm._custom_ops")
    _module("vllm.triton_utils").triton.Config = lambda *_, **__: SimpleNamespace(num_stages=1, num_warps=4, kwargs={})
    _believe_in_operators()
    _module("vllm.engine.arg_utils")
    # Transformers has by now decided that it has no torchvision; its classes may still name it.
    sys.meta_path.append(_Missing("torchvision"))
    # Inspected in a child, a model class would find no GPU there.
    _module("vllm.model_executor.models.registry")._run_in_subprocess = lambda inspect: inspect()


def _believe_in_operators() -> None:
    """Operators that are not compiled in answer anything; nothing is computed with them."""
    namespace = _module("torch._ops")._OpNamespace
    found = namespace.__getattr__

    def operator(self: Any, name: str) -> Any:
        try:
            return found(self, name)
        except AttributeError:
            if name.startswith("__") or not self.name.startswith(OPERATORS):
                raise
            return MagicMock(name=name)

    namespace.__getattr__ = operator


def _stand_in(name: str, **members: Any) -> MagicMock:
    module = MagicMock(name=name)
    module.__name__, module.__spec__, module.__path__ = name, ModuleSpec(name, None), []
    for member, value in members.items():
        setattr(module, member, value)
    sys.modules[name] = module
    return module


class _Missing(MetaPathFinder, Loader):
    """Imports any module of a package that a CPU runtime does not have."""

    def __init__(self, package: str) -> None:
        self._package = package

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        return ModuleSpec(name, self, is_package=True) if f"{name}.".startswith(f"{self._package}.") else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _stand_in(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """There is nothing to run."""


def _card(capability: tuple[int, ...]) -> type:
    answers: dict[str, Any] = {
        "get_device_capability": _module("vllm.platforms.interface").DeviceCapability(*capability),
        "get_device_name": "a card",
        "get_device_total_memory": CARD_BYTES,
        "is_fully_connected": True,
        "get_device_numa_node": None,
        "get_all_device_numa_nodes": None,
        "num_compute_units": 132,
        "device_count": 8,
        "import_kernels": None,
    }
    members = {name: classmethod(lambda *_, value=value, **__: value) for name, value in answers.items()}
    return type("Card", (_module("vllm.platforms.cuda").CudaPlatformBase,), members)


def start_distributed(folder: str) -> None:
    state, config = _module("vllm.distributed.parallel_state"), _module("vllm.config")
    with config.set_current_vllm_config(config.VllmConfig()):
        state.init_distributed_environment(1, 0, f"file://{folder}/rendezvous", 0, "gloo")
        state.initialize_model_parallel(1)
    _module("vllm.v1.worker.workspace").init_workspace_manager(_module("torch").device("meta"))


def _answered(case: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder, _nowhere():
        (Path(folder) / "config.json").write_text(json.dumps(case["config"]))
        whole = configured(folder, case)
        whole.device_config.device = _module("torch").device("meta")
        # The group has one process; the layers ask it how many share them.
        _module("vllm.distributed.parallel_state").get_tp_group().world_size = case["tensor_parallel"]
        with _module("vllm.config").set_current_vllm_config(whole):
            specs = dict(_specs(whole))
            return _described(whole, specs, case) if specs else {"groups": 0}


def _nowhere() -> Any:
    """While this lasts, tensors that are asked for on a GPU take no memory anywhere."""

    def called(self: Any, function: Any, types: Any, arguments: Any = (), named: Any = None) -> Any:
        named = dict(named or {})
        if str(named.get("device", "")).startswith("cuda"):
            named["device"] = "meta"
        return function(*arguments, **named)

    return type("Nowhere", (_module("torch.overrides").TorchFunctionMode,), {"__torch_function__": called})()


def configured(folder: str, case: dict[str, Any]) -> Any:
    arguments = _module("vllm.engine.arg_utils").EngineArgs(
        model=folder,
        skip_tokenizer_init=True,
        load_format="dummy",
        enforce_eager=True,
        tensor_parallel_size=case["tensor_parallel"],
        kv_cache_dtype=case["kv_cache_dtype"],
        max_model_len=case["context_tokens"],
        max_num_batched_tokens=case["max_num_batched_tokens"],
        max_num_seqs=case["max_num_seqs"],
        distributed_executor_backend="mp",
    )
    return arguments.create_engine_config()


def _specs(whole: Any) -> Iterator[tuple[str, Any]]:
    """Every layer's spec, as a worker of vLLM collects them (v1/worker/gpu_model_runner.py, get_kv_cache_spec)."""
    torch, platform = _module("torch"), _module("vllm.platforms").current_platform
    with torch.device("meta"), _module("vllm.utils.torch_utils").set_default_torch_dtype(whole.model_config.dtype):
        _module("vllm.model_executor.model_loader.utils").initialize_model(whole)
    platform.update_block_size_for_backend(whole)
    yield from _module("vllm.v1.worker.gpu.attn_utils").get_kv_cache_spec(whole).items()


def _described(whole: Any, specs: dict[str, Any], case: dict[str, Any]) -> dict[str, Any]:
    backends, kinds = _module("vllm.v1.attention.backends.utils"), _module("vllm.v1.kv_cache_interface")
    layers = whole.compilation_config.static_forward_context
    used = {layers[name].get_attn_backend() for name in specs}
    kept = [spec for spec in specs.values() if isinstance(spec, kinds.FullAttentionSpec)]
    per_token = sum(spec.real_page_size_bytes // spec.block_size for spec in kept)
    layouts = [layout.name for layout in backends.get_supported_kv_cache_layouts(used)]
    layout = backends.resolve_kv_cache_layout(whole, [layouts], specs.values())
    caches = _module("vllm.v1.core.kv_cache_utils")
    (pool,) = caches.get_kv_cache_configs(whole, [specs], [case["pool_bytes"]])
    tokens, requests = caches.get_kv_cache_capacity(whole, caches.generate_scheduler_kv_cache_config([pool]))
    block_bytes = caches._pool_bytes_per_block(whole, pool.kv_cache_groups)
    return {
        "context_tokens": whole.model_config.max_model_len,
        "dtype": str(whole.model_config.dtype).removeprefix("torch."),
        "quantization": whole.model_config.quantization or "none",
        "backends": sorted(backend.get_name() for backend in used),
        "layout": layout.name,
        "bytes_per_token": per_token,
        "block_tokens": min(group.kv_cache_spec.block_size for group in pool.kv_cache_groups),
        "block_bytes": block_bytes,
        "least_bytes": caches._max_memory_usage_bytes_from_groups(whole, pool.kv_cache_groups) + block_bytes,
        "groups": len(pool.kv_cache_groups),
        "blocks": pool.num_blocks,
        "tokens": tokens,
        "requests": requests,
    }


if __name__ == "__main__":
    sys.exit(main())
