"""A Llama with the smoke model's tokenizer, of a size of our own and without weights: the engine draws them at random.

What it says is of no use, so a `logit_bias` makes it say one word, and end as soon as it may.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SMOKE = Path(__file__).parents[2] / "engines" / "smoke" / "model"
SHARED = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json")
HEAD_WIDTH = 64
# As in Llama 3: four query heads share one of KV; a feed-forward of three times the width.
QUERIES, WIDER = 4, 3
# More than any context that is asked for.
POSITIONS = 131_072
WORD = "\u0120the"
# Far beyond what random weights make of a logit.
SAYS, ENDS = 50, 100


@dataclass(frozen=True, slots=True)
class Size:
    """`hidden` is a multiple of 256."""

    hidden: int
    layers: int


def write_model(folder: Path, size: Size) -> None:
    """The folder of a model to be loaded by `--load-format dummy`. Raises ValueError for a width that has no heads."""
    if size.hidden < 1 or size.hidden % (HEAD_WIDTH * QUERIES) or size.layers < 1:
        raise ValueError(
            f"--model-size {size.hidden}x{size.layers}: the width must be a multiple of 256, such as 512x8"
        )
    folder.mkdir(parents=True)
    for name in SHARED:
        shutil.copyfile(SMOKE / name, folder / name)
    config = json.loads((SMOKE / "config.json").read_text(encoding="utf-8"))
    heads = size.hidden // HEAD_WIDTH
    config |= {"hidden_size": size.hidden, "intermediate_size": size.hidden * WIDER, "head_dim": HEAD_WIDTH}
    config |= {"max_position_embeddings": POSITIONS}
    config |= {"num_hidden_layers": size.layers, "num_attention_heads": heads, "num_key_value_heads": heads // QUERIES}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


def bias() -> Mapping[str, int]:
    """The `logit_bias` by which it says a word until it may end."""
    vocabulary = json.loads((SMOKE / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    end = json.loads((SMOKE / "config.json").read_text(encoding="utf-8"))["eos_token_id"]
    return {f"{vocabulary[WORD]}": SAYS, f"{end}": ENDS}
