"""What litellm's table says of models: price, context, capabilities.

The table is a file of the installed package. litellm itself is not imported for it: that takes seconds, and asks the
network for a newer table, so that two runs would not say the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from functools import cached_property
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import msgspec

PACKAGE = "litellm"
TABLE = "litellm/model_prices_and_context_window_backup.json"
EMBEDDING = "embedding"
# What a model of each mode answers; of others (images, speech) Spillway serves none.
MODES = {"chat": "chat", "responses": "chat", "completion": "completion", EMBEDDING: "embeddings"}
CAPABILITIES = {
    "tools": "supports_function_calling",
    "vision": "supports_vision",
    "json_schema": "supports_response_schema",
    "reasoning": "supports_reasoning",
    "audio": "supports_audio_input",
}
# Prices that hold from a prompt length on: `input_cost_per_token_above_200k_tokens`.
DEARER = ("input_cost_per_token_above_", "k_tokens")
TOKENS_PER_MTOK = 1_000_000

Row = dict[str, Any]


class Listed(msgspec.Struct, frozen=True):
    """What the table says of one model; None where it says nothing. `mode` is its own word for what the model does."""

    input_usd_per_mtok: float | None
    output_usd_per_mtok: float | None
    context_tokens: int | None
    capabilities: frozenset[str] | None
    mode: str | None = None


class PriceList(Mapping[str, Listed]):
    """The table by litellm's model string `provider/model`, read when it is first asked: who names no cloud, or says
    all of it himself, never waits for it. `content` is the table as JSON; left out, that of the installed litellm."""

    def __init__(self, content: bytes | None = None) -> None:
        self._content = content
        self._known: dict[str, Listed] = {}

    def __getitem__(self, model: str) -> Listed:
        if model not in self._known:
            row = self._row(model)
            if row is None:
                raise KeyError(model)
            self._known[model] = listed(row)
        return self._known[model]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    @cached_property
    def source(self) -> str:
        return f"{PACKAGE} {distribution(PACKAGE).version}"

    @cached_property
    def _rows(self) -> dict[str, msgspec.Raw]:
        content = self._content or Path(str(distribution(PACKAGE).locate_file(TABLE))).read_bytes()
        return msgspec.json.decode(content, type=dict[str, msgspec.Raw])

    def _row(self, model: str) -> Row | None:
        """Most models stand there with the provider in their name. Those of the largest providers stand there without,
        and must name the provider in their row, which can have several names: vertex_ai, vertex_ai-mistral_models."""
        if model in self._rows:
            return _read(self._rows[model])
        provider, _, bare = model.partition("/")
        row = _read(self._rows[bare]) if bare in self._rows else {}
        named = str(row.get("litellm_provider", ""))
        is_its = provider != "" and (named == provider or named.startswith((f"{provider}_", f"{provider}-")))
        return row if is_its else None


# One for the process: the file does not change while it runs.
PRICES = PriceList()


def listed(row: Row) -> Listed:
    """A row in our words. The table writes 0 where it does not know a price, so that 0 is unknown: what is free must be
    said to be so in stack.toml. Only embeddings have no output that could be paid."""
    mode = row.get("mode")
    serves = MODES.get(str(mode))
    output = 0.0 if mode == EMBEDDING else _per_mtok(row, "output_cost_per_token")
    can = (name for name, key in CAPABILITIES.items() if row.get(key) is True)
    return Listed(
        _per_mtok(row, "input_cost_per_token"),
        output,
        _context_tokens(row),
        None if serves is None else frozenset({serves, *can}),
        mode if isinstance(mode, str) else None,
    )


def _read(raw: msgspec.Raw) -> Row:
    return msgspec.json.decode(raw, type=Row)


def _per_mtok(row: Row, key: str) -> float | None:
    """Exact in decimals: 5e-08 dollars for a token are 0.05 for a million of them."""
    cost = row.get(key)
    if isinstance(cost, bool) or not isinstance(cost, int | float) or cost <= 0:
        return None
    return float(Decimal(str(cost)) * TOKENS_PER_MTOK)


def _context_tokens(row: Row) -> int | None:
    """The longest prompt, or the longest for which the price holds: the router reckons with one price, and must not
    spend more than it reckons."""
    context = row.get("max_input_tokens") or row.get("max_tokens")
    if isinstance(context, bool) or not isinstance(context, int) or context <= 0:
        return None
    start, end = DEARER
    sizes = [key.removeprefix(start).removesuffix(end) for key in row if key.startswith(start) and key.endswith(end)]
    return min([context, *(int(size) * 1000 for size in sizes if size.isdigit())])
