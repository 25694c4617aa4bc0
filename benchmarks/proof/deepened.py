"""Makes a slower model that says the same: the smoke model with layers added that change nothing.

A model that answers within a few milliseconds measures its server and the generators, not how they agree. The layers
added are computed like any other, but what they would add to the stream of the model is zero.
"""

from __future__ import annotations

import argparse
import json
import shutil
import struct
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WEIGHTS = "model.safetensors"
LAYER = "model.layers."
# What a layer adds to the stream of a Llama comes through these two.
OUTPUTS = ("self_attn.o_proj.weight", "mlp.down_proj.weight")


@dataclass(frozen=True, slots=True)
class Tensor:
    """As it stands in a file of safetensors."""

    dtype: str
    shape: list[int]
    data: bytes


def main() -> int:
    """Write the model's folder. Raises ValueError with a sentence."""
    parser = argparse.ArgumentParser("python -m benchmarks.proof.deepened", description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("engines/smoke/model"), help="a Llama (%(default)s)")
    parser.add_argument("--layers", type=int, default=40, help="to add (%(default)s)")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    options = parser.parse_args()
    shutil.copytree(options.model, options.out, dirs_exist_ok=True)
    config = json.loads((options.model / "config.json").read_text())
    there = int(config["num_hidden_layers"])
    tensors = deepened(read(options.model / WEIGHTS), there, options.layers)
    (options.out / WEIGHTS).write_bytes(written(tensors))
    (options.out / "config.json").write_text(json.dumps(config | {"num_hidden_layers": there + options.layers}))
    print(f"{options.out}: {there + options.layers} layers")
    return 0


def deepened(tensors: Mapping[str, Tensor], there: int, more: int) -> dict[str, Tensor]:
    """With `more` layers after the `there` that it has: copies of the last one, whose outputs are zero."""
    last = f"{LAYER}{there - 1}."
    found = {name.removeprefix(last): tensor for name, tensor in tensors.items() if name.startswith(last)}
    if not set(OUTPUTS) <= found.keys():
        raise ValueError(f"there is no layer {there - 1} of a Llama in it: give a model of that kind.")
    made = dict(tensors)
    for number in range(there, there + more):
        for name, tensor in found.items():
            data = bytes(len(tensor.data)) if name in OUTPUTS else tensor.data
            made[f"{LAYER}{number}.{name}"] = Tensor(tensor.dtype, tensor.shape, data)
    return made


def read(path: Path) -> dict[str, Tensor]:
    """All tensors of a file: the length of the header, the header, the data."""
    raw = path.read_bytes()
    (length,) = struct.unpack_from("<Q", raw)
    header: dict[str, Any] = json.loads(raw[8 : 8 + length])
    header.pop("__metadata__", None)
    begin = 8 + length
    return {
        name: Tensor(
            each["dtype"], each["shape"], raw[begin + each["data_offsets"][0] : begin + each["data_offsets"][1]]
        )
        for name, each in header.items()
    }


def written(tensors: Mapping[str, Tensor]) -> bytes:
    """The inverse of `read`."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, tensor in tensors.items():
        header[name] = {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [at, at + len(tensor.data)]}
        at += len(tensor.data)
    text = json.dumps(header).encode()
    # The data begins at a multiple of eight bytes.
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(tensor.data for tensor in tensors.values())


if __name__ == "__main__":
    sys.exit(main())
