"""What vLLM itself makes of a model's weights: runs in an engine runtime's python, not in ours.

A case's answer: the tensors of the checkpoint, as the model's class in Transformers names them, and the bytes of all
parameters and tables that vLLM's class makes for each tensor-parallel size. Both models are on the meta device: they
have shapes and no memory. The machine is made up, and lines are read and written, by `kv_specs_vllm`, which lies beside
this file.
"""

from __future__ import annotations

import importlib
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

SHOWN_CHARACTERS = 300
BOUNDS = {"kv_cache_dtype": "auto", "context_tokens": 1024, "max_num_batched_tokens": 2048, "max_num_seqs": 16}
# vLLM's configuration of the model in a folder, in the shape of a case.
Configured = Callable[[str, dict[str, Any]], Any]


def answered(configured: Configured, case: dict[str, Any]) -> dict[str, Any]:
    # vLLM and Transformers refuse in many ways, and whatever they refuse with is the answer.
    try:
        answer: dict[str, Any] = {"tensors": _tensors(case["config"]), "bytes": {}, "refused": {}}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"[:SHOWN_CHARACTERS]}
    for size in case["tensor_parallel"]:
        try:
            answer["bytes"][size] = _bytes(configured, case, size)
        except Exception as error:
            answer["refused"][size] = f"{type(error).__name__}: {error}"[:SHOWN_CHARACTERS]
    return answer


def _tensors(config: dict[str, Any]) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Name, dtype and shape of what the checkpoint holds, unquantized: tied tensors once."""
    torch, transformers = (importlib.import_module(name) for name in ("torch", "transformers"))
    plain = {key: value for key, value in config.items() if key != "quantization_config"}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(plain))
        read = transformers.AutoConfig.from_pretrained(folder)
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device("meta"):
            model = getattr(transformers, config["architectures"][0])(read)
    finally:
        torch.set_default_dtype(torch.float32)
    stored = model.state_dict()
    own = [*model.named_parameters(), *model.named_buffers()]
    return {name: (str(each.dtype).removeprefix("torch."), tuple(each.shape)) for name, each in own if name in stored}


def _bytes(configured: Configured, case: dict[str, Any], size: int) -> int:
    torch = importlib.import_module("torch")
    group = importlib.import_module("vllm.distributed.parallel_state").get_tp_group()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(case["config"]))
        whole = configured(folder, BOUNDS | {"tensor_parallel": size})
        whole.kernel_config.moe_backend = case["moe_backend"]
        whole.device_config.device = torch.device("meta")
        # The group has one process; the layers ask it how many share them.
        group.world_size = size
        try:
            with torch.device("meta"), _dtype(whole.model_config.dtype):
                model = importlib.import_module("vllm.model_executor.model_loader.utils").initialize_model(whole)
        finally:
            group.world_size = 1
    held = [*model.parameters(), *model.buffers()]
    return int(sum(each.numel() * each.element_size() for each in held))


def _dtype(dtype: Any) -> Any:
    return importlib.import_module("vllm.utils.torch_utils").set_default_torch_dtype(dtype)
