"""Bytes of weights on each GPU computed by Spillway against the parameters that vLLM's own model classes make.

Nothing runs on a GPU: Transformers says which tensors a checkpoint has, vLLM's classes in the CPU engine runtime, which
believe in a Hopper card, say what each GPU holds (`weights_vllm`). Prints a table; status 1 if any figure is further
from vLLM's than --within.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from benchmarks.proof.kv_specs import answers, runtime_python
from benchmarks.proof.weights_configs import ALL
from benchmarks.proof.weights_stored import stored
from engines.memory.parallel import refusal
from engines.memory.shape import Shape
from engines.memory.weights import MXFP4, gpu_bytes
from engines.models.architecture import BYTES_OF_DTYPE, Architecture
from engines.models.hf_config import quantization_of, read_architecture
from engines.models.lock import LockedFile, LockedModel
from engines.models.tensor_names import is_absorbed
from engines.models.weights import Tensor, Weights, absorbed_bytes, is_quantized, weights_of

TENSOR_PARALLEL = (1, 2, 4, 8)
DTYPES = {"bfloat16": "BF16", "float16": "F16", "float32": "F32", "int64": "I64", "int32": "I32"}
# A card on which vLLM takes Marlin for MXFP4 of itself.
MARLIN_CARD = (8, 9)
GIB = 2**30


@dataclass(frozen=True, slots=True)
class Compared:
    """One model over so many GPUs: bytes on each of them, by Spillway and by vLLM; None where vLLM refuses.
    `refusal`: Spillway's."""

    model: str
    tensor_parallel: int
    ours: int
    theirs: int | None
    refusal: str | None

    @property
    def off(self) -> float:
        return 0.0 if self.theirs is None else self.ours / self.theirs - 1

    @property
    def is_agreed(self) -> bool:
        """Whether both accept or both refuse."""
        return (self.theirs is None) == (self.refusal is not None)

    def cell(self) -> str:
        if self.theirs is not None:
            return f"{self.off:+.3%}".replace("-0.000%", "0.000%").replace("+0.000%", "0.000%") + (
                "" if self.is_agreed else f" (Spillway: {self.refusal})"
            )
        return "refused" if self.is_agreed else "refused by vLLM alone"


def main() -> int:
    """Ask, compare, print."""
    parser = argparse.ArgumentParser("python -m benchmarks.proof.weights", description=__doc__)
    add = parser.add_argument
    add("--model", nargs="*", choices=sorted(ALL), default=list(ALL), metavar="NAME", help="(all)")
    add("--tensor-parallel", type=int, nargs="*", default=TENSOR_PARALLEL, help="(%(default)s)")
    add("--within", type=float, default=0.01, help="largest share that a figure may be off (%(default)s)")
    add("--python", help="of an engine runtime with vLLM for the CPU (that of this checkout, made if it is not there)")
    options = parser.parse_args()
    found = compared(options.model, options.tensor_parallel, options.python or runtime_python())
    print("\n".join(table(found)))
    held = [each for each in found if each.theirs is not None]
    near = all(abs(each.off) <= options.within for each in held)
    return 0 if held and near and all(each.is_agreed for each in found) else 1


def compared(models: Iterable[str], parallels: Sequence[int], python: str) -> list[Compared]:
    """Raises ValueError if vLLM did not answer for every model."""
    return outcomes(answers(questions(models, parallels), python), parallels)


def questions(models: Iterable[str], parallels: Sequence[int]) -> list[str]:
    """A line for `kv_specs_vllm` of each model."""
    return [json.dumps(_question(model, parallels)) for model in models]


def outcomes(answered: Sequence[Mapping[str, Any]], parallels: Sequence[int]) -> list[Compared]:
    """Raises ValueError if vLLM did not answer for every model."""
    if silent := [answer for answer in answered if "error" in answer]:
        raise ValueError(f"vLLM did not answer for {len(silent)} of {len(answered)} models: {silent}")
    return [each for answer in answered for each in _compared(answer, parallels)]


def _question(model: str, parallels: Sequence[int]) -> dict[str, Any]:
    # Which kernels a runtime has decides how MXFP4 is padded; that of the CPU has none, so one is chosen.
    backend = "marlin" if quantization_of(ALL[model]) in MXFP4 else "auto"
    return {"name": model, "config": ALL[model], "tensor_parallel": list(parallels), "moe_backend": backend}


def _compared(answer: Mapping[str, Any], parallels: Sequence[int]) -> list[Compared]:
    config = ALL[answer["name"]]
    architecture = read_architecture(config)
    plain = {name: _tensor(dtype, shape) for name, (dtype, shape) in answer["tensors"].items()}
    tensors = stored(plain, config)
    weights = weights_of(tensors, architecture, config)
    # vLLM makes these after loading, and its classes do not have them yet.
    late = [absorbed_bytes(each, architecture) for name, each in tensors.items() if is_absorbed(name)]
    model = _locked(answer["name"], architecture, weights, config)
    found = []
    for size in parallels:
        shape = Shape(size, architecture.context_tokens, 16, 2048)
        ours = gpu_bytes(weights, architecture, shape, quantization_of(config), MARLIN_CARD)
        early = ours - sum(late) // size if is_quantized(config) else ours
        theirs = answer["bytes"].get(str(size))
        found.append(Compared(answer["name"], size, early, theirs, refusal(model, size)))
    return found


def _locked(name: str, architecture: Architecture, weights: Weights, config: Mapping[str, Any]) -> LockedModel:
    file = LockedFile("model.safetensors", "0" * 64, weights.total_bytes())
    source = "hf:example/" + re.sub(r"[^\w.-]", "-", name)
    return LockedModel(source, "", quantization_of(config), (), architecture, weights, (file,))


def _tensor(dtype: str, shape: Sequence[int]) -> Tensor:
    element = 8 if dtype == "int64" else BYTES_OF_DTYPE.get(dtype, 4)
    return Tensor(DTYPES[dtype], tuple(shape), prod(shape) * element)


def table(found: Sequence[Compared]) -> list[str]:
    """A line for each model, then the worst."""
    sizes = sorted({each.tensor_parallel for each in found})
    lines = [
        "| model | GiB at TP 1 | " + " | ".join(f"TP {size}" for size in sizes) + " |",
        "|---|---" + "|---" * len(sizes) + "|",
    ]
    for model in dict.fromkeys(each.model for each in found):
        mine = [each for each in found if each.model == model]
        lines.append(f"| {model} | {mine[0].ours / GIB:.2f} | " + " | ".join(each.cell() for each in mine) + " |")
    held = [each for each in found if each.theirs is not None]
    worst = max(held, key=lambda each: abs(each.off), default=None)
    if worst is not None:
        lines.append(
            f"{len(held)} compared; the worst is {worst.model} at TP {worst.tensor_parallel}: {worst.off:+.3%}"
        )
    return lines


if __name__ == "__main__":
    sys.exit(main())
