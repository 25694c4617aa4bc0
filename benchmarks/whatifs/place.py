"""The engines that a plan has for its models, as `spillway whatif` tells them; and which named engine is like one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import msgspec


class Card(NamedTuple):
    """A GPU: what people call it, and how the driver's name for it is known."""

    name: str
    pattern: re.Pattern[str]


# Of each named engine. Not a laptop's GPU, nor one with fewer cores under nearly the same name.
CARDS: Mapping[str, Card] = MappingProxyType(
    {
        "rtx4090-llama3.1-8b": Card("RTX 4090", re.compile(r"rtx ?4090(?! ?(d\b|laptop))", re.IGNORECASE)),
        "rtxpro6000-llama3.1-8b": Card("RTX PRO 6000", re.compile(r"rtx ?pro ?6000(?!.*max-q)", re.IGNORECASE)),
        "h200-llama3.1-8b-fp8": Card("H200", re.compile(r"\bh200(?! nvl)", re.IGNORECASE)),
    }
)
FP8 = ("fp8", "compressed-tensors", "modelopt")
# Of the maker's name what a person would not say.
MAKER = re.compile(r"\b(NVIDIA|GeForce|Tesla)\b ?", re.IGNORECASE)
# Llama-3.1-8B.
LAYERS, HIDDEN = 32, 4096


class Place(msgspec.Struct, frozen=True):
    """One engine of a plan: its name and model, the model of its GPUs ("cpu" where there is none) and how many, its
    room for KV and its scheduler's limits, and of its model what the speed depends on most.

    `is_alternate`: others have its devices first, so it is not counted beside them.
    """

    name: str
    model: str
    gpu: str
    gpus: int
    kv_tokens: int
    max_sequences: int
    max_batched_tokens: int
    layers: int
    hidden_size: int
    quantization: str
    is_alternate: bool = False

    @property
    def card(self) -> str:
        """`RTX 4090`; "" for an engine on the processor."""
        return MAKER.sub("", self.gpu).strip() if self.gpus else ""

    def named(self) -> str | None:
        """The engine of `simulator.named` that is like this one; None: none is."""
        if (self.layers, self.hidden_size, self.gpus) != (LAYERS, HIDDEN, 1):
            return None
        for name, card in CARDS.items():
            is_fp8 = self.quantization in FP8
            if card.pattern.search(self.gpu) and (is_fp8 if name.endswith("fp8") else self.quantization == "none"):
                return name
        return None


def places_in(text: str) -> tuple[Place, ...]:
    """From JSON. Raises ValueError with a sentence."""
    try:
        return msgspec.json.decode(text, type=tuple[Place, ...])
    except msgspec.DecodeError as error:
        raise ValueError(f"--plan: {error}; leave it to `spillway whatif` to say what the plan is") from error
